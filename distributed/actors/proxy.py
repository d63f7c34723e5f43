"""Actor: a handle on an object that lives on a worker; ActorFuture: what one of its methods will return."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from typing import Any

from distributed.actors import carriers, loading
from distributed.actors.calling import RAISED, Pending
from distributed.errors import ActorWaitsError, CommClosedError
from distributed.protocol.failure import exception_from_failure
from distributed.protocol.serialize import dumps_payload, loads_payload

__all__ = ["Actor", "ActorFuture", "ActorRef", "running"]

METHODS_MAX = 1_000  # named in a proxy; an object with more has been made by a program, and those are read first


class _Running(threading.local):
    """Which actor's method this thread runs; '' if none."""

    actor = ""


running = _Running()


class ActorRef:
    """Where an actor is and what can be called: all that a pickled proxy holds.

    Attributes:
        key: of the task that made it; address: of its worker; actor: which life of it; kind: its class, for people.
        methods: names of the class's callables; every other public name is read.
    """

    __slots__ = ("actor", "address", "key", "kind", "methods")

    def __init__(self, key: str, address: str, actor: str, kind: str, methods: tuple[str, ...]) -> None:
        self.key = key
        self.address = address
        self.actor = actor
        self.kind = kind
        self.methods = methods

    @classmethod
    def to(cls, instance: Any, key: str, address: str, actor: str) -> ActorRef:
        """The reference to `instance`, which lives at `address`."""
        kind = type(instance)
        names = [name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name, None))]
        return cls(key, address, actor, kind.__qualname__, tuple(names[:METHODS_MAX]))

    def __reduce__(self) -> tuple[Any, ...]:
        # Whoever loads it gets the proxy: the object itself stays where it is.
        return Actor, (self.key, self.address, self.actor, self.kind, self.methods)


