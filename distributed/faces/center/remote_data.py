"""RemoteData and PendingComputation: handles on what lies with the workers of a center, and on what will.

Thin: each holds a `Future` of the engine, which keeps the data there as long as somebody holds it.
"""

from __future__ import annotations

import gc
from typing import Any

from distributed.client.adopting import adopt, settle_releases
from distributed.client.client import Client, open_clients
from distributed.client.futures import Future
from distributed.client.inside import get_client
from distributed.errors import BadRequestError, CancelledError, DataGoneError, LostDataError
from distributed.worker.context import current_key

__all__ = ["PendingComputation", "RemoteData", "short_place", "with_futures"]

KEY_SHOWN = 10  # characters of a key in a repr
SETTLE_S = 10.0  # for the center to hear of what was let go

_MISSING = object()
_NEEDS_NO_LOOK = frozenset({int, float, str, bytes, bool, complex, type(None), range})


class RemoteData:
    """A value that lies with one or more workers, or an error that was raised in the place of one.

    Made by `Pool.map`, `apply`, `scatter` and `PendingComputation.get`. Pass it to other calls, alone or at any depth
    of lists, tuples, dicts and sets: they get its value, and run where it lies. Hidden in another object it travels as
    a reference, whose ``get()`` works inside tasks and wherever a `Pool` of the same center is open; one that was
    not asked yet keeps nothing alive.

    The data goes when the last RemoteData of it does.

    Attributes:
        key: its name at the center.
        center: ``'host:port'``.
    """

    __slots__ = ("__weakref__", "_future", "_is_deleted", "_scheduler_id", "_value", "center", "key")

    def __init__(self, key: str, center: str, scheduler_id: str, future: Future | None = None) -> None:
        self.key = key
        self.center = center
        self._scheduler_id = scheduler_id
        self._future = future  # None: a reference, or deleted
        self._is_deleted = False
        self._value: Any = _MISSING

    def get(self, timeout: float | None = None) -> Any:
        """The value, the same object every time.

        Args:
            timeout: seconds; None: as long as it takes.
        Raises:
            DataGoneError (a KeyError): it was deleted, or is lost with its workers and cannot be computed again.
            TimeoutError: not here in time.
            Whatever the call raised that made it, with its type; the remote traceback is the ``__cause__``.
        """
        if self._value is _MISSING:
            was_reference = self._future is None
            try:
                self._value = self.future().result(timeout)
            except LostDataError as error:
                raise DataGoneError(self.key, "its workers are gone, and it has no recipe") from error
            except CancelledError as error:
                if not was_reference:
                    raise
                self._future = None
                raise DataGoneError(self.key, "nobody holds it any more") from error
        return self._value

    @property
    def is_here(self) -> bool:
        """Whether `get` has brought the value."""
        return self._value is not _MISSING

    def delete(self) -> None:
        """Drop it from every worker, unless another program or another RemoteData of the same key holds it.

        Returns when the center has done so. What was computed from it stays. May be called again.

        Raises:
            CommClosedError: the pool is closed, or the center gone.
        """
        if self._is_deleted:
            return
        self._is_deleted, self._value = True, _MISSING
        future, self._future = self._future, None
        if future is not None:
            future.release()
            settle_releases(future._session, SETTLE_S)

    def future(self) -> Future:
        """The engine's handle on it.

        Raises:
            DataGoneError: it was deleted. BadRequestError: a reference, and no pool of its center is open here.
        """
        if self._is_deleted:
            raise DataGoneError(self.key, "it was deleted")
        if self._future is None:
            (self._future,) = adopt(_client_of(self)._live(), [self.key])
        return self._future

    @staticmethod
    def garbage_collect() -> None:
        """Have everything dropped from the workers that no RemoteData refers to any more; returns when it is.

        That happens by itself, soon after the last reference goes. This also finds what only circles refer to.

        Raises:
            TimeoutError: a center does not answer.
        """
        gc.collect()
        for client in open_clients():
            if not client.asynchronous:
                settle_releases(client._live(), SETTLE_S)

    def __reduce__(self) -> Any:
        if self._is_deleted:
            raise DataGoneError(self.key, "it was deleted")
        return RemoteData, (self.key, self.center, self._scheduler_id)

    def __repr__(self) -> str:
        key = self.key if len(self.key) <= KEY_SHOWN else f"{self.key[:KEY_SHOWN]}..."
        return f"RemoteData<center={self.center}, key={key}>"


class PendingComputation:
    """A call that is under way; made by `Pool.apply_async`.

    Attributes:
        key: that of its result.
    """

    __slots__ = ("_data", "_future", "key")

    def __init__(self, data: RemoteData) -> None:
        self.key = data.key
        self._data = data
        self._future = data.future()

    @property
    def status(self) -> bytes:
        """``b'running'`` until it is decided, then ``b'success'`` or ``b'error'``."""
        status = self._future.status
        return b"running" if status == "pending" else b"success" if status == "finished" else b"error"

    def get(self, timeout: float | None = None) -> RemoteData:
        """Wait until the call has ended; its result stays where it is. What it raised, ``get()`` of that raises.

        Raises:
            TimeoutError: it has not ended within `timeout` seconds; it goes on.
        """
        self._future._session.wait_settled([self._future._record], timeout)
        return self._data

    def __repr__(self) -> str:
        return f"PendingComputation<{self.status.decode()}, key={self.key}>"


def with_futures(value: Any, scheduler_id: str) -> Any:
    """`value` with the future of every RemoteData in it, at any depth of list, tuple, dict and set, in its place.

    Raises:
        BadRequestError: one belongs to another center, or its center has been started anew.
        DataGoneError: one was deleted.
    """
    try:
        return _replaced(value, scheduler_id)
    except RecursionError:  # it holds itself, or is nested deeply: then it travels as it is
        return value


def _replaced(value: Any, scheduler_id: str) -> Any:
    kind = type(value)
    if kind in _NEEDS_NO_LOOK:
        return value
    if kind is RemoteData:
        if value._scheduler_id != scheduler_id:
            raise BadRequestError(f"{value!r} lies with the workers of another center: get() it, and pass the value")
        return value.future()
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return kind([_replaced(entry, scheduler_id) for entry in value])
    if kind is dict:
        return {name: _replaced(entry, scheduler_id) for name, entry in value.items()}
    return value


def short_place(address: str) -> str:
    """``'127.0.0.1:8787'`` of a canonical address."""
    return address.partition("://")[2]


def _client_of(data: RemoteData) -> Client:
    """Whoever can fetch for a reference: the client of the task that asks, or one that is open in this process."""
    candidates = [get_client()] if current_key() is not None else []
    for client in (*candidates, *open_clients()):
        if not client.asynchronous and client._live().link.scheduler_id == data._scheduler_id:
            return client
    raise BadRequestError(f"{data!r} is a reference: open Pool({data.center!r}) in this program first")
