"""Client: submit functions to a cluster, get futures, gather results."""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import Callable, Coroutine, Generator, Hashable, Iterable, Mapping
from itertools import islice
from typing import Any

from distributed.client import graphs
from distributed.client.again import CallMethods
from distributed.client.connecting import connect_session, find_scheduler
from distributed.client.coordination.datasets import DatasetMethods
from distributed.client.data import DataMethods
from distributed.client.diagnosis import DiagnosisMethods
from distributed.client.equipment import EquipmentMethods
from distributed.client.futures import Future, FutureSequence
from distributed.client.looking import LookMethods
from distributed.client.loop_thread import LoopThread
from distributed.client.moving import Mover
from distributed.client.options import checked_key, task_spec
from distributed.client.outbox import Task
from distributed.client.output import Printer
from distributed.client.packing import FunctionCache, PackedFunction, pure_key
from distributed.client.session import Session
from distributed.client.streaming import StreamMethods
from distributed.client.structures import flatten, listed, records_in, shaped_like
from distributed.config import settings
from distributed.errors import CommClosedError, ConnectTimeoutError
from distributed.ids import counter, unique_id
from distributed.security.keys import Keyring

__all__ = ["Client", "default_client", "open_clients"]

MAP_CHUNK = 1000  # calls packed before they are sent, so that workers begin while the rest is packed
CLOSE_TIMEOUT_S = 10.0

_open_clients: list[Client] = []  # of this process, newest last


