"""Which task the code that runs here belongs to: threads of an executor and coroutines of async tasks have a context.

Everything that has to know the running task asks `current`: output that is labelled with a key, `get_worker`,
children that name their parent, waits that lend their slot. Not here: how a task is called (`calling`), and what
lending does (`lending`).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any, Protocol

from distributed.worker.effects import ReadyTask

__all__ = [
    "TaskContext",
    "await_lent",
    "current",
    "current_key",
    "enter",
    "get_worker",
    "rejoin",
    "secede",
    "sheltered",
    "wait_in_parts",
    "wait_lent",
]

INTERRUPT_S = 0.05  # a thread that waits comes up so often for exceptions that are raised in it from outside


class Lender(Protocol):
    """What a context's executor does for tasks that wait, see `distributed.worker.lending`."""

    def wait(self, context: TaskContext, wait: Callable[[float | None], bool], timeout_s: float | None) -> bool:
        """``wait(timeout_s)``, while others use the slot."""

    async def wait_async(self, context: TaskContext, awaited: Awaitable[Any]) -> Any:
        """The result of `awaited`, while others use the slot."""

    def secede(self, context: TaskContext) -> None:
        """Let others use the slot while the task runs on."""

    def rejoin(self, context: TaskContext) -> None:
        """Take a slot again."""

    def sheltered(self, context: TaskContext) -> AbstractContextManager[None]:
        """For ``with``: no interrupt comes to its thread in there."""


class TaskContext:
    """Where one task at a time runs: a thread of an executor, a coroutine, or a task run by one that waits.

    One per thread, used for all its tasks in turn, so that entering a call costs one store.

    Attributes:
        slot: of the thread, from 0; those of `Running` and `Gate`.
        owner: the worker's server; None where an executor is used alone.
        lender: its executor's; None: nobody lends anything here.
        loop_thread: of a coroutine the identity of the thread of its loop, which must never block; else 0.
        task: what runs now; None between two calls of users' code.
        at_end: called once, in the same thread, when this call has ended, however it ends; None: nobody wants that.
        watch: of the memory limit of the task; None: it has none.
        deadline: of a task with a time limit, monotonic seconds.
        level: how many tasks wait below this one on the stack of the same thread.
        permits: that it has, none or as many as its task takes, see `distributed.worker.permits`, whose lock guards it,
            `threads` and `is_over`.
        threads: how many permits its task takes.
        is_over: nothing runs here any more.
        is_seceded: the task gave its slot away until it rejoins.
        lent_s: for how many seconds the task has waited, its slot lent; part of its duration for people, not for plans.
    """

    __slots__ = (
        *("at_end", "deadline", "is_over", "is_seceded", "lender", "lent_s", "level", "loop_thread", "owner"),
        *("permits", "slot", "task", "threads", "watch"),
    )

    def __init__(self, slot: int, owner: Any = None, lender: Lender | None = None) -> None:
        self.slot = slot
        self.owner = owner
        self.lender = lender
        self.loop_thread = 0
        self.task: ReadyTask | None = None
        self.at_end: list[Callable[[], object]] | None = None
        self.watch: Any = None
        self.deadline = 0.0
        self.level = 0
        self.permits = 0
        self.threads = 1
        self.is_over = False
        self.is_seceded = False
        self.lent_s = 0.0

    def end_call(self) -> None:
        """The call has ended: tell those who wanted to know."""
        wishes, self.at_end = self.at_end, None
        for wish in wishes or ():
            wish()


_nothing = nullcontext()
_here: ContextVar[TaskContext | None] = ContextVar("distributed_task", default=None)


def enter(context: TaskContext | None) -> None:
    """This thread, or coroutine, runs the tasks of `context` from now on."""
    _here.set(context)


def current() -> TaskContext | None:
    """The context of the task that calls this; None outside of tasks. Cost: 0.05 us."""
    context = _here.get()
    return None if context is None or context.task is None else context


def current_key() -> str | None:
    """The key of the task that calls this; None outside of tasks."""
    context = _here.get()
    return None if context is None or context.task is None else context.task.key


def wait_lent(wait: Callable[[float | None], bool], timeout_s: float | None) -> bool:
    """``wait(timeout_s)``: whether what is waited for came in time; a task lends its slot meanwhile.

    Whatever blocks until other tasks have done something waits through this or `await_lent`, or two tasks that wait
    for a third could keep it from running.

    Args:
        wait: blocks for so many seconds at most (None: no limit); called again and again.
    """
    context = current()
    if context is None:
        return wait(timeout_s)
    if context.lender is None:
        return wait_in_parts(wait, timeout_s)
    return context.lender.wait(context, wait, timeout_s)


def wait_in_parts(
    wait: Callable[[float | None], bool], timeout_s: float | None, look: Callable[[], object] = lambda: None
) -> bool:
    """`wait`, but so that what `look` raises, or somebody else in this thread, arrives soon."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while not wait(INTERRUPT_S if deadline is None else max(0.0, min(INTERRUPT_S, deadline - time.monotonic()))):
        look()
        if deadline is not None and time.monotonic() >= deadline:
            return False
    return True


async def await_lent(awaited: Awaitable[Any]) -> Any:
    """The result of `awaited`; an async task lends its slot meanwhile, as with `wait_lent`."""
    context = current()
    if context is None or context.lender is None:
        return await awaited
    return await context.lender.wait_async(context, awaited)


def sheltered() -> AbstractContextManager[None]:
    """For ``with``: code of ours that a task calls, and that must not end in the middle when the task is cancelled.

    An interrupt of the task waits until it has ended; so it must not take long.
    """
    context = current()
    return _nothing if context is None or context.lender is None else context.lender.sheltered(context)


# ---------------------------------------------------------------- for users


def get_worker() -> Any:
    """The worker that runs the calling task: its ``address``, ``name``, ``nthreads``, ``resources``.

    It is shared by all tasks there, and its methods are for its own loop: look, and change nothing.

    Raises:
        ValueError: this is not called by a task.
    """
    context = current()
    if context is None or context.owner is None:
        raise ValueError("get_worker() works inside tasks only: no task runs in this thread")
    return context.owner


def secede() -> None:
    """Let another task have the slot of the calling task, which runs on, until it calls `rejoin` or ends.

    For tasks that mostly wait for something outside the cluster. A worker has a bounded number of threads; if none is
    left for another task, the caller keeps its slot.

    Raises:
        ValueError: this is not called by a task.
    """
    context = current()
    if context is None or context.lender is None:
        raise ValueError("secede() works inside tasks only: no task runs in this thread")
    context.lender.secede(context)


def rejoin() -> None:
    """After `secede`: wait until there is a slot for the calling task, and take it.

    Raises:
        ValueError: this is not called by a task.
    """
    context = current()
    if context is None or context.lender is None:
        raise ValueError("rejoin() works inside tasks only: no task runs in this thread")
    context.lender.rejoin(context)