class Actor:
    """An object on a worker: its methods run there, one at a time, and what they change stays.

    Made by ``client.submit(Class, ..., actor=True).result()``. A method call returns an `ActorFuture` at once; calls of
    one program run in the order in which they were made. A public attribute that is no method is read from the object:
    ``counter.n`` waits for its value (awaitable with an asynchronous client). Proxies can be pickled, and used in tasks
    and other programs. The object lives as long as its future or a proxy that a client has loaded; with its worker it
    is lost, see `distributed.errors.ActorLostError`.
    """

    __slots__ = ("__weakref__", "_held", "_ref", "_session")

    def __init__(self, key: str, address: str, actor: str, kind: str, methods: tuple[str, ...]) -> None:
        self._ref = ActorRef(key, address, actor, kind, methods)
        self._session = loading.session
        self._held = self._session is not None and self._session.hold_actor(key)

    @property
    def key(self) -> str:
        """The key of the task that made it."""
        return self._ref.key

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{name!r}: only public methods and attributes of an actor can be reached")
        if name in self._ref.methods:
            return _Method(self, name)
        future = self._call(name, True, (), {})
        return future if future.is_on_loop() else future.result()

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            raise AttributeError(f"{name}: an actor's attributes are set by its own methods only")
        object.__setattr__(self, name, value)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self._ref.methods})

    def __reduce__(self) -> tuple[Any, ...]:
        return self._ref.__reduce__()

    def __eq__(self, other: object) -> bool:
        return type(other) is Actor and other._ref.actor == self._ref.actor

    def __hash__(self) -> int:
        return hash(self._ref.actor)

    def __repr__(self) -> str:
        return f"<Actor: {self._ref.kind}, key: {self._ref.key}>"

    def __del__(self) -> None:
        if getattr(self, "_held", False):
            self._session.release([self._ref.key])

    def _let_go(self) -> None:
        """Hold the actor no more, whoever has this proxy."""
        if self._held:
            self._held = False
            self._session.release([self._ref.key])

    def _call(self, name: str, is_read: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ActorFuture:
        carrier = self._session
        if carrier is None:
            if not carriers:
                reason = "no client is open in this process that could carry the call; make one: Client()"
                raise CommClosedError(self._ref.address, reason)
            carrier = carriers[-1]
        future = ActorFuture(self, name, carrier)
        ref = self._ref
        arguments = dumps_payload((args, kwargs)) if args or kwargs else b""
        carrier.actor_calls.send(ref.address, Pending(ref.key, ref.actor, name, is_read, arguments, future._settle))
        return future


class _Method:
    """A method of an actor, to be called."""

    __slots__ = ("__name__", "_actor")

    def __init__(self, actor: Actor, name: str) -> None:
        self._actor = actor
        self.__name__ = name

    def __call__(self, *args: Any, **kwargs: Any) -> ActorFuture:
        """Call it over there; returns at once.

        Raises:
            UnpicklableError: an argument cannot be sent.
        """
        return self._actor._call(self.__name__, False, args, kwargs)

    def __repr__(self) -> str:
        return f"<method {self.__name__} of {self._actor!r}>"


class ActorFuture:
    """What a method of an actor will return: ``future.result()``, or ``await future`` in coroutines."""

    __slots__ = ("_actor", "_carrier", "_gate", "_kind", "_loaded", "_value", "_wakers", "name")

    def __init__(self, actor: Actor, name: str, carrier: Any) -> None:
        self._actor = actor  # kept, so that a call holds the actor until it is answered
        self._carrier = carrier
        self._kind: int | None = None  # None: no answer yet
        self._value: Any = None
        self._loaded = False
        self._wakers: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._gate = threading.Lock()  # open, not held, once there is an answer
        self._gate.acquire()
        self.name = name

    def done(self) -> bool:
        """Whether it has returned or raised."""
        return self._kind is not None

    def result(self, timeout: float | None = None) -> Any:
        """What the method returned, waiting for it; on the loop of an asynchronous client an awaitable of it.

        Args:
            timeout: seconds >= 0; None: as long as it takes.
        Raises:
            TimeoutError: no answer in time; the call goes on.
            ActorLostError: the actor is gone, with its worker or because nobody held it.
            CommClosedError: the connection broke under way: whether the call ran is not known.
            Whatever the method raised, with its type; the remote traceback is the ``__cause__``.
        """
        if self.is_on_loop():
            return self._result_async(timeout)
        self._wait(timeout)
        return self._outcome()

    def exception(self, timeout: float | None = None) -> Any:
        """The exception that the call raised, None if it returned; waits as `result` does."""
        if self.is_on_loop():
            return self._error_async(timeout)
        self._wait(timeout)
        return self._error()

    def __reduce__(self) -> str:
        raise TypeError(f"{self!r} is for this process only: take its result(), and return or send that")

    def is_on_loop(self) -> bool:
        """Whether this thread runs the loop over which calls travel, so that it must not wait."""
        return bool(threading.get_ident() == self._carrier.actor_thread)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result_async(None).__await__()

    def __repr__(self) -> str:
        state = "pending" if self._kind is None else "error" if self._kind == RAISED else "finished"
        return f"<ActorFuture: {state}, {self.name} of {self._actor._ref.key}>"

    # ------------------------------------------------------------ private

    def _settle(self, kind: int, value: Any) -> None:
        self._value = value
        self._kind = kind
        self._gate.release()
        for loop, waker in self._wakers:
            _call_on(loop, _open, waker)

    def _wait(self, timeout: float | None) -> None:
        if self._kind is None:
            if running.actor == self._actor._ref.actor:
                raise ActorWaitsError(self._actor._ref.key)
            if not self._carrier.wait_for_actor(self._gate, timeout):
                raise self._overdue(timeout)
            self._gate.release()  # for others who wait

    async def _wait_async(self, timeout: float | None) -> None:
        if self._kind is not None:
            return
        loop = asyncio.get_running_loop()
        waker: asyncio.Future[None] = loop.create_future()
        entry = (loop, waker)
        self._wakers.append(entry)
        try:
            if self._kind is None:  # it may have come just now
                async with asyncio.timeout(timeout):
                    await self._carrier.await_actor(waker)
        except TimeoutError:
            raise self._overdue(timeout) from None
        finally:
            self._wakers.remove(entry)

    async def _result_async(self, timeout: float | None) -> Any:
        await self._wait_async(timeout)
        return self._outcome()

    async def _error_async(self, timeout: float | None) -> BaseException | None:
        await self._wait_async(timeout)
        return self._error()

    def _outcome(self) -> Any:
        error = self._error()
        if error is not None:
            try:
                raise error
            finally:
                error = None  # or frame and exception would hold each other
        if not self._loaded:
            before, loading.session = loading.session, self._actor._session
            try:
                self._value = loads_payload(self._value)
            finally:
                loading.session = before
            self._loaded = True
        return self._value

    def _error(self) -> BaseException | None:
        if self._kind != RAISED:
            return None
        return exception_from_failure(self._value, f"the actor {self._actor._ref.key} on {self._actor._ref.address}")

    def _overdue(self, timeout: float | None) -> TimeoutError:
        return TimeoutError(f"{self.name} of the actor {self._actor._ref.key} has not returned within {timeout:g} s")


def _open(waker: asyncio.Future[None]) -> None:
    if not waker.done():
        waker.set_result(None)


def _call_on(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: Any) -> None:
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:  # it has ended, and with it whoever waited there
        return
