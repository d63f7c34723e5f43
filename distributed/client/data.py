"""The methods of a client that move data, gather, scatter, replicate and their like, or tell where it lies."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from distributed.client import scattering
from distributed.client.futures import Future
from distributed.client.options import checked_key, named_workers
from distributed.client.part import ClientPart
from distributed.client.records import KeyRecord
from distributed.client.structures import filled, listed, records_in
from distributed.errors import DistributedWarning
from distributed.ids import counter
from distributed.units import parse_seconds

__all__ = ["DataMethods", "fire_and_forget"]

SETTLE_S = 10.0  # for the scheduler to hear of data that a worker has taken
WORKERS_POLL_S = 0.05  # between two questions how many workers there are


class DataMethods(ClientPart):
    """A part of `Client`, see there."""

    # ------------------------------------------------------------ moving

    def gather(self, futures: Any, errors: str = "raise") -> Any:
        """Results of futures, in the same structure (list, tuple, dict, set, nested); other values stay as they are.

        Args:
            futures: an iterator or a view of a dict counts as a list.
            errors: ``'raise'``: raise the first error; ``'skip'``: leave failed ones out of the structure.
        Raises:
            As `Future.result`.
        """
        if errors not in ("raise", "skip"):
            raise ValueError(f"errors={errors!r}: use 'raise' or 'skip'")
        session = self._live()
        futures = listed(futures)
        records = records_in(session, futures)
        if self.asynchronous:

            async def later() -> Any:
                await session.wait_settled_async(records, None)
                values = await session.values_async(records, errors == "skip")
                return filled(futures, values)

            return later()
        session.wait_settled(records, None)
        return filled(futures, session.values_now(records, errors == "skip"))

    def scatter(
        self,
        data: Any,
        workers: str | Iterable[str] | None = None,
        broadcast: bool = False,
        direct: bool | None = None,
        hash: bool = True,
    ) -> Any:
        """Put data on the workers, spread by their threads; futures in the same shape.

        Args:
            data: a list, tuple, set, range or iterator (a list of futures comes back), a dict (a dict; its keys name
                the data, and a key that this client holds already keeps its value), or any one object (a future).
            workers: only these addresses.
            broadcast: every worker (of these) gets all of it, from each other.
            direct, hash: accepted for users of dask: data always goes straight to workers, and what has no key of yours
                gets one of its own, however equal it is to other data.
        Raises:
            UnpicklableError: an object cannot be sent. WorkerStartError: no worker is there.
        Scattered data has no recipe: if its workers die it is lost.
        """
        given = list(data) if isinstance(data, (range, Iterator)) else data
        return self._finish(self._scatter(given, named_workers(workers), broadcast))

    def replicate(
        self,
        futures: Any,
        n: int | None = None,
        workers: str | Iterable[str] | None = None,
        branching_factor: int | None = None,
    ) -> Any:
        """Copy results, so that losing a worker does not lose them, or so that many workers have them at hand.

        Args:
            futures: a future, or any structure of futures; waits until they are done.
            n: copies of each in all, >= 1; None: one on every worker.
            workers: only on these: addresses or names.
            branching_factor: accepted for users of dask: how many copies one holder gives at once is our choice.
        Returns:
            ``{'copied': count, 'nbytes': bytes}``: what had to be moved.
        Raises:
            UncopiedDataError: some could not be copied; the others were. Whatever a task raised.
        Cost: workers fetch from each other, as a tree: each holder serves few at once.
        """
        if n is not None and (not isinstance(n, int) or n < 1):
            raise ValueError(f"n={n!r}: copies of each result, 1 or more")
        return self._finish(self._replicate(futures, n, named_workers(workers)))

    def rebalance(self, futures: Any = None, workers: str | Iterable[str] | None = None) -> Any:
        """Move results from workers that hold much to workers that hold little.

        Args:
            futures: only these; None: whatever is on the workers.
            workers: only among these: addresses or names.
        Returns:
            ``{'copied': count, 'nbytes': bytes}``: what was moved.
        """
        return self._finish(self._rebalance(futures, named_workers(workers)))

    def retire_workers(
        self, workers: str | Iterable[str] | None = None, reason: str | None = None, *, close_workers: bool = True
    ) -> Any:
        """End workers without losing anything: their results go to others first, their waiting tasks too.

        Args:
            workers: addresses or names. They must be given: who may go without is what `LocalCluster.scale` decides.
            reason: for people.
            close_workers: accepted for users of dask, True only: workers that are retired end.
        Returns:
            The addresses of those that were retired, when they have left. Running tasks end first, however long.
            Actors cannot move: a DistributedWarning names those that were lost.
        Raises:
            ValueError: None of them. BadRequestError: no such worker.
            CommClosedError: the connection broke; they are retired all the same.
        """
        if workers is None:
            raise ValueError("workers=None: name those to retire; `scale` or `adapt` of a cluster choose by themselves")
        if not close_workers:
            raise ValueError("close_workers=False: workers that are retired always end here")
        return self._finish(self._retire(named_workers(workers), reason))

    # ------------------------------------------------------------ looking

    def ncores(self, workers: str | Iterable[str] | None = None) -> Any:
        """``{address: threads}`` of all workers, or of these."""
        return self._finish(self._live().ask("nthreads", workers=named_workers(workers)))

    nthreads = ncores

    def wait_for_workers(self, n_workers: int, timeout: str | float | None = None) -> Any:
        """Wait until at least so many workers are there.

        Args:
            n_workers: >= 0.
            timeout: seconds, or such as ``"10s"``; None: as long as it takes.
        Raises:
            TimeoutError: there were fewer all the time.
        """
        if not isinstance(n_workers, int) or isinstance(n_workers, bool) or n_workers < 0:
            raise ValueError(f"n_workers={n_workers!r}: a number of workers, 0 or more")
        return self._finish(self._wait_for_workers(n_workers, timeout))

    def who_has(self, futures: Any = None) -> Any:
        """``{key: [addresses]}`` of these futures' results, or of all."""
        return self._finish(self._live().ask("who_has", keys=self._keys_of(futures)))

    def has_what(self, workers: str | Iterable[str] | None = None) -> Any:
        """``{address: [keys]}`` of these workers, or of all."""
        return self._finish(self._live().ask("has_what", workers=named_workers(workers)))

    # ------------------------------------------------------------ private

    def _keys_of(self, futures: Any) -> list[str] | None:
        return None if futures is None else [record.key for record in records_in(self._live(), [futures])]

    async def _settled_keys(self, futures: Any) -> list[str]:
        session = self._live()
        records = records_in(session, [listed(futures)])
        await session.wait_settled_async(records, None)
        for record in records:
            session.raise_error(record)
        return [record.key for record in records]

    async def _replicate(self, futures: Any, copies: int | None, workers: list[str] | None) -> Any:
        keys = await self._settled_keys(futures)
        return await self._live().ask("replicate", keys=keys, copies=copies, workers=workers)

    async def _retire(self, workers: list[str] | None, reason: str | None) -> list[str]:
        # Asked once: those that have left by the time of a second question would be unknown.
        answer = await self._live().ask("retire_workers", attempts_max=1, workers=workers, reason=reason)
        lost = answer.get("actors", [])
        if lost:
            named = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
            text = f"{len(lost)} actor(s) were lost with the workers that were retired: {named}"
            warnings.warn(text, DistributedWarning, stacklevel=2)
        return list(answer["retired"])

    async def _wait_for_workers(self, count: int, timeout: str | float | None) -> None:
        timeout_s = None if timeout is None else parse_seconds(timeout, "timeout")
        present: int | None = None
        try:
            async with asyncio.timeout(timeout_s) as bound:
                while (present := len(await self._live().ask("nthreads"))) < count:
                    await asyncio.sleep(WORKERS_POLL_S)
        except TimeoutError:
            if not bound.expired():  # another wait, such as for a connection
                raise
            seen = "the scheduler did not answer" if present is None else f"{present:,} of {count:,} workers are there"
            raise TimeoutError(f"{seen} after {timeout_s:g} s") from None

    async def _rebalance(self, futures: Any, workers: list[str] | None) -> Any:
        keys = None if futures is None else await self._settled_keys(futures)
        return await self._live().ask("rebalance", keys=keys, workers=workers)

    async def _scatter(self, data: Any, workers: list[str] | None, broadcast: bool) -> Any:
        session = self._live()
        if isinstance(data, dict):
            values = {checked_key(key): value for key, value in data.items()}
        else:
            many = data if isinstance(data, (list, tuple, set, frozenset)) else [data]
            values = {f"{type(value).__name__}-{self.id[-12:]}-{counter()}": value for value in many}
        futures: dict[str, Future] = {}
        records: list[KeyRecord] = []
        news: dict[str, Any] = {}
        for key, value in values.items():
            record, is_news = session.want(key)
            records.append(record)
            futures[key] = Future(session, record)
            if is_news:
                news[key] = value
        # Not cancelled along with us: data that arrives after its keys were released would be held by nobody's future.
        placing = asyncio.ensure_future(self._place(records, news, workers))
        placing.add_done_callback(lambda done: (futures, done.cancelled() or done.exception()))  # it holds the futures
        await asyncio.shield(placing)
        if broadcast:
            await session.ask("replicate", keys=list(futures), copies=None, workers=workers)
        if isinstance(data, dict):
            return futures
        return (
            list(futures.values()) if isinstance(data, (list, tuple, set, frozenset)) else next(iter(futures.values()))
        )

    async def _place(self, records: list[KeyRecord], news: dict[str, Any], workers: list[str] | None) -> None:
        session = self._live()
        if news:
            holders = scattering.place(len(news), await session.ask("nthreads", workers=None), workers)
            await scattering.put(session, news, holders)
        await session.wait_settled_async(records, self._timeout_s + SETTLE_S)


def fire_and_forget(futures: Any) -> None:
    """Let tasks run to their end though no future refers to them, for tasks that do something and return nothing.

    They need their client: what has not run when it is closed is dropped.

    Args:
        futures: a future, or any structure of futures.
    Raises:
        CommClosedError: the client is closed.
    """
    for future in _futures_in(futures):
        session = future._session
        session.table.add_waiter(session.hold(future.key), session.release_record)


def _futures_in(value: Any) -> Iterator[Future]:
    if isinstance(value, Future):
        yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from _futures_in(entry)
    elif isinstance(value, (list, tuple, set, frozenset)) or hasattr(value, "_keys"):
        for entry in value:
            yield from _futures_in(entry)
    else:
        raise TypeError(f"{type(value).__name__} is no future: give futures, or lists, tuples, sets and dicts of them")
