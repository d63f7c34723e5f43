"""A client's connection with its scheduler, the records of its keys, and how threads and coroutines wait for them.

The session lives on one loop; users may call from any thread. What they submit goes into an outbox in order, and leaves
in batches: one wake-up of the loop, one message, however many calls were made meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from distributed.calls import rpc
from distributed.client.carrying import ActorCarrier
from distributed.client.coordination.table import RequestTable
from distributed.client.gathering import fetch
from distributed.client.lent import refuse_own
from distributed.client.link import Reconnect, SchedulerLink
from distributed.client.loop_thread import run_on
from distributed.client.outbox import Task
from distributed.client.records import KeyRecord, Status
from distributed.client.stuck import StuckKeys
from distributed.client.table import KeyTable
from distributed.client.workers import WorkerLinks
from distributed.comm.stream import Stream
from distributed.errors import (
    CancelledError,
    CommClosedError,
    ConnectTimeoutError,
    DistributedError,
    LostDataError,
    SessionLostError,
)
from distributed.messages import (
    CancelKeys,
    KeysCancelled,
    KeysDone,
    KeysFailed,
    KeysLost,
    KeysPrinted,
    KeysStuck,
    Payload,
    ReleaseKeys,
)
from distributed.protocol.failure import exception_from_failure
from distributed.protocol.serialize import loads_payload
from distributed.versions import all_versions, warn_of_mismatch
from distributed.worker.context import await_lent, sheltered, wait_lent

__all__ = ["Session", "call_on"]

logger = logging.getLogger(__name__)

RELEASE_COUNT = 5_000  # keys let go in one turn, and in one message: some ms of work, here and for the scheduler
ASK_ATTEMPTS_MAX = 3  # of a call whose connection breaks


class Session:
    """See the module. Make it on its loop, then `start` it with the stream of a registered client.

    Attributes:
        client: whoever made it, for `Future.client`.
        asynchronous: waiting methods return awaitables.
    """

    def __init__(self, client: Any, loop: asyncio.AbstractEventLoop, asynchronous: bool, reconnect: Reconnect) -> None:
        self.client = client
        self.asynchronous = asynchronous
        self.loop = loop
        self._thread = threading.get_ident()
        self.table = KeyTable()  # its lock also guards the order of the outbox
        self.requests = RequestTable()  # guarded by the same lock
        self.scheduler: rpc | None = None
        self.actors = ActorCarrier(self)
        self.workers = WorkerLinks(client.keys)
        self._released: deque[Sequence[str]] = deque()
        self._released_start = 0  # of the first of them: keys that were let go already
        self._releasing = threading.RLock()  # so that nobody submits between taking from it and letting go
        self._callbacks: ThreadPoolExecutor | None = None
        handlers: dict[type, Callable[[Any], None]] = {
            KeysDone: self.table.on_done,
            KeysFailed: self.table.on_failed,
            KeysCancelled: self.table.on_cancelled,
            KeysLost: self.table.on_lost,
            **self.requests.handlers(),
            KeysStuck: StuckKeys().on_stuck,
            KeysPrinted: lambda message: client.printer.take(message),
        }
        self.link = SchedulerLink(self.table, handlers, reconnect, lambda: self._drop_released(1), self.requests.lose)

    def start(self, stream: Stream, hello: dict[str, Any]) -> None:
        """Begin; on the loop, before anything else is awaited, or messages are lost."""
        self.scheduler = rpc(stream.peer.address, keys=self.client.keys)
        self.link.start(stream, hello)
        self.actors.start()

    async def close(self) -> None:
        """Send what is waiting and end; on the loop. Futures not decided become CommClosedError."""
        await self.link.close()
        self.actors.close()
        if self.scheduler is not None:
            await self.scheduler.close()
        await self.workers.close()
        if self._callbacks is not None:
            self._callbacks.shutdown(wait=False)

    @property
    def status(self) -> str:
        """``'running'``; ``'connecting'``: the connection broke and is being made again; ``'closed'``."""
        if self.link.end is not None:
            return "closed"
        return "running" if self.link.is_connected else "connecting"

    @property
    def scheduler_address(self) -> str:
        """Canonical address of the scheduler."""
        return self.link.address

    async def ask(self, op: str, /, attempts_max: int = ASK_ATTEMPTS_MAX, **keywords: Any) -> Any:
        """Call an op of the scheduler, from any loop, when there is a connection; again if it breaks meanwhile.

        Args:
            attempts_max: 1 for ops that do not bear repetition.
        Raises:
            As `rpc`.
        """
        if asyncio.get_running_loop() is not self.loop:
            asked = asyncio.run_coroutine_threadsafe(self.ask(op, attempts_max, **keywords), self.loop)
            return await asyncio.wrap_future(asked)
        attempts_left = attempts_max
        while True:
            await self.link.wait_connected()
            try:
                return await self.ask_once(op, **keywords)
            except (CommClosedError, ConnectTimeoutError):
                attempts_left -= 1
                self.check_open()
                if not attempts_left:
                    raise

    async def ask_once(self, op: str, **keywords: Any) -> Any:
        """Call an op of the scheduler, on the loop, connected or not; errors as `rpc`."""
        self.check_open()
        assert self.scheduler is not None
        return await self.scheduler.call(op, **keywords)

    async def versions(self, check: bool) -> dict[str, Any]:
        """Versions of everybody, see `Client.get_versions`; from any loop."""
        if asyncio.get_running_loop() is not self.loop:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.versions(check), self.loop))
        addresses = list(await self.ask("nthreads"))
        scheduler, *workers = await asyncio.gather(
            self.ask("versions"), *(self.workers.to(address).versions() for address in addresses)
        )
        found = {
            "client": all_versions(),
            "scheduler": scheduler,
            "workers": dict(zip(addresses, workers, strict=True)),
        }
        if check:
            warn_of_mismatch({"the client": found["client"], "the scheduler": scheduler, **found["workers"]})
        return found

    # ------------------------------------------------------------ what users hold

    def release(self, keys: Sequence[str]) -> None:
        """One holder of each of `keys` is gone. From any thread, even inside garbage collection: takes no lock."""
        self._released.append(keys)
        self.link.wake()

    def submit(
        self, tasks: Sequence[Task], functions: dict[bytes, Payload], data: Mapping[str, Task] | None = None
    ) -> list[KeyRecord]:
        """Queue tasks for the scheduler; each key gets one holder more.

        A key that is known here already is not sent again. Of `data`, what a new task needs is held by it.

        Raises:
            CommClosedError: the client or the scheduler is closed.
        """
        self._drop_released()
        records: list[KeyRecord] = []
        with sheltered(), self.table.lock:
            self.check_open()
            admit, outbox = self.table.admit, self.link.outbox
            outbox.add_functions(functions)
            try:
                for task in tasks:
                    record, is_news = admit(task[1])
                    if is_news:
                        if data:
                            self._submit_data(record, task, data)
                        outbox.append(task)
                    records.append(record)
            except BaseException:  # Ctrl-C: nobody gets to hold them
                self.release([record.key for record in records])
                raise
        self.link.wake()
        return records

    def _submit_data(self, record: KeyRecord, task: Task, data: Mapping[str, Task]) -> None:
        """Queue what `task` needs of `data` and nobody has sent, before it. The caller has the lock."""
        before, record.data = record.data, None
        needs = [key for key in task[3] or () if key in data]
        for key in needs:
            if self.table.admit(key)[1]:
                self.link.outbox.append(data[key])
        record.data = needs or None
        if before:  # of an earlier life of this key, which was cancelled or lost
            self._released.append(before)

    def submit_graph(self, tasks: Sequence[Task], functions: dict[bytes, Payload]) -> None:
        """`submit` for tasks with new keys, each after those it depends on; only wanted ones get a holder."""
        self._drop_released()
        with sheltered(), self.table.lock:
            self.check_open()
            self.link.outbox.add_functions(functions)
            if tasks:
                self.link.outbox.append_graph(tasks)
            for task in tasks:
                if task[0].wanted:
                    self.table.admit(task[1])
        self.link.wake()

    def release_record(self, record: KeyRecord) -> None:
        """One holder of this one is gone."""
        self.release([record.key])

    def hold(self, key: str) -> KeyRecord:
        """One holder more of a key that somebody here holds; ValueError if nobody does."""
        self.check_open()
        try:
            return self.table.hold(key)
        except KeyError:
            raise ValueError(f"{key} was released: nobody holds it any more") from None

    def want(self, key: str) -> tuple[KeyRecord, bool]:
        """A holder of a key whose data is to go to a worker; and whether it is news, or is there already.

        The scheduler will say when it is there.
        """
        self._drop_released()
        with self.table.lock:
            self.check_open()
            return self.table.admit(key)

    def cancel(self, records: Sequence[KeyRecord], force: bool, reason: str | None) -> None:
        """Ask the scheduler to cancel; the records settle when it answers, whatever they were before."""
        with sheltered(), self.table.lock:
            self.check_open()
            keys, decided = self.table.begin_cancelling(records, reason or f"cancelled by {self.client.id}", force)
            if keys:
                self.link.outbox.append(CancelKeys(keys, force, reason))
        self.link.wake()
        if decided:
            call_on(self.loop, self.table.settle, decided)

    # ------------------------------------------------------------ waiting

    def run_or_await(self, now: Callable[[], Any], later: Callable[[], Awaitable[Any]]) -> Any:
        """The result of `now`, or the awaitable of `later` for an asynchronous client."""
        return later() if self.asynchronous else now()

    def wait_settled(self, records: Sequence[KeyRecord], timeout_s: float | None) -> None:
        """Block until all are decided. Raises TimeoutError."""
        if len(records) == 1 and records[0].status is not Status.PENDING:
            return
        self.refuse_on_loop()
        refuse_own(records)
        latch = self.table.latch(records)
        is_open = False
        try:
            is_open = wait_lent(latch.wait, timeout_s)
        finally:
            if not is_open:  # also when Ctrl-C came
                self.table.forget_waiter(records, latch.settle)
        if not is_open:
            raise TimeoutError(_overdue(records, timeout_s))

    async def wait_settled_async(self, records: Sequence[KeyRecord], timeout_s: float | None) -> None:
        """`wait_settled` for coroutines, on any loop."""
        pending = [record for record in records if record.status is Status.PENDING]
        if not pending:
            return
        refuse_own(pending)
        loop = asyncio.get_running_loop()
        opened = loop.create_future()
        left = len(pending)

        def settle(record: KeyRecord) -> None:
            nonlocal left
            left -= 1
            if not left:
                call_on(loop, _open, opened)

        for record in pending:
            self.table.add_waiter(record, settle)
        try:
            await await_lent(asyncio.wait_for(opened, timeout_s))
        except TimeoutError:
            raise TimeoutError(_overdue(records, timeout_s)) from None
        finally:
            if left:
                self.table.forget_waiter(pending, settle)

    # ------------------------------------------------------------ values

    def value_now(self, record: KeyRecord, timeout_s: float | None) -> Any:
        """The result of a settled record, fetched from a worker when it did not come along."""
        self.raise_error(record)
        if record.payload is not None:
            return self.actors.loads(record.payload)
        return self.run(self.fetch([record]), timeout_s)[record.key]

    async def value_async(self, record: KeyRecord) -> Any:
        """`value_now` for coroutines."""
        self.raise_error(record)
        if record.payload is not None:
            return self.actors.loads(record.payload)
        return (await self.fetch([record]))[record.key]

    def error_of(self, record: KeyRecord) -> BaseException | None:
        """Why a settled record has no result; None: it has one."""
        if record.status is Status.ERROR:
            assert record.failure is not None
            return exception_from_failure(record.failure, f"the worker that ran {record.key}")
        if record.status is Status.CANCELLED:
            return CancelledError(f"{record.key}: {record.reason or 'cancelled'}")
        if record.status is Status.LOST:
            return self._ended() or self._loss_of(record)
        return None

    def raise_error(self, record: KeyRecord) -> None:
        """Raise `error_of` a settled record, if there is one."""
        error = self.error_of(record)
        if error is not None:
            try:
                raise error
            finally:
                error = None  # or frame and exception would hold each other, and with them futures, until the next gc

    def values_now(self, records: Sequence[KeyRecord], skip_errors: bool) -> dict[str, Any]:
        """Results of settled records by key. Raises the first error, or leaves failed ones out."""
        values, missing = self._values_here(records, skip_errors)
        if missing:
            values.update(self.run(self.fetch(missing, skip_errors)))
        return values

    async def values_async(self, records: Sequence[KeyRecord], skip_errors: bool) -> dict[str, Any]:
        """`values_now` for coroutines."""
        values, missing = self._values_here(records, skip_errors)
        if missing:
            values.update(await self.fetch(missing, skip_errors))
        return values

    def _values_here(self, records: Sequence[KeyRecord], skip: bool) -> tuple[dict[str, Any], list[KeyRecord]]:
        values: dict[str, Any] = {}
        missing: list[KeyRecord] = []
        with self.actors.loading():
            for record in records:
                if record.status is Status.FINISHED and record.payload is not None:
                    try:
                        values[record.key] = loads_payload(record.payload)
                    except Exception:  # whatever loading a user's object raises
                        if not skip:
                            raise
                    continue
                if not skip:
                    self.raise_error(record)
                # PENDING: lost since it settled, and computed again.
                if record.status in (Status.FINISHED, Status.PENDING):
                    missing.append(record)
        return values, missing

    async def fetch(self, records: Sequence[KeyRecord], skip_errors: bool = False) -> dict[str, Any]:
        """Results that stayed on workers, by key; from any loop. See `gathering`."""
        if asyncio.get_running_loop() is self.loop:
            return await fetch(self, records, skip_errors)
        self.check_open()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(fetch(self, records, skip_errors), self.loop))

    def run(self, coroutine: Any, timeout_s: float | None = None) -> Any:
        """Run a coroutine on the loop and wait for it in this thread. Raises TimeoutError."""
        try:
            self.refuse_on_loop()
            self.check_open()
        except BaseException:
            coroutine.close()
            raise
        return run_on(self.loop, coroutine, timeout_s)

    def call_back(self, callback: Callable[..., object], future: Any) -> None:
        """Run a user's callback in the thread that is there for them; here and now after the client's end."""
        try:
            with self.table.lock:
                if self._callbacks is None:
                    self._callbacks = ThreadPoolExecutor(1, thread_name_prefix="distributed-callbacks")
            self._callbacks.submit(_call_back, callback, future)
        except RuntimeError:  # shut down
            _call_back(callback, future)

    # ------------------------------------------------------------ private

    def _drop_released(self, pieces_max: int | None = None) -> bool:
        """Let go of what was released, before anything else is said; from any thread. Whether some of it is left.

        Args:
            pieces_max: of `RELEASE_COUNT` keys, after which others get their turn; None: all.
        """
        with sheltered():
            return self._drop_pieces(pieces_max)

    def _drop_pieces(self, pieces_max: int | None) -> bool:
        if not self._releasing.acquire(blocking=pieces_max is None):
            return False  # a thread that submits is at it, and wakes the loop in the end, which does not wait for it
        try:
            while self._released and pieces_max != 0:
                waited_for = self.table.drop(self._next_released(), self._tell_released)
                if waited_for:
                    call_on(self.loop, self.table.settle, waited_for)
                if pieces_max is not None:
                    pieces_max -= 1
                elif not self._released:
                    self.link.wake()
            return bool(self._released)
        finally:
            self._releasing.release()
            if pieces_max is None and self._released:  # while the loop could not have it
                self.link.wake()

    def _next_released(self) -> list[str]:
        """Up to `RELEASE_COUNT` keys of those that were released, in order."""
        piece: list[str] = []
        while self._released and len(piece) < RELEASE_COUNT:
            keys, start = self._released[0], self._released_start
            self._released_start = start + RELEASE_COUNT - len(piece)
            piece.extend(keys[start : self._released_start])
            if self._released_start >= len(keys):
                self._released.popleft()
                self._released_start = 0
        return piece

    def _tell_released(self, keys: list[str]) -> None:
        if self.link.end is None:
            self.link.outbox.append(ReleaseKeys(keys))

    def _loss_of(self, record: KeyRecord) -> DistributedError:
        if record.reason:
            return SessionLostError(self.scheduler_address, record.reason, record.key)
        return LostDataError(record.key)

    def _ended(self) -> CommClosedError | None:
        """What to tell whoever wants something after the end: an exception of his own."""
        end = self.link.end
        return None if end is None else CommClosedError(self.scheduler_address, getattr(end, "reason", str(end)))

    def check_open(self) -> None:
        """Raise what there is to be told after the end, if it has come."""
        error = self._ended()
        if error is not None:
            raise error

    def refuse_on_loop(self) -> None:
        """RuntimeError on the loop's own thread, which must not wait for itself."""
        if threading.get_ident() == self._thread:
            raise RuntimeError(
                "this would block the loop that has to do the work: use Client(asynchronous=True) and await here"
            )


def call_on(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: Any) -> None:
    """Call `function` on a loop of the user's, which may have ended: then nobody waits there any more."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *args)


def _open(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _overdue(records: Sequence[KeyRecord], timeout_s: float | None) -> str:
    pending = [record.key for record in records if record.status is Status.PENDING]
    more = f" and {len(pending) - 1:,} more" if len(pending) > 1 else ""
    return f"{pending[0] if pending else 'the result'}{more} not decided within {timeout_s:g} s"


def _call_back(callback: Callable[..., object], future: Any) -> None:
    try:
        callback(future)
    except Exception:  # a user's callback: there is nobody above to tell, so the log must
        logger.exception("callback %r of %s raised", callback, future.key)
