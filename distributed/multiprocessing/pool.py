"""Pool: the standard library's `multiprocessing.Pool` on a cluster, of its own or one that runs already."""

from __future__ import annotations

import atexit
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future
from functools import partial
from typing import Any

from distributed.client.chunks import Chunks
from distributed.client.client import Client
from distributed.client.under_way import UnderWay
from distributed.deploy.machine import cores_available
from distributed.errors import CancelledError, ConfigError
from distributed.ids import unique_id
from distributed.multiprocessing.feeding import Feed
from distributed.multiprocessing.results import Arrivals, AsyncResult, Callback, IMapIterator, MapResult
from distributed.multiprocessing.sending import Sender
from distributed.worker.context import wait_lent

__all__ = ["Pool"]

BATCH_MAX = 100  # chunks that are sent in one go: some ms of packing

_RUNNING, _CLOSED, _TERMINATED = "running", "closed", "terminated"

_alive: weakref.WeakSet[Pool] = weakref.WeakSet()


class Pool:
    """Runs calls in the worker processes of a cluster, with the interface of `multiprocessing.Pool`.

        with Pool(4) as pool:                        # four processes on this machine
            pool.map(pow_of_two, range(1_000_000))

        with Pool(address='10.0.0.1:8786') as pool:  # all workers of a cluster

    Args:
        processes: of a cluster of its own, >= 1; None: one per core.
        initializer: called as ``initializer(*initargs)`` once in every worker process, before its first call.
        initargs: see there.
        maxtasksperchild: only None, see Raises.
        context: accepted and not used: how processes start is the cluster's business.
        address, scheduler_file: of a scheduler that runs already, as for `Client`.
        client: whose cluster is used instead; it stays open.
        cluster_options: keywords of `LocalCluster` for a cluster of its own, such as ``memory_limit='2GiB'``; with
            ``threads_per_worker=n`` each process runs so many calls at once.
    Raises:
        ValueError: fewer than one process. TypeError: an initializer that cannot be called.
        ConfigError: `maxtasksperchild`, or `processes` and cluster options for a cluster that runs already.
        As `Client`, if there is no cluster.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        *,
        address: Any = None,
        scheduler_file: Any = None,
        client: Client | None = None,
        **cluster_options: Any,
    ) -> None:
        _check(processes, initializer, maxtasksperchild)
        is_own = address is None and scheduler_file is None and client is None
        if not is_own and (processes is not None or cluster_options):
            name = "processes" if processes is not None else next(iter(cluster_options))
            given = processes if processes is not None else cluster_options[name]
            raise ConfigError(name, given, "a cluster that runs already has its own processes; leave it out")
        self._owned: Client | None = None
        self._slots: int | None = None  # None: the cluster is asked, it may grow
        if client is not None and client.asynchronous:
            raise ConfigError("client", client, "a pool waits in threads; give it a client without asynchronous=True")
        if is_own:
            options = _cluster(processes, cluster_options)
            self._slots = max(1, options["n_workers"] * options["threads_per_worker"])
            client = self._owned = Client(**options)
        elif client is None:
            client = self._owned = Client(address, scheduler_file=scheduler_file)
        assert client is not None
        self._client = client
        self._session = client._live()
        self._under_way = UnderWay(self._session, is_awaited=False)
        token = unique_id("pool")[-12:]
        setup = None if initializer is None else (token, initializer, tuple(initargs))
        self._sender = Sender(client, self._under_way, setup, token)
        self._state = _RUNNING
        self._changed = threading.Condition()
        self._jobs: dict[Any, Feed | None] = {}  # results that are not decided, and who feeds them
        self._is_ending = False
        self._has_ended = threading.Event()  # the cluster, if it is ours, is gone
        _alive.add(self)
        # Handlers run in the opposite order: this one before those that close the client and its cluster.
        atexit.unregister(_terminate_all)
        atexit.register(_terminate_all)

    # ------------------------------------------------------------ one call

    def apply(self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: dict[str, Any] | None = None) -> Any:
        """The result of ``func(*args, **kwds)``, waiting for it. Raises whatever it raises."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] | None = None,
        callback: Callback = None,
        error_callback: Callback = None,
    ) -> AsyncResult:
        """Call ``func(*args, **kwds)`` on a worker; returns at once.

        Args:
            callback: called with the result, in the thread that brings results, which it must not hold up.
            error_callback: likewise, with the exception.
        """
        self._check_running()
        result = AsyncResult(self._session, callback, error_callback, self._job_ended)
        self._begin(result, None)
        try:
            future = self._sender.send_call(func, tuple(args), kwds or {})
        except Exception as error:  # of pickling, or there is no cluster any more: told where the result is asked for
            result.decide(None, error)
        else:
            future.add_done_callback(partial(_decide, result))
        return result

    # ------------------------------------------------------------ many calls

    def map(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """The results of `func` for all elements, in order, waiting for all of them.

        Args:
            iterable: of any length; elements are taken as they are needed, and only those under way are held.
            chunksize: elements per task; None: as many as take some 50 ms, as measured.
        Raises:
            Whatever the first call to fail raised, once all have ended; what iterating raises, at once.
        """
        return self._map(func, iterable, chunksize, False)

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[Any]:
        """`map` for elements that are the arguments of a call each."""
        return self._map(func, iterable, chunksize, True)

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callback = None,
        error_callback: Callback = None,
    ) -> MapResult:
        """`map` that returns at once; the callbacks as for `apply_async`, told once, of all results."""
        return self._map_async(func, iterable, chunksize, callback, error_callback, False)

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callback = None,
        error_callback: Callback = None,
    ) -> MapResult:
        """`starmap` that returns at once, see `map_async`."""
        return self._map_async(func, iterable, chunksize, callback, error_callback, True)

    def imap(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = 1) -> IMapIterator:
        """An iterator over the results, in order, as they come; elements are taken as they are needed.

        Args:
            iterable: of any length, also without end; it is iterated over in a thread of its own.
            chunksize: elements per task; None: as measured.
        """
        return self._imap(func, iterable, chunksize, True)

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> IMapIterator:
        """`imap` in the order in which calls end."""
        return self._imap(func, iterable, chunksize, False)

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Take no more calls; what was asked for is finished. Then the cluster ends, if it is the pool's own."""
        with self._changed:
            if self._state == _RUNNING:
                self._state = _CLOSED
        self._end_if_idle()

    def terminate(self) -> None:
        """Stop at once: calls under way are interrupted, their results are CancelledError. May be called twice."""
        with self._changed:
            self._state = _TERMINATED
            jobs = dict(self._jobs)
        for job, feed in jobs.items():
            job.cancel()
            if feed is not None:
                feed.cancel()
        self._under_way.cancel_all()
        self._end_if_idle(is_aside=False)

    def join(self) -> None:
        """Wait until all calls have ended, after `close` or `terminate`.

        Raises:
            ValueError: neither has been called.
            RuntimeError: in a callback of this pool.
        """
        if self._state == _RUNNING:
            raise ValueError("Pool is still running: close() or terminate() comes first")
        if self._under_way.is_own_thread():
            raise RuntimeError("a callback cannot wait for the end of its own pool")
        with self._changed:
            feeds = list(self._jobs.values())
        for feed in feeds:
            if feed is not None:
                feed.lift()  # or it would wait for a reader that waits here
        wait_lent(self._has_ended.wait, None)

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *exception: object) -> None:
        self.terminate()

    def __del__(self) -> None:
        if getattr(self, "_state", None) != _RUNNING:  # a constructor that raised has not set it
            return
        try:
            warnings.warn(f"unclosed running pool {self!r}", ResourceWarning, stacklevel=2, source=self)
        finally:
            self.close()

    def __reduce__(self) -> Any:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._state}, {self._session.scheduler_address}>"

    # ------------------------------------------------------------ private

    def _check_running(self) -> None:
        if self._state != _RUNNING:
            raise ValueError("Pool not running")

    def _map(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None, is_star: bool
    ) -> list[Any]:
        result = MapResult(self._session, None, None, self._job_ended)
        feed = self._feed(func, iterable, chunksize, is_star, result)
        try:
            feed.run()
            results: list[Any] = result.get()
        except BaseException:  # the iterable's, a call's, or Ctrl-C: after all of them nothing goes on
            feed.cancel()
            result.cancel()
            raise
        return results

    def _map_async(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None,
        callback: Callback, error_callback: Callback, is_star: bool,
    ) -> MapResult:  # fmt: skip
        if not isinstance(iterable, Sized):  # it is iterated over here: it may belong to this thread, or change
            iterable = _Drained(iterable)
        result = MapResult(self._session, callback, error_callback, self._job_ended)
        self._feed(func, iterable, chunksize, is_star, result).run_aside()
        return result

    def _imap(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None, is_ordered: bool
    ) -> IMapIterator:
        arrivals = Arrivals(self._session, is_ordered, chunksize == 1, self._job_ended)
        feed = self._feed(func, iterable, chunksize, False, arrivals)
        arrivals.on_taken = feed.take
        feed.run_aside()
        return IMapIterator(arrivals, feed.lift)

    def _feed(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None, is_star: bool,
        sink: MapResult | Arrivals,
    ) -> Feed:  # fmt: skip
        """A job and its feed, not yet run."""
        self._check_running()
        if chunksize is not None and chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
        elements = iter(iterable)
        length = len(iterable) if isinstance(iterable, Sized) else None
        is_at_hand = type(iterable) in _AT_HAND
        slots = self._slots or max(1, sum(self._client.ncores().values()))
        packed = self._sender.pack(func, is_star)
        # With sizes that are measured, each chunk is to know of those before it.
        batch_max = BATCH_MAX if is_at_hand and chunksize is not None else 1
        chunks = Chunks(slots, length, chunksize)
        is_read = isinstance(sink, Arrivals)
        feed = Feed(self._sender, self._under_way, packed, elements, chunks, sink, is_read, batch_max)
        self._begin(sink, feed)
        return feed

    def _begin(self, job: Any, feed: Feed | None) -> None:
        with self._changed:
            self._check_running()
            self._jobs[job] = feed

    def _job_ended(self, job: Any) -> None:
        with self._changed:
            self._jobs.pop(job, None)
            is_over = self._state != _RUNNING
        if is_over:
            self._end_if_idle()

    def _end_if_idle(self, is_aside: bool = True) -> None:
        """Once there are no jobs and will be none: end the cluster, if it is ours; in this thread, or in one for it."""
        with self._changed:
            if self._jobs or self._is_ending:
                return
            self._is_ending = True
        if is_aside and self._owned is not None:
            threading.Thread(target=self._end, name="distributed-pool-end").start()
        else:
            self._end()

    def _end(self) -> None:
        try:
            self._under_way.close(cancel_queued=False)
            owned, self._owned = self._owned, None
            if owned is not None:
                owned.close()
        finally:
            self._has_ended.set()


