"""Who may run: as many threads as the worker has slots, out of more that wait for something or have nothing to do.

A thread needs a permit to run tasks. One whose task waits lends its permit to another thread, and before it goes on it
needs one again; it then comes before tasks that have not begun. A thread without work leaves its permit here.

    runs ──lend──▶ waits ──request──▶ wanted ──▶ runs        a permit that is put back goes to the first that wants one,
      └──put──▶ idle, until there are a permit and work       else to an idle thread when there is work
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from distributed.worker.context import TaskContext, wait_in_parts

__all__ = ["Permits"]


class Permits:
    """See the module. Every thread or coroutine is told by its context, which knows whether it has a permit.

    Args:
        nthreads: permits, and threads at first, each of which begins with one.
        has_work: whether a task waits for a thread; called with the lock held.
        start_thread: starts the thread of this slot, which calls `take` first; called with the lock held.
    Attributes:
        condition: notified when work comes. Its lock guards all of this.
        threads: how many there are.
        is_wanted: whether whoever ends a task has to hand its permit over; looked at without the lock.
    """

    def __init__(self, nthreads: int, has_work: Callable[[], bool], start_thread: Callable[[int], object]) -> None:
        self.condition = threading.Condition()
        self.threads = nthreads
        self.is_wanted = False
        self._has_work = has_work
        self._start_thread = start_thread
        self._free = 0
        self._idle = 0
        self._is_closed = False
        self._requests: deque[tuple[TaskContext, Callable[[], object]]] = deque()

    def take(self, context: TaskContext, is_new: bool = False) -> bool:
        """Leave the permit, if there is one, and wait for a permit and for work; False: they never come.

        Args:
            is_new: the thread has just started and was counted as idle by whoever started it.
        """
        with self.condition:
            self._put(context)
            self._forget_requests(context)
            self._idle += not is_new
            while not self._is_closed and not (self._free and self._has_work()):
                self.condition.wait()
            self._idle -= 1
            if self._is_closed:
                return False
            self._free -= 1
            context.has_permit = True
            return True

    def lend(self, context: TaskContext, threads_max: int) -> bool:
        """Give the permit away, if somebody can use it; False: nobody can, as there are `threads_max` threads."""
        with self.condition:
            if self._is_closed or not context.has_permit:
                return False
            if not self._requests and self._idle <= self._free:
                if self.threads >= threads_max:
                    return False
                self._start_thread(self.threads)
                self.threads += 1
                self._idle += 1
            self._put(context)
            return True

    def request(self, context: TaskContext, granted: Callable[[], object]) -> bool:
        """Have a permit again. False: not yet; then `granted` is called, in another thread, and must not wait."""
        with self.condition:
            if self._is_closed or context.has_permit:
                return True
            if self._free and not self._requests:
                self._free -= 1
                context.has_permit = True
                return True
            self._requests.append((context, granted))
            self.is_wanted = True
            return False

    def wait(self, context: TaskContext, look: Callable[[], object] = lambda: None) -> None:
        """`request`, and block this thread until it is granted, or `look`, called now and then, raises."""
        granted = threading.Event()
        if not self.request(context, granted.set):
            wait_in_parts(granted.wait, None, look)

    def put(self, context: TaskContext) -> None:
        """The thread may not begin a task now: others may have its permit."""
        with self.condition:
            self._put(context)

    def pass_on(self, giver: TaskContext, taker: TaskContext) -> None:
        """What `giver` has is `taker`'s: the same thread runs another task, or a coroutine does its work."""
        with self.condition:
            giver.has_permit, taker.has_permit = False, giver.has_permit

    def end(self, context: TaskContext, taker: TaskContext) -> None:
        """`context` has come to its end: its permit, should it have one, is `taker`'s."""
        with self.condition:
            context.is_over = True
            self._forget_requests(context)
            context.has_permit, taker.has_permit = False, context.has_permit

    def close(self) -> None:
        """Nobody takes up work any more; who waits for a permit may go on without."""
        with self.condition:
            self._is_closed = True
            while self._requests:
                self._requests.popleft()[1]()
            self.is_wanted = False
            self.condition.notify_all()

    def _forget_requests(self, context: TaskContext) -> None:
        """Of a wait that an exception has ended."""
        if self._requests:
            self._requests = deque(request for request in self._requests if request[0] is not context)
            self.is_wanted = bool(self._requests)

    def _put(self, context: TaskContext) -> None:
        if not context.has_permit:
            return
        context.has_permit = False
        while self._requests:
            first, granted = self._requests.popleft()
            self.is_wanted = bool(self._requests)
            is_needed = not first.is_over and not first.has_permit  # another coroutine of it may have got one
            if is_needed:
                first.has_permit = True  # before it is told: it may go on, and wait again, at once
            granted()
            if is_needed:
                return
        self._free += 1
        if self._idle and self._has_work():
            self.condition.notify()
