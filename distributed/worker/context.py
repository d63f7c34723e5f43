"""Which task the code that runs here belongs to: threads of an executor and coroutines of async tasks have a context.

Everything that has to know the running task asks `current`: output that is labelled with a key, `get_worker`,
children that name their parent, waits that lend their slot. Not here: how a task is called (`calling`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from distributed.worker.effects import ReadyTask

__all__ = ["TaskContext", "current", "current_key", "enter"]


class TaskContext:
    """Where one task at a time runs: a thread of an executor, a coroutine, or a task run by one that waits.

    One per thread, used for all its tasks in turn, so that entering a call costs one store.

    Attributes:
        slot: of the thread, from 0; those of `Running` and `Gate`.
        owner: the worker's server; None where an executor is used alone.
        task: what runs now; None between two calls of users' code.
        at_end: called once, in the same thread, when this call has ended, however it ends; None: nobody wants that.
    """

    __slots__ = ("at_end", "owner", "slot", "task")

    def __init__(self, slot: int, owner: Any = None) -> None:
        self.slot = slot
        self.owner = owner
        self.task: ReadyTask | None = None
        self.at_end: list[Callable[[], object]] | None = None

    def end_call(self) -> None:
        """The call has ended: tell those who wanted to know."""
        wishes, self.at_end = self.at_end, None
        for wish in wishes or ():
            wish()


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