def _check(processes: int | None, initializer: Any, maxtasksperchild: int | None) -> None:
    if processes is not None and processes < 1:
        raise ValueError("Number of processes must be at least 1")
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    if maxtasksperchild is not None:
        if not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0:
            raise ValueError("maxtasksperchild must be a positive int or None")
        raise ConfigError(
            "maxtasksperchild",
            maxtasksperchild,
            "worker processes are not replaced after a number of calls; leave it out, and where calls leave memory "
            "behind give a pool of its own memory_limit=, or use `dworker --lifetime` and address=",
        )


def _cluster(processes: int | None, options: dict[str, Any]) -> dict[str, Any]:
    """Keywords of the client of a cluster of its own."""
    if processes is not None and options.get("n_workers") is not None:
        raise ConfigError("n_workers", options["n_workers"], "processes says the same; give one of them")
    if options.get("asynchronous"):
        raise ConfigError("asynchronous", True, "a pool waits in threads; in a loop use Client(asynchronous=True)")
    return {
        **options,
        "n_workers": options.get("n_workers") or processes or cores_available(),
        "threads_per_worker": options.get("threads_per_worker") or 1,
    }


def _decide(result: AsyncResult, future: Future[Any]) -> None:
    if future.cancelled():
        result.decide(None, CancelledError("the call was cancelled"))
        return
    error = future.exception()
    result.decide(None if error is not None else future.result(), error)


class _Drained:
    """The elements of an iterable, each let go of when it is given."""

    def __init__(self, iterable: Iterable[Any]) -> None:
        self._elements = deque(iterable)

    def __len__(self) -> int:
        return len(self._elements)

    def __iter__(self) -> Iterator[Any]:
        while self._elements:
            yield self._elements.popleft()


_AT_HAND = frozenset({list, tuple, range, str, bytes, set, frozenset, dict, deque, _Drained})  # no element takes time


def _terminate_all() -> None:
    """At the end of a program; as in the standard library nothing is waited for that nobody waits for."""
    for pool in list(_alive):
        if pool._state == _RUNNING or pool._jobs:
            pool.terminate()