class Client(DataMethods, CallMethods, StreamMethods, DatasetMethods, LookMethods, DiagnosisMethods, EquipmentMethods):
    """A program's connection with a cluster.

        client = Client()                         # a cluster on this machine, for as long as the client lives
        client = Client('127.0.0.1:8786')         # a scheduler that runs already
        client.submit(pow, 2, 10).result()        # 1024

    Args:
        address: of the scheduler, in any spelling; a cluster object; None: what ``scheduler_file`` or the environment
            variable ``DISTRIBUTED_SCHEDULER_ADDRESS`` names, else a `LocalCluster` is started.
        scheduler_file: path of the file that ``dscheduler --scheduler-file`` wrote.
        asynchronous: for use inside a running loop, ``async with Client(asynchronous=True) as client``: every method
            that waits then returns an awaitable.
        timeout: seconds for the scheduler to answer; None: the setting ``connect_timeout_s``.
        name: shown to people.
        security: None: TLS if the address begins with ``tls://``; True: nothing but TLS; a fingerprint: nothing but TLS
            with this very certificate. A scheduler file pins its scheduler's certificate by itself.
        output: what becomes of what tasks print: ``'print'``: shown here, each line with its key; ``'ignore'``; or a
            function, called as ``output(key, stream, text)`` in a thread of its own.
        keys: what to prove who we are with, to the scheduler and to workers; None: the key file of this user.
        cluster_options: keywords for the `LocalCluster`, such as ``n_workers=2, threads_per_worker=1``.
    Raises:
        ConnectTimeoutError: no scheduler answers there.
        AuthenticationError: it has another key.
        SchedulerFileError: the file is missing, damaged, or left over from a scheduler that ended.
    """

    process = ""  # of the worker whose tasks use this client, see `distributed.client.inside`

    def __init__(
        self,
        address: Any = None,
        *,
        scheduler_file: str | os.PathLike[str] | None = None,
        asynchronous: bool = False,
        timeout: float | None = None,
        name: str | None = None,
        security: bool | str | None = None,
        output: Any = "print",
        keys: Keyring | None = None,
        **cluster_options: Any,
    ) -> None:
        self.asynchronous = asynchronous
        self.keys = keys
        self.printer = Printer(output)
        self.id = unique_id("client")
        self.name = name or self.id
        self.cluster: Any = address if hasattr(address, "scheduler_address") else None
        self._owns_cluster = False
        self._scheduler_file = scheduler_file
        self._address = find_scheduler(address, scheduler_file)
        self._cluster_options = {**cluster_options, "security": True} if security else cluster_options
        self._security = security
        self._timeout_s = settings().connect_timeout_s if timeout is None else timeout
        self._session: Session | None = None
        self._functions = FunctionCache()
        self._thread: LoopThread | None = None
        if self._address is not None and cluster_options:
            raise TypeError(f"{', '.join(cluster_options)}: only for a LocalCluster, but a scheduler is named")
        if not asynchronous:
            self._start()

    # ------------------------------------------------------------ life

    @property
    def scheduler_address(self) -> str:
        """Canonical address of the scheduler."""
        return self._live().scheduler_address

    @property
    def status(self) -> str:
        """``'running'``, ``'closed'``, or ``'connecting'``: for the first time, or again after the connection broke."""
        return "connecting" if self._session is None else self._session.status

    def close(self) -> Any:
        """End the connection, and the cluster if this client started it. May be called twice."""
        if self.asynchronous:
            return self._close_async()
        self._forget()
        thread, self._thread = self._thread, None
        try:
            if thread is not None and self._session is not None:
                thread.run(self._session.close(), CLOSE_TIMEOUT_S)
        finally:
            if thread is not None:
                thread.stop()
            self.printer.close()
            if self._owns_cluster:
                self.cluster.close()
        return None

    def shutdown(self) -> Any:
        """End scheduler and workers too, for everybody."""

        async def terminate() -> None:
            try:
                await self._live().ask_once("terminate", reason=f"{self.name} asked for it")
            except (CommClosedError, ConnectTimeoutError):
                return  # it ended before it could answer, which is what we want, or is out of reach

        if self.asynchronous:

            async def both() -> None:
                await terminate()
                await self._close_async()

            return both()
        self._run(terminate())
        self.close()
        return None

    def __enter__(self) -> Client:
        if self.asynchronous:
            raise TypeError("an asynchronous client is used with `async with`")
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self) -> Client:
        return await self._start_async()

    async def __aexit__(self, *exception: object) -> None:
        await self._close_async()

    def __await__(self) -> Generator[Any, None, Client]:
        return self._start_async().__await__()

    @classmethod
    def current(cls) -> Client:
        """The client opened last in this process and still open.

        Raises:
            ValueError: there is none.
        """
        for client in open_clients():
            return client
        raise ValueError("no client is open in this process; make one: Client()")

    # ------------------------------------------------------------ work

    def submit(
        self,
        function: Callable[..., Any],
        *args: Any,
        key: str | None = None,
        workers: str | Iterable[str] | None = None,
        resources: Mapping[str, float] | None = None,
        retries: int = 0,
        priority: int = 0,
        allow_other_workers: bool = False,
        platform: str | None = None,
        memory_limit: str | int | None = None,
        timeout: float | None = None,
        pure: bool = True,
        actor: bool = False,
        redundant: bool = False,
        threads: int = 1,
        **kwargs: Any,
    ) -> Future:
        """Call ``function(*args, **kwargs)`` on a worker; returns at once.

        Args:
            args, kwargs: anything that can be pickled; futures, also inside list, tuple, dict and set, become results.
                The call gets them as they are now. One of 1 MiB or more is sent once and shared by all calls that are
                given equal ones, so functions must not change it; arrays are read-only there.
            key: name of the result; None: made from the call. The same key is computed once.
            workers: only on these: addresses, names or hosts.
            resources: amounts a worker must have free, such as ``{'GPU': 1}``.
            retries: how often to try again when it raises, >= 0.
            priority: higher ones run first.
            allow_other_workers: `workers` are only preferred: others may do when none of them is there.
            platform: only on workers with such a tag, which every worker has for its system: ``'linux'``, ``'darwin'``,
                ``'linux-x86_64'``; with ``*`` as in file names, and ``|`` between several of them.
            memory_limit: bytes that the task may use, such as ``'2GiB'``. A task that uses more fails with
                MemoryLimitExceeded; workers with a limit run no more of them at once than fit.
            timeout: seconds that one run of it may take; then it is interrupted and fails with TaskTimeoutError. If it
                does not stop its process is replaced.
            pure: equal calls are one task; say False for functions that give another answer each time.
            actor: what `function`, a class for example, returns stays on its worker, and the result is an `Actor`:
                each call makes one of its own.
            redundant: while some thread has nothing to do, a call that takes much longer than usual is tried there too.
                The first answer counts. Only for functions that may run twice at a time.
            threads: how many threads of its worker each call takes, for functions that use several by themselves; only
                on workers that have so many.
        Raises:
            UnpicklableError: the function or an argument cannot be sent.
            CommClosedError: the scheduler is gone, or this client is closed.
        Cost: about 10 us, nothing is awaited.
        """
        session = self._live()
        packed = self._functions.pack(function)
        spec = task_spec(
            packed.digest,
            workers,
            resources,
            retries,
            priority,
            allow_other_workers,
            platform,
            memory_limit,
            timeout,
            actor,
            redundant,
            threads,
        )
        mover = Mover(self._functions, spec.priority)
        arguments, needs = mover.pack(args, kwargs)
        name = checked_key(key) if key is not None else self._key(packed, arguments if pure and not actor else None)
        blobs = {packed.digest: packed.blob, **mover.blobs}
        (record,) = session.submit([(spec, name, arguments, needs)], blobs, mover.tasks)
        return Future(session, record)

    def map(
        self,
        function: Callable[..., Any],
        *iterables: Iterable[Any],
        key: str | Iterable[str] | None = None,
        workers: str | Iterable[str] | None = None,
        resources: Mapping[str, float] | None = None,
        retries: int = 0,
        priority: int = 0,
        allow_other_workers: bool = False,
        platform: str | None = None,
        memory_limit: str | int | None = None,
        timeout: float | None = None,
        pure: bool = True,
        actor: bool = False,
        redundant: bool = False,
        threads: int = 1,
        **kwargs: Any,
    ) -> FutureSequence:
        """Call `function` once per element, as the builtin `map` does with several iterables; the shortest ends it.

        Args:
            key: a prefix for all keys, or one key per call.
            kwargs: given to every call. The rest as for `submit`.
        Returns:
            A lazy immutable sequence of futures, in order.
        Cost: about 3 us and 300 bytes per call.
        """
        session = self._live()
        packed = self._functions.pack(function)
        spec = task_spec(
            packed.digest,
            workers,
            resources,
            retries,
            priority,
            allow_other_workers,
            platform,
            memory_limit,
            timeout,
            actor,
            redundant,
            threads,
        )
        mover = Mover(self._functions, spec.priority)
        kwargs = mover.move_constants(kwargs) if kwargs else kwargs
        prefix = checked_key(key) if isinstance(key, str) else None
        given = None if key is None or isinstance(key, str) else iter(key)
        calls = zip(*iterables, strict=False)
        keys: list[str] = []
        futures = FutureSequence(session, keys)  # holds what is sent, also should we not come to the end
        while chunk := list(islice(calls, MAP_CHUNK)):
            tasks: list[Task] = []
            for args in chunk:
                arguments, needs = mover.pack(args, kwargs)
                if given is not None:
                    name = checked_key(next(given, None))
                elif prefix is not None:
                    name = f"{prefix}-{len(keys) + len(tasks)}"
                else:
                    name = self._key(packed, arguments if pure and not actor else None)
                tasks.append((spec, name, arguments, needs))
            session.submit(tasks, {packed.digest: packed.blob, **mover.blobs}, mover.tasks)
            keys.extend(task[1] for task in tasks)
        return futures

    def compute(self, value: Any) -> Future:
        """One future for a structure of futures: lists, tuples, dicts and sets of them, of any depth."""
        return self.submit(graphs.identity, value, pure=False)

    def get(self, graph: Mapping[Hashable, Any], keys: Any) -> Any:
        """Compute a plain dict graph and return the results of `keys`.

        Args:
            graph: ``{'x': 1, 'y': (inc, 'x'), 'z': (sum, ['x', 'y'])}``: a tuple that begins with a callable is a task.
            keys: one key, or a list of keys (nested as you like); results come in the same shape.
        Raises:
            BadRequestError: a key is not in the graph, or the graph has a cycle.
            Whatever a task raised.
        """
        session = self._live()
        wanted = dict.fromkeys(flatten(keys))
        tasks, blobs, names = graphs.graph_tasks(graph, set(wanted), unique_id("graph"), self._functions)
        session.submit_graph(tasks, blobs)
        futures = {key: Future(session, session.table.records[names[key]]) for key in wanted}
        return self.gather(shaped_like(keys, futures))

    def cancel(self, futures: Any, force: bool = False, reason: str | None = None) -> Any:
        """Stop tasks and all that depend on them, for every client; their futures become cancelled.

        Tasks in queues are dropped, those that run are interrupted: Python code stops within 0.1 s. What a task did to
        the outside world stays done.

        Args:
            force: replace the process of a task that has not stopped in 0.3 s, as it waits or works in C. Others that
                ran there run again, results are computed again, scattered data is kept.
            reason: for people, in the CancelledError.
        """
        session = self._live()
        records = list(records_in(session, [listed(futures)]))
        session.cancel(records, force, reason)
        if self.asynchronous:
            return session.wait_settled_async(records, None)
        session.wait_settled(records, CLOSE_TIMEOUT_S)
        return None

    # ------------------------------------------------------------ looking

    def scheduler_info(self) -> Any:
        """What the scheduler tells of itself and its workers: ``type id address pid started workers tasks steps``."""
        return self._finish(self._live().ask("scheduler_info"))

    def get_versions(self, check: bool = False) -> Any:
        """Versions of Python and packages of client, scheduler and workers; `check`: warn where they differ."""
        return self._finish(self._live().versions(check))

    def __repr__(self) -> str:
        if self._session is None:
            return f"<{type(self).__name__}: not connected>"
        return f"<{type(self).__name__}: {self.scheduler_address}, {self.status}>"

    # ------------------------------------------------------------ private

    def _start(self) -> None:
        if self._address is None:
            from distributed.deploy.local import LocalCluster  # lazy: only for a cluster of our own

            self.cluster = LocalCluster(**self._cluster_options)
            self._owns_cluster = True
            self._address = self.cluster.scheduler_address
        self._thread = LoopThread("distributed-client")
        try:
            self._thread.run(self._connect())
        except BaseException:
            self._thread.stop()
            if self._owns_cluster:
                self.cluster.close()
            raise

    async def _start_async(self) -> Client:
        if self._session is None:
            if self._address is None:
                from distributed.deploy.local import LocalCluster  # lazy: only for a cluster of our own

                self.cluster = await LocalCluster(asynchronous=True, **self._cluster_options)
                self._owns_cluster = True
                self._address = self.cluster.scheduler_address
            try:
                await self._connect()
            except BaseException:
                if self._owns_cluster:
                    await self.cluster.close()
                raise
        return self

    async def _connect(self) -> None:
        assert self._address is not None
        self._session = await connect_session(
            self, self._address, self._timeout_s, self._scheduler_file, self._security
        )
        if not self.process:  # those of workers are for their tasks, which have another way to them
            _open_clients.append(self)

    async def _close_async(self) -> None:
        self._forget()
        if self._session is not None:
            await self._session.close()
        if self.printer.is_used:
            await asyncio.get_running_loop().run_in_executor(None, self.printer.close)
        if self._owns_cluster:
            await self.cluster.close()

    def _forget(self) -> None:
        if self in _open_clients:
            _open_clients.remove(self)

    def _live(self) -> Session:
        if self._session is None:
            raise CommClosedError(str(self._address), "this asynchronous client has not started; `await` it first")
        return self._session

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._live().run(coroutine)

    def _finish(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """The coroutine's result, or the coroutine itself for an asynchronous client."""
        return coroutine if self.asynchronous else self._run(coroutine)

    def _key(self, packed: PackedFunction, arguments: Any) -> str:
        if arguments is None:
            return f"{packed.name}-{self.id[-12:]}-{counter()}"
        return pure_key(packed, arguments)


def default_client() -> Client:
    """The client opened last in this process and still open; ValueError when there is none."""
    return Client.current()


def open_clients() -> list[Client]:
    """All of this process that are open, the newest first; not those of workers, which are for their tasks."""
    return [client for client in reversed(_open_clients) if client.status != "closed"]


@atexit.register
def _close_all() -> None:
    for client in list(_open_clients):
        if not client.asynchronous:
            client.close()
