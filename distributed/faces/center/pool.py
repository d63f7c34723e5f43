"""Pool: calls on the workers of a center, whose results stay where they were made until somebody gets them.

A thin view over `Client`: the engine places, moves, steals and repeats. Not here: `distributed.multiprocessing.Pool`,
which has the interface of the standard library's and gives values.
"""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from distributed.calls import rpc
from distributed.client.client import Client
from distributed.client.futures import Future
from distributed.client.options import checked_key
from distributed.client.session import Session
from distributed.client.structures import records_in
from distributed.comm.addresses import parse_address
from distributed.config import CENTER_PORT
from distributed.errors import CommClosedError, DataGoneError, KeyTakenError, LostDataError
from distributed.faces.center.remote_data import PendingComputation, RemoteData, short_place, with_futures
from distributed.scheduler.shares import divide_tasks

__all__ = ["PendingComputation", "Pool", "RemoteData", "divide_tasks"]

# Names that Client.map and submit take for options; a call's own keywords may have them too.
_OPTIONS = frozenset(
    name
    for method in (Client.map, Client.submit)
    for name, parameter in inspect.signature(method).parameters.items()
    if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
)


class Pool:
    """Runs functions on the workers of a center, near the data that they are given.

        pool = Pool('127.0.0.1:8787')
        a = pool.map(lambda x: x ** 2, range(10))    # ten RemoteData, each on the worker that computed it
        b = pool.map(lambda x: -x, a)                # computed where its input lies
        pool.apply(sum, [b]).get()                   # -285

    Args:
        center_ip: where the center is: ``'host:port'``, ``'host'`` (port 8787), ``('host', port)``, a canonical address
            such as ``'tls://host:port'``, an `rpc`, or a cluster object.
        center_port: for a host given alone.
        start: connect now; False: when `start` is called.
        options: keywords for the `Client`, such as ``timeout=10`` or ``security=True``.
    Raises:
        AddressError: no such spelling. ConnectTimeoutError: no center is there.
        AuthenticationError: it has another key.
    """

    def __init__(
        self, center_ip: Any, center_port: int | str | None = None, start: bool = True, **options: Any
    ) -> None:
        place = _place(center_ip)
        address = parse_address(place if center_port is None else (place, center_port), CENTER_PORT)
        self.center_ip: str = address.host
        self.center_port: int = address.port
        self._address = str(address)
        self._options = options
        self._client: Client | None = None
        self._view: dict[str, Any] | None = None  # what `sync_center` has brought; None: it is out of date
        if start:
            self.start()

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Connect, if that has not happened. Errors as the constructor's."""
        if self._client is None:
            self._client = Client(self._address, **self._options)
            self._view = None

    @property
    def client(self) -> Client:
        """The engine's client, for all that it can do and a pool cannot.

        Raises:
            CommClosedError: the pool was not started, or is closed.
        """
        if self._client is None:
            raise CommClosedError(self._address, "this pool is not started, or closed; call start()")
        return self._client

    @property
    def status(self) -> str:
        """``'running'``, ``'connecting'`` (again, after the connection broke) or ``'closed'``."""
        return "closed" if self._client is None else self._client.status

    def close(self) -> None:
        """End the connection; data of this pool is dropped, what was got before stays. May be called twice."""
        client, self._client, self._view = self._client, None, None
        if client is not None:
            client.close()

    def close_connections(self) -> None:
        """End the connections with workers that are not in use; they are made again when they are needed."""
        session = self.client._live()

        async def close() -> None:
            session.workers.close_idle()

        session.run(close())

    def __enter__(self) -> Pool:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Pool: {short_place(self._address)}, {self.status}>"

    # ------------------------------------------------------------ calls

    def map(self, func: Callable[..., Any], seq: Iterable[Any], /, **kwargs: Any) -> list[RemoteData]:
        """``func(item, **kwargs)`` for every item; returns when all have ended, and results stay on the workers.

        A call that raised has a RemoteData too, whose ``get()`` raises that. If a worker dies its calls run elsewhere.

        Args:
            seq: items; RemoteData in them, and in `kwargs`, stand for their values.
        """
        session, scheduler_id = self._session(), self._scheduler_id()
        function, keywords = self._call(func, kwargs)
        items = (with_futures(item, scheduler_id) for item in seq)
        futures = self.client.map(function, items, key=str(uuid.uuid4()), pure=False, redundant=True, **keywords)
        try:
            session.wait_settled(records_in(session, futures), None)
        finally:
            self._view = None
        return [self._data(future) for future in futures]

    def apply_async(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> PendingComputation:
        """Begin ``func(*args, **kwargs)``; returns at once.

        Args:
            key: name of the result; None: one that nobody else has.
        Raises:
            TypeError: `args` is no tuple and no list. KeyTakenError: other data has that key.
        """
        if not isinstance(args, (tuple, list)):
            raise TypeError(f"args is a tuple or a list of arguments, not {type(args).__name__}: write args=(x,)")
        if key is not None:
            self._check_free([key])
        function, keywords = self._call(func, dict(kwargs or {}))
        given = with_futures(tuple(args), self._scheduler_id())
        future = self.client.submit(function, *given, key=key or str(uuid.uuid4()), pure=False, **keywords)
        self._view = None
        return PendingComputation(self._data(future))

    def apply(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> RemoteData:
        """`apply_async`, and wait for its end: where the result is, not the result."""
        return self.apply_async(func, args, kwargs, key).get()

    # ------------------------------------------------------------ data

    def scatter(self, data: Any, key: str | None = None) -> Any:
        """Put data on the workers, in turn, each as often as it has cores.

        Args:
            data: any iterable, for a list of RemoteData; or a dict, whose keys name the data, for a dict of them.
            key: they are called ``key-0``, ``key-1`` ...; None: one that nobody else has.
        Raises:
            KeyTakenError: other data has such a key. WorkerStartError: no worker is there.
        Scattered data has no recipe: if its workers die it is lost.
        """
        if isinstance(data, dict):
            values = dict(data)
            self._check_free(list(values))
        else:
            prefix = key or str(uuid.uuid4())
            values = {f"{prefix}-{number}": value for number, value in enumerate(data)}
            if key is not None:
                self._check_free(list(values))
        futures = self.client.scatter(values) if values else {}
        self._view = None
        placed = {name: self._data(future) for name, future in futures.items()}
        return placed if isinstance(data, dict) else list(placed.values())

    def gather(self, data: Iterable[RemoteData]) -> list[Any]:
        """The values, in order: the center is asked once, and each holder once.

        Raises:
            The first error that one of them has in the place of a value; DataGoneError (a KeyError) as their ``get``.
        """
        wanted = list(data)
        for entry in wanted:
            if not isinstance(entry, RemoteData):
                raise TypeError(f"gather takes RemoteData, not {type(entry).__name__}")
        missing = [entry for entry in wanted if not entry.is_here]
        futures = with_futures(missing, self._scheduler_id())
        try:
            values = iter(self.client.gather(futures))
            return [entry.get() if entry.is_here else next(values) for entry in wanted]
        except LostDataError as error:
            raise DataGoneError(error.key, "its workers are gone, and it has no recipe") from error

    # ------------------------------------------------------------ looking

    def sync_center(self) -> None:
        """Ask the center who has what, and how many cores there are. It is asked by itself after every call, too."""
        session = self._session()

        async def ask() -> list[Any]:
            names = ("who_has", "has_what", "ncores", "nthreads", "processing")
            return await asyncio.gather(*(session.ask(name) for name in names))

        who_has, has_what, ncores, threads, processing = session.run(ask())
        free = {worker: max(0, count - len(processing.get(worker, ()))) for worker, count in threads.items()}
        self._view = {"who_has": who_has, "has_what": has_what, "ncores": ncores, "available_cores": free}

    @property
    def who_has(self) -> dict[str, list[str]]:
        """``{key: [address]}`` as the center had it when it was asked last."""
        return self._seen("who_has")

    @property
    def has_what(self) -> dict[str, list[str]]:
        """``{address: [key]}``, likewise."""
        return self._seen("has_what")

    @property
    def ncores(self) -> dict[str, int]:
        """``{address: cores}``, likewise."""
        return self._seen("ncores")

    @property
    def available_cores(self) -> dict[str, int]:
        """``{address: cores}`` that had nothing to do, likewise; of those that run tasks."""
        return self._seen("available_cores")

    def _seen(self, name: str) -> dict[str, Any]:
        if self._view is None:
            self.sync_center()
        assert self._view is not None
        return dict(self._view[name])

    # ------------------------------------------------------------ private

    def _session(self) -> Session:
        return self.client._live()

    def _scheduler_id(self) -> str:
        return self._session().link.scheduler_id

    def _data(self, future: Future) -> RemoteData:
        return RemoteData(future.key, short_place(self._address), self._scheduler_id(), future)

    def _call(self, func: Callable[..., Any], kwargs: dict[str, Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
        """Function and keywords as `Client.map` and `submit` take them."""
        keywords = with_futures(kwargs, self._scheduler_id()) if kwargs else kwargs
        taken = _OPTIONS.intersection(keywords)
        if not taken:
            return func, keywords
        names = {f"pool_{name}": name for name in sorted(taken)}
        others = {name: value for name, value in keywords.items() if name not in taken}
        return _Renaming(func, names), {**others, **{alias: keywords[name] for alias, name in names.items()}}

    def _check_free(self, keys: list[str]) -> None:
        session = self._session()
        known = session.table.records
        keys = [checked_key(key) for key in keys]
        holders = session.run(session.ask("who_has", keys=[key for key in keys if key not in known]))
        for key in keys:
            if key in known or holders.get(key):
                raise KeyTakenError(key, short_place(self._address))


def _place(center: Any) -> Any:
    """An address, of whatever names a center or has a connection with it."""
    if isinstance(center, rpc):
        return center.address
    return getattr(center, "scheduler_address", center)


class _Renaming:
    """A function some of whose keywords travel under other names, as their own are those of the client's options."""

    def __init__(self, func: Callable[..., Any], names: dict[str, str]) -> None:
        self.func = func
        self.names = names

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **{self.names.get(name, name): value for name, value in kwargs.items()})
