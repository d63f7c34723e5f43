"""How a task that waits lets others use its slot, so that tasks that wait for their children never keep these out.

    it waits, and a thread is idle or may be started    that thread runs others; the task goes on when it has a permit
    as many threads as may be are there                 the waiting thread runs queued tasks that lie deeper than its
                                                        own, on its own stack, and looks again after each of them
    nothing queued is deeper, for a while; or the        one thread more is started after all, up to `THREADS_MAX`
    stack is many tasks high

All of it runs sheltered from interrupts, for which waits look between two parts, see `interrupts`.
So a recursion of any width needs no more threads than `LENT_THREADS_MAX` and no more stack than its depth.
Not here: who gets the slot (`permits`).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter
from typing import Any

from distributed.worker.context import TaskContext, wait_in_parts
from distributed.worker.effects import ReadyTask
from distributed.worker.gate import Gate
from distributed.worker.interrupts import Interrupts, Sheltered
from distributed.worker.permits import Permits
from distributed.worker.running import Running

__all__ = ["LENT_THREADS_MAX", "THREADS_MAX", "Lending"]

LENT_THREADS_MAX = 16  # beside one per slot; each costs some 100 kB
THREADS_MAX = 128  # likewise, when tasks wait for others that are not deeper: then only another thread can help
LEVELS_MAX = (
    12  # tasks on the stack of one thread: each takes some 10 of the 1,000 frames that Python allows, and its own
)
HELP_LOOK_S = 0.002  # a thread that helps looks so often for tasks; there is one of them per slot at most
HELP_PATIENCE_S = 0.2


class Lending:
    """Lends the slots of one executor.

    Args:
        permits, running, gate, interrupts: of the executor.
        nthreads: its slots.
        take_deeper: takes a queued task of more than this depth out of the queue; None: there is none.
        has_work: whether any task is queued.
        help_with: runs a task in this thread, on top of the context given, and reports its outcome.
        wake: has `take_news` called soon; must not wait.
    """

    def __init__(
        self,
        permits: Permits,
        running: Running,
        gate: Gate,
        interrupts: Interrupts,
        nthreads: int,
        take_deeper: Callable[[TaskContext, int], ReadyTask | None],
        has_work: Callable[[], bool],
        help_with: Callable[[TaskContext, ReadyTask], object],
        wake: Callable[[], object],
    ) -> None:
        self._permits = permits
        self._running = running
        self._gate = gate
        self._interrupts = interrupts
        self._nthreads = nthreads
        self._take_deeper = take_deeper
        self._has_work = has_work
        self._help_with = help_with
        self._wake = wake
        self._news: deque[tuple[str, int, bool]] = deque()

    def take_news(self) -> dict[str, tuple[int, bool]]:
        """``{key: (ticket, is lent)}`` of the tasks that have begun or ended lending, as they are now."""
        news: dict[str, tuple[int, bool]] = {}
        for _ in range(len(self._news)):
            key, ticket, is_lent = self._news.popleft()
            news[key] = (ticket, is_lent)
        return news

    # ------------------------------------------------------------ the interface of contexts

    def wait(self, context: TaskContext, wait: Callable[[float | None], bool], timeout_s: float | None) -> bool:
        """``wait(timeout_s)``, while others use the slot.

        Raises:
            RuntimeError: on the loop of async tasks, which all would wait with this one.
        """
        if context.loop_thread == threading.get_ident():
            raise RuntimeError("this would block the loop of all async tasks: await the future, or what you wait for")
        ticket = self._interrupts.shelter(context.slot)
        try:
            if wait(0.0):
                return True
            look = partial(self._interrupts.look, ticket)
            # Without a permit it is a thread of the task's own, while the task itself waits.
            if context.is_seceded or not context.permits:
                return wait_in_parts(wait, timeout_s, look)
            return self._wait_lent(context, wait, timeout_s, look)
        finally:
            self._interrupts.unshelter(context.slot, ticket)

    def _wait_lent(
        self,
        context: TaskContext,
        wait: Callable[[float | None], bool],
        timeout_s: float | None,
        look: Callable[[], object],
    ) -> bool:
        started = perf_counter()
        self._pause(context)
        try:
            if self._permits.lend(context, self._nthreads + LENT_THREADS_MAX):
                has_come = wait_in_parts(wait, timeout_s, look)
            else:
                has_come = self._help(context, wait, timeout_s, look)
            self._permits.wait(context, look)
        except Exception:  # of what it waits for: it goes on, in its turn
            self._permits.wait(context)
            self._resume(context)
            raise
        except BaseException:  # it was interrupted, and is to stop now: not when a slot is free
            self._resume(context, is_stopping=True)
            raise
        else:
            self._resume(context)
        finally:
            context.lent_s += perf_counter() - started
        return has_come

    async def wait_async(self, context: TaskContext, awaited: Awaitable[Any]) -> Any:
        """The result of `awaited`, while others use the slot."""
        if context.is_seceded:
            return await awaited
        started = perf_counter()
        begun = context.permits > 0  # else another coroutine of this task has begun
        if begun:
            self._pause(context)
            self._permits.lend(context, self._nthreads + THREADS_MAX)
        is_stopping = False
        try:
            return await awaited
        except asyncio.CancelledError:  # perhaps it has to stop now: then not when a slot is free
            is_stopping = True
            raise
        finally:
            loop = asyncio.get_running_loop()
            granted = loop.create_future()
            try:
                if not self._permits.request(context, lambda: _call_on(loop, granted)) and not is_stopping:
                    await granted
            finally:
                if begun:
                    self._resume(context)
                    context.lent_s += perf_counter() - started

    def secede(self, context: TaskContext) -> None:
        """Let others use the slot while the task runs on."""
        with self.sheltered(context):
            if context.is_seceded or not self._permits.lend(context, self._nthreads + THREADS_MAX // 2):
                return
            context.is_seceded = True
            self._gate.leave(context.slot)
            self._tell(context, True)

    def rejoin(self, context: TaskContext) -> None:
        """Take a slot again; a coroutine gets one without waiting for it."""
        if not context.is_seceded:
            return
        with self.sheltered(context):
            if context.loop_thread == threading.get_ident():
                self._permits.request(context, lambda: None)
            else:
                self._permits.wait(context)
                self._gate.come_back(context.slot)
            context.is_seceded = False
            self._tell(context, False)

    def sheltered(self, context: TaskContext) -> Sheltered:
        """For ``with``: no interrupt comes to the thread of `context` in there."""
        return Sheltered(self._interrupts, context.slot)

    # ------------------------------------------------------------ parts

    def _help(
        self,
        context: TaskContext,
        wait: Callable[[float | None], bool],
        timeout_s: float | None,
        look: Callable[[], object],
    ) -> bool:
        """Wait, and run deeper tasks meanwhile; or lend after all, as soon as somebody can use the slot."""
        assert context.task is not None
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        patience_s = HELP_PATIENCE_S
        while not wait(0.0):
            look()
            left_s = None if deadline is None else deadline - time.monotonic()
            if left_s is not None and left_s <= 0:
                return False
            is_stuck = patience_s <= 0 or context.level >= LEVELS_MAX
            if self._permits.lend(context, self._nthreads + (THREADS_MAX if is_stuck else LENT_THREADS_MAX)):
                return wait_in_parts(wait, left_s, look)
            task = None if context.level >= LEVELS_MAX else self._take_deeper(context, context.task.options.depth)
            if task is not None:
                self._help_with(context, task)
                self._permits.wait(context)
                patience_s = HELP_PATIENCE_S
                continue
            look_s = HELP_LOOK_S if left_s is None else min(HELP_LOOK_S, left_s)
            if wait(look_s):
                return True
            if self._has_work():
                patience_s -= look_s
        return True

    def _pause(self, context: TaskContext) -> None:
        """The task begins to wait: it does not run, takes no memory, and dies of nothing."""
        self._running.end(context.slot)
        if context.watch is not None:
            context.watch.suspend()
            self._gate.end_alone(context.slot)
        self._gate.leave(context.slot)
        self._tell(context, True)

    def _resume(self, context: TaskContext, is_stopping: bool = False) -> None:
        """The task goes on. The loop must not wait, nor what stops: others may run beside it, so its memory is watched
        no more.
        """
        assert context.task is not None
        if context.loop_thread or is_stopping:
            self._gate.busy[context.slot] = True
        elif context.watch is not None:
            self._gate.begin_alone(context.slot)
            context.watch.resume()
        else:
            self._gate.come_back(context.slot)
        self._running.begin(context.slot, context.task.key)
        if context.task.options.timeout_s:
            self._running.limit(context.slot, context.deadline)
        self._tell(context, False)

    def _tell(self, context: TaskContext, is_lent: bool) -> None:
        assert context.task is not None
        self._news.append((context.task.key, context.task.ticket, is_lent))
        self._wake()


def _call_on(loop: asyncio.AbstractEventLoop, granted: asyncio.Future[None]) -> None:
    loop.call_soon_threadsafe(_set, granted)


def _set(granted: asyncio.Future[None]) -> None:
    if not granted.done():
        granted.set_result(None)
