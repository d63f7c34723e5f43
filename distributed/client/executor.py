"""Executor: a cluster behind the interface of `concurrent.futures`, for programs that know nothing of clusters.

Its futures are those of the standard library, so its `wait`, its `as_completed` and asyncio work with them. What
carries them is in `client.under_way`. Not here: what runs on workers, see `client.initializing`.
"""

from __future__ import annotations

import atexit
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from itertools import islice
from typing import Any

from distributed.client.client import Client
from distributed.client.initializing import Initialized, in_chunks
from distributed.client.moving import Mover
from distributed.client.options import task_spec
from distributed.client.outbox import Task
from distributed.client.under_way import ExecutorFuture, UnderWay, finish_all
from distributed.errors import BadRequestError, UnpicklableError
from distributed.ids import counter, unique_id
from distributed.messages import TaskSpec

__all__ = ["Executor"]

CHUNK = 1000  # calls of a map that are packed before they are sent

_Call = tuple[tuple[Any, ...], dict[str, Any]]

_OPTIONS = (  # those of `Client.submit` that say how calls run
    "workers", "resources", "retries", "priority", "allow_other_workers", "platform", "memory_limit", "timeout",
    "redundant", "threads",
)  # fmt: skip


class Executor(futures.Executor):
    """Runs calls on a cluster, as `concurrent.futures.ProcessPoolExecutor` does in processes of one machine.

        with Executor(max_workers=4) as executor:  # a cluster on this machine, for as long as it is open
            executor.submit(pow, 2, 10).result()  # 1024

        executor = client.get_executor(retries=2)  # any cluster

    Args:
        max_workers: worker processes of a cluster of its own, each running one call at a time; None: one per core.
        client: whose cluster is used instead; it stays open when the executor is shut down.
        initializer: called as ``initializer(*initargs)`` once in every worker process, before its first call.
        initargs: see there.
        submit_options: how calls run, as for `Client.submit`: ``workers resources retries priority
            allow_other_workers platform memory_limit timeout redundant threads`` (timeout: seconds that a call, or a
            chunk of a map, may run).
        cluster_options: keywords of `LocalCluster` for a cluster of its own, such as ``memory_limit='2GiB'``; with
            ``threads_per_worker=n`` it has ``max_workers / n`` processes.
    Raises:
        ValueError: `max_workers` is not positive, or cannot be had.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        client: Client | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        submit_options: dict[str, Any] | None = None,
        **cluster_options: Any,
    ) -> None:
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._template = _template(submit_options or {})
        self._token = unique_id("executor")
        self._initialized = Initialized(None if initializer is None else (self._token, initializer, tuple(initargs)))
        self._owned: Client | None = None
        if client is None:
            client = self._owned = Client(**_cluster(max_workers, cluster_options))
        elif max_workers is not None or cluster_options:
            raise ValueError(
                "max_workers and cluster options are for a cluster of the executor's own; this client has one already"
            )
        self._client = client
        self._under_way = UnderWay(client._live())
        # Handlers run in the opposite order: this one before those that close the client and its cluster.
        atexit.unregister(finish_all)
        atexit.register(finish_all)

    # ------------------------------------------------------------ work

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> ExecutorFuture:
        """Call ``fn(*args, **kwargs)`` on a worker; returns a `concurrent.futures.Future` at once.

        All keywords are for the function; how it runs was said when the executor was made. Equal calls are made each.

        Raises:
            RuntimeError: after `shutdown`, and BrokenExecutor (one of its kind) after an initializer has raised.
            UnpicklableError: the function or an argument cannot be sent.
        """
        return self._submit(self._initialized.before(fn), [(args, kwargs)])[0]

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Results of `fn` for the elements of `iterables`, in order, as the builtin `map` takes them.

        Args:
            timeout: seconds from now, after which ``next`` raises TimeoutError.
            chunksize: so many elements become one call; one that raises takes the rest of its chunk along.
            buffersize: so many calls at most are submitted and not given out; None: all are submitted now.
        Raises:
            Whatever a call raised, when its turn comes. An iterator that is closed cancels what is left.
        """
        if chunksize < 1:
            raise ValueError(f"chunksize={chunksize!r}: 1 or more")
        if buffersize is not None and (not isinstance(buffersize, int) or isinstance(buffersize, bool)):
            raise TypeError(f"buffersize={buffersize!r}: an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"buffersize={buffersize!r}: 1 or more, or None")
        deadline = None if timeout is None else time.monotonic() + timeout
        elements: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
        if chunksize == 1:
            calls: Iterator[_Call] = ((args, {}) for args in elements)
            return self._results(self._initialized.before(fn), calls, deadline, buffersize)
        chunks: Iterator[_Call] = ((([*chunk],), {}) for chunk in iter(lambda: list(islice(elements, chunksize)), []))
        return _flat(self._results(self._initialized.before(in_chunks(fn)), chunks, deadline, buffersize))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. May be called twice.

        Args:
            wait: return only when all calls have ended and, if it is the executor's own, the cluster too. A program
                does not end before its calls have, either way.
            cancel_futures: those that no worker has begun are cancelled; the others come to their end.
        Raises:
            RuntimeError: `wait` on a loop that has to do the work, or in a callback of a future of this executor.
        """
        self._under_way.close(cancel_futures)
        owned, self._owned = self._owned, None
        if wait:
            self._under_way.wait_idle()
            if owned is not None:
                owned.close()
        elif owned is not None and owned.status != "closed":
            self._under_way.when_idle(owned.close)

    def __del__(self) -> None:
        if hasattr(self, "_under_way"):  # a constructor that raised has not set it
            self.shutdown(wait=False)

    def __reduce__(self) -> Any:
        reason = "a task that needs one calls get_client().get_executor()"
        raise UnpicklableError("an executor", type(self).__name__, reason)

    def __repr__(self) -> str:
        return f"<Executor: {self._client!r}, {self._under_way.count():,} calls under way>"

    # ------------------------------------------------------------ private

    def _submit(self, function: Callable[..., Any], calls: Iterable[_Call]) -> list[ExecutorFuture]:
        """Send one chunk of calls; a future of each."""
        self._under_way.check_open()
        client = self._client
        session = client._live()
        packed = client._functions.pack(function)
        spec = self._template._replace(function=packed.digest)
        mover = Mover(client._functions, spec.priority)
        tasks: list[Task] = []
        for args, kwargs in calls:
            arguments, needs = mover.pack(args, kwargs)
            tasks.append((spec, f"{packed.name}-{self._token[-12:]}-{counter()}", arguments, needs))
        records = session.submit(tasks, {packed.digest: packed.blob, **mover.blobs}, mover.tasks)
        try:
            return self._under_way.add(records)
        except BaseException:  # it was shut down just now
            session.release([record.key for record in records])
            raise

    def _results(
        self, function: Callable[..., Any], calls: Iterator[_Call], deadline: float | None, buffersize: int | None
    ) -> Iterator[Any]:
        waiting: deque[ExecutorFuture] = deque()
        while chunk := list(islice(calls, CHUNK if buffersize is None else min(CHUNK, buffersize - len(waiting)))):
            waiting.extend(self._submit(function, chunk))
        if not waiting:
            self._under_way.check_open()
        return self._give(function, calls, deadline, waiting)

    def _give(
        self,
        function: Callable[..., Any],
        calls: Iterator[_Call],
        deadline: float | None,
        waiting: deque[ExecutorFuture],
    ) -> Iterator[Any]:
        try:
            while waiting:
                future = waiting.popleft()
                try:
                    result = future.result(None if deadline is None else max(0.0, deadline - time.monotonic()))
                finally:
                    if not future.done():  # not in time
                        future.cancel()
                    del future
                for call in islice(calls, 1):  # nothing is left of them unless there is a buffersize
                    waiting.extend(self._submit(function, [call]))
                yield result
                del result  # or it would stay until the next one is asked for
        finally:
            self._under_way.cancel(waiting)


def _flat(chunks: Iterator[list[Any]]) -> Iterator[Any]:
    try:
        for chunk in chunks:
            chunk.reverse()
            while chunk:
                yield chunk.pop()
    finally:
        close: Callable[[], None] = chunks.close  # type: ignore[attr-defined] # it is a generator
        close()


def _template(options: dict[str, Any]) -> TaskSpec:
    if options.get("pure"):
        raise BadRequestError("pure=True: an executor makes every call; use Client.submit, which shares equal ones")
    options = {name: value for name, value in options.items() if name != "pure"}
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        raise BadRequestError(f"{', '.join(unknown)}: an executor's calls take {', '.join(_OPTIONS)}")
    return task_spec(b"", **options)


def _cluster(max_workers: int | None, options: dict[str, Any]) -> dict[str, Any]:
    """Keywords of a `LocalCluster` that runs `max_workers` calls at once."""
    from distributed.deploy.machine import cores_available  # lazy: only for a cluster of its own

    threads = options.get("threads_per_worker") or 1
    if max_workers is not None and max_workers <= 0:
        raise ValueError(f"max_workers={max_workers!r}: it must be greater than 0")
    if "n_workers" in options:
        if max_workers is not None:
            raise ValueError("max_workers and n_workers: give one of them")
        return options
    count = max_workers if max_workers is not None else max(threads, cores_available() // threads * threads)
    if count % threads:
        raise ValueError(f"max_workers={max_workers!r}: not a multiple of threads_per_worker={threads!r}")
    return {**options, "n_workers": count // threads, "threads_per_worker": threads}
