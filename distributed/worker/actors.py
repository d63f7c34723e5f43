"""Actors that live here: each object with its calls in order, run by a thread of its own while there are any.

A thread is started when an actor is called and ends when it has idled; of more than `THREADS_MAX` actors in use, some
wait for a thread. An actor one of whose methods returned a coroutine gets an event loop in its thread for the rest of
its life: all its methods run there then, plain ones as a whole, async ones taking turns where they await.

    loop thread:   calls in ──▶ House.calls ──▶ its thread ──▶ answers, many in one message ──▶ caller's stream

Not here: which actors there are (the machine says), and the calling side (`distributed.actors.calling`).
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
from collections import OrderedDict, deque
from dataclasses import replace
from functools import partial
from typing import Any

from distributed.actors.calling import RETURNED
from distributed.actors.proxy import ActorRef, running
from distributed.comm.stream import Stream
from distributed.errors import ActorLostError, BadRequestError, CommClosedError
from distributed.ids import unique_id
from distributed.protocol.serialize import dumps_payload, loads_payload, payload_nbytes
from distributed.worker.actor_calls import ActorCall, Caller
from distributed.worker.context import TaskContext, enter
from distributed.worker.effects import ReadyTask
from distributed.worker.events import Outcome
from distributed.worker.interrupts import TaskInterrupted
from distributed.worker.stoppable import Stoppable
from distributed.worker.store import Packed

__all__ = ["THREADS_MAX", "Actors", "House", "housed"]

THREADS_MAX = 64  # of actors in one worker; one more waits until another has nothing to do
IDLE_S = 10.0  # a thread without calls ends after that; starting one takes 0.1 ms
NO_SLOT = -1  # an actor's thread is none of the executor's, so it has nothing to lend while it waits

_END = object()  # in the place of a call: the actor is to end
_LOOK = object()  # likewise: somebody else needs the thread


class House:
    """Where one actor lives: the object, its calls, and the thread that runs them.

    Attributes:
        actor: which life of the key, so that a call never reaches another object made by a task of the same name.
        instance: the object; None once it has ended.
        lost: why it is gone; '' while it lives.
        stoppable: makes the calls.
    """

    __slots__ = ("actor", "calls", "has_thread", "instance", "key", "loop", "lost", "ref", "stoppable", "task")

    def __init__(self, task: ReadyTask, actor: str, instance: Any, ref: ActorRef) -> None:
        self.key = task.key
        self.actor = actor
        self.instance = instance
        self.ref = ref
        self.task = replace(task, function=None, arguments=None)  # for its context, without what it was made of
        self.calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.has_thread = False
        self.loop: asyncio.AbstractEventLoop | None = None  # once a method was async
        self.lost = ""
        self.stoppable = Stoppable()


def housed(task: ReadyTask, instance: Any, address: str, duration_s: float) -> Outcome:
    """The outcome of a task that made an actor: the result is its proxy, the object stays beside it."""
    actor = unique_id("actor")
    ref = ActorRef.to(instance, task.key, address, actor)
    payload = dumps_payload(ref)
    house = House(task, actor, instance, ref)
    return Outcome(task.key, task.ticket, Packed(payload), payload_nbytes(payload), payload, duration_s, actor=house)


class Actors:
    """All actors of a worker.

    Args:
        address: this worker, for errors.
        owner: the worker's server, for the context of its methods.
        loop: on which methods that swallow an interrupt are interrupted again; None: once is enough.
    """

    def __init__(
        self,
        address: str,
        owner: Any = None,
        threads_max: int = THREADS_MAX,
        idle_s: float = IDLE_S,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._loop = loop
        self._address = address
        self._owner = owner
        self._threads_max = threads_max
        self._idle_s = idle_s
        self._houses: dict[str, House] = {}
        self._lock = threading.Lock()  # of the three below, and of every house's `has_thread` and `loop`
        self._nthreads = 0
        self._idle: OrderedDict[House, None] = OrderedDict()  # their threads wait for calls
        self._waiting: deque[House] = deque()  # they have calls, and no thread
        self._callers: set[Caller] = set()

    # ------------------------------------------------------------ loop thread

    def __len__(self) -> int:
        return len(self._houses)

    def keep(self, houses: dict[str, House]) -> None:
        """These live from now on; an older one of the same key must have ended."""
        self._houses.update(houses)

    def end(self, keys: list[str], reason: str) -> None:
        """These live no more: what runs is interrupted, and with what waits fails with `reason`."""
        for key in keys:
            house = self._houses.pop(key, None)
            if house is not None:
                house.lost = reason
                house.stoppable.stop(self._loop)
                self._put(house, _END)

    def close(self) -> None:
        """End all; threads end by themselves, or with the process."""
        self.end(list(self._houses), "its worker was closed")
        for caller in list(self._callers):
            caller.stream.close()

    async def serve(self, stream: Stream) -> None:
        """The op ``actors``: calls come and answers go on this stream, until it closes."""
        if not isinstance(stream, Stream):
            raise BadRequestError("actors: this op needs a stream of its own")
        closed = asyncio.get_running_loop().create_future()
        caller = Caller(self.submit, stream)
        self._callers.add(caller)
        stream.add_close_callback(partial(_close, closed))
        stream.set_message_handler(caller.on_message)
        try:
            await closed
        finally:
            self._callers.discard(caller)
            caller.close()
        raise CommClosedError(stream.peer.address, "the caller has left")

    def submit(self, key: str, actor: str, call: ActorCall) -> None:
        """Queue `call` for the actor, or fail it."""
        house = self._houses.get(key)
        if house is None or house.actor != actor:
            call.fail(ActorLostError(key, self._address, "it lives there no more, it was released or its worker left"))
        elif not call.name:
            call.caller.answer(call.number, RETURNED, b"")
        else:
            self._put(house, call)

    def _put(self, house: House, call: Any) -> None:
        with self._lock:
            if house.loop is not None:
                house.loop.call_soon_threadsafe(self._run_on_loop, house, call)
                return
            house.calls.put(call)
            if not house.has_thread:
                self._find_thread(house)

    def _find_thread(self, house: House) -> None:
        """Start one, or take the place of one that idles, or wait for such a place. With the lock."""
        house.has_thread = True  # or will have
        if self._nthreads < self._threads_max:
            self._nthreads += 1
            self._start(house)
            return
        self._waiting.append(house)
        if self._idle:
            other, _ = self._idle.popitem(last=False)
            other.calls.put(_LOOK)

    def _start(self, house: House) -> None:
        name = f"distributed-actor-{house.key[:40]}"
        threading.Thread(target=self._main, args=(house,), name=name, daemon=True).start()

    # ------------------------------------------------------------ an actor's thread

    def _main(self, house: House) -> None:
        """Run the calls of `house` until there are none for a while."""
        running.actor = house.actor
        context = TaskContext(NO_SLOT, self._owner)
        context.task = house.task
        enter(context)
        calls = house.calls
        while True:
            try:
                call = calls.get_nowait()
            except queue.Empty:
                call = self._idle_until_called(house)
            if call is _LOOK:
                if self._leave(house):
                    return
            elif call is _END:
                house.instance = None  # its last reference goes here, in a thread: that may run code of users
                self._fail_rest(house)
                self._leave(house)
                return
            elif self._run(house, call):
                self._run_loop(house)
                self._leave(house)
                return
            del call

    def _idle_until_called(self, house: House) -> Any:
        with self._lock:
            if self._waiting:
                return _LOOK
            self._idle[house] = None
        try:
            return house.calls.get(timeout=self._idle_s)
        except queue.Empty:
            return _LOOK
        finally:
            with self._lock:
                self._idle.pop(house, None)

    def _leave(self, house: House) -> bool:
        """Give the thread's place to a house that waits; False: there are calls again."""
        with self._lock:
            if not house.calls.empty():
                return False
            house.has_thread = False
            if self._waiting:
                self._start(self._waiting.popleft())
            else:
                self._nthreads -= 1
            return True

    def _run(self, house: House, call: ActorCall) -> bool:
        """Run one call; true: it was an async method, the first one, and `house` has a loop now. Never raises."""
        try:
            value = self._value(house, call)
            if not inspect.isawaitable(value):
                self._answer(house, call, value)
                return False
        except TaskInterrupted:
            call.fail(ActorLostError(house.key, self._address, house.lost))
            return False
        except BaseException as error:  # SystemExit and its like too: they are the call's, not the thread's
            call.fail(error, isinstance(error, Exception))
            return False
        loop = asyncio.new_event_loop()
        loop.call_soon(self._begin, house, call, value)
        with self._lock:  # what came before there was a loop goes before what comes from now on
            house.loop = loop
            while not house.calls.empty():
                loop.call_soon(self._run_on_loop, house, house.calls.get_nowait())
        return True

    def _value(self, house: House, call: ActorCall) -> Any:
        """What the method returns, or the attribute is.

        Raises:
            Exception: whatever the object does.
        """
        if house.lost:
            raise ActorLostError(house.key, self._address, house.lost)
        attribute = getattr(house.instance, call.name)
        if call.is_read:
            return attribute
        args, kwargs = loads_payload(call.arguments) if call.arguments else ((), {})
        return house.stoppable.call(attribute, *args, **kwargs)

    def _answer(self, house: House, call: ActorCall, value: Any) -> None:
        if value is house.instance:
            value = house.ref  # a method that returns self: the object stays here
        call.caller.answer(call.number, RETURNED, dumps_payload(value, f"the result of {call.name} of {house.key}"))

    def _fail_rest(self, house: House) -> None:
        while True:
            try:
                call = house.calls.get_nowait()
            except queue.Empty:
                return
            if isinstance(call, ActorCall):
                call.fail(ActorLostError(house.key, self._address, house.lost))

    # ------------------------------------------------------------ an actor with async methods

    def _run_loop(self, house: House) -> None:
        loop = house.loop
        assert loop is not None
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            house.instance = None
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    def _run_on_loop(self, house: House, call: Any) -> None:
        loop = house.loop
        assert loop is not None
        if call is _END:
            loop.stop()
            return
        if call is _LOOK:
            return
        try:
            value = self._value(house, call)
            if inspect.isawaitable(value):
                self._begin(house, call, value)
            else:
                self._answer(house, call, value)
        except TaskInterrupted:
            call.fail(ActorLostError(house.key, self._address, house.lost))
        except BaseException as error:  # as in _run
            call.fail(error, isinstance(error, Exception))

    def _begin(self, house: House, call: ActorCall, awaitable: Any) -> None:
        """Await what an async method returned, beside others of the same actor."""

        async def finish() -> None:
            try:
                self._answer(house, call, await awaitable)
            except asyncio.CancelledError:
                call.fail(ActorLostError(house.key, self._address, house.lost or "its method was cancelled"))
            except BaseException as error:  # as in _run
                call.fail(error, isinstance(error, Exception))

        task = asyncio.ensure_future(finish(), loop=house.loop)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())


def _close(closed: asyncio.Future[None]) -> None:
    if not closed.done():
        closed.set_result(None)
