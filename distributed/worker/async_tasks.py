"""Async tasks: coroutines and async generators run on one event loop, in a thread of its own, made for the first one.

The thread of the executor waits for its coroutine, so an async task holds a slot as any other. An exception that is
raised in that thread from outside (the task is cancelled, or over its limit) cancels the coroutine, again and again if
need be, and leaves the thread when the coroutine has ended. Not the server's loop: code that blocks here delays other
async tasks of this worker and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextvars import copy_context
from typing import Any

from distributed.worker.context import TaskContext, enter
from distributed.worker.permits import Permits

__all__ = ["AsyncTasks"]

logger = logging.getLogger(__name__)

LOOK_S = 0.05  # a thread that waits comes up so often for exceptions that are raised in it from outside
CLOSE_S = 1.0  # for coroutines to end


class AsyncTasks:
    """See the module.

    Args:
        permits: of the executor; while a coroutine runs it has its thread's permit.
    """

    def __init__(self, permits: Permits) -> None:
        self._permits = permits
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def run(self, outer: TaskContext, value: Any) -> Any:
        """The result of a coroutine, or the list of what an async generator yields. In a thread of the executor.

        Raises:
            Whatever it raises.
        """
        loop, thread = self._started()
        context = TaskContext(outer.slot, outer.owner, outer.lender)
        context.task, context.watch, context.loop_thread = outer.task, outer.watch, thread.ident or 0
        context.deadline = outer.deadline
        run = _Run(_listed(value) if hasattr(value, "__aiter__") else value)
        self._permits.pass_on(outer, context)
        try:
            _wait(loop, run, lambda: run.start(loop, context))
        finally:
            outer.lent_s += context.lent_s
            self._permits.end(context, outer)
        if context.at_end is not None:
            context.end_call()
        if run.error is not None:
            try:
                raise run.error
            finally:
                run.error = None  # or frame and exception would hold each other
        return run.result

    def close(self) -> None:
        """Cancel what runs, and end the thread. May be called again."""
        with self._lock:
            self._is_closed = True
            if self._loop is not None and self._thread is not None and self._thread.is_alive():
                self._loop.call_soon_threadsafe(self._loop.stop)

    def _started(self) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
        with self._lock:
            if self._is_closed:
                raise RuntimeError("this worker is closing: nothing new begins on its loop")
            if self._loop is None or self._thread is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._main, args=(self._loop,), name="distributed-worker-async", daemon=True
                )
                self._thread.start()
            return self._loop, self._thread

    def _main(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while not self._is_closed:
            try:
                loop.run_forever()
            except BaseException:  # SystemExit in something that a task has left behind on the loop
                logger.exception("code of a task has stopped the loop of async tasks; it goes on")
        try:
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks, timeout=CLOSE_S))
        finally:
            loop.close()


class _Run:
    """One coroutine on its way.

    Attributes:
        result, error: how it ended, once `ended` is set.
    """

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self._awaitable = awaitable
        self._task: asyncio.Task[None] | None = None

    def start(self, loop: asyncio.AbstractEventLoop, context: TaskContext) -> None:
        """Begin; on the loop."""
        variables = copy_context()
        variables.run(enter, context)
        self._task = loop.create_task(self._run(context), context=variables)
        self._task.add_done_callback(lambda _: self._never_begun())

    def cancel(self) -> None:
        """On the loop: raise CancelledError where it stands."""
        if self._task is not None:
            self._task.cancel()
        else:  # the thread was interrupted before it had this begin, which now never happens
            self._never_begun()

    def _never_begun(self) -> None:
        """It has ended if it was cancelled before its first step."""
        if not self.ended.is_set():
            if isinstance(self._awaitable, Coroutine):
                self._awaitable.close()
            self.error = asyncio.CancelledError()
            self.ended.set()

    async def _run(self, context: TaskContext) -> None:
        try:
            self.result = await self._awaitable
        except BaseException as error:  # the thread that waits raises it; SystemExit would end the loop here
            self.error = error
        finally:
            context.task = None  # what it has left behind on the loop is no part of the task
            self.ended.set()


def _wait(loop: asyncio.AbstractEventLoop, run: _Run, ask: Callable[[], None]) -> None:
    """Have `ask` called on the loop, and wait for the end.

    Exceptions that come meanwhile, perhaps before the loop knows of `ask`, cancel it, and are raised after its end.
    """
    try:
        loop.call_soon_threadsafe(ask)
        while not run.ended.wait(LOOK_S):
            continue
    except BaseException:
        if not loop.is_closed():
            _wait(loop, run, run.cancel)
        raise


async def _listed(values: AsyncIterator[Any]) -> list[Any]:
    return [value async for value in values]
