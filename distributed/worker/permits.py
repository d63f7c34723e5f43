"""Who may run: as many threads as the worker has slots, out of more that wait for something or have nothing to do.

A thread needs a permit to run tasks. One whose task waits lends its permit to another thread, and before it goes on it
needs one again; it then comes before tasks that have not begun. A thread without work leaves its permit here. A task of
several threads needs so many permits: it asks for all of them at once, and what comes back is kept for whoever asked
first, so it gets them when enough tasks have ended. Fewer permits than threads may be `allowed`: then what comes back
is withheld until no more are out than that.

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
        allowed: how many permits there are at present; those that are out beyond that come back in time.
        on_wanted: called, with the lock held, when somebody begins to wait for one; must not wait.
    """

    def __init__(self, nthreads: int, has_work: Callable[[], bool], start_thread: Callable[[int], object]) -> None:
        self.condition = threading.Condition()
        self.threads = nthreads
        self.is_wanted = False
        self.on_wanted: Callable[[], object] = _nothing
        self._has_work = has_work
        self._start_thread = start_thread
        self.nthreads = self.allowed = self._most = nthreads
        self._free = 0  # below 0: so many are to be withheld when they come back
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
            while not self._is_closed and not (self._free > 0 and not self._requests and self._has_work()):
                self.condition.wait()
            self._idle -= 1
            if self._is_closed:
                return False
            self._free -= 1
            context.permits = 1
            return True

    def lend(self, context: TaskContext, threads_max: int) -> bool:
        """Give the permit away, if somebody can use it; False: nobody can, as there are `threads_max` threads."""
        with self.condition:
            if self._is_closed or not context.permits:
                return False
            if not self._requests and self._idle <= max(self._free, 0):  # below 0: withheld, for now
                if self.threads >= threads_max:
                    return False
                self._start_thread(self.threads)
                self.threads += 1
                self._idle += 1
            self._put(context)
            return True

    def request(self, context: TaskContext, granted: Callable[[], object]) -> bool:
        """Have what it needs again. False: not yet; then `granted` is called, in another thread, and must not wait."""
        with self.condition:
            if self._is_closed or context.permits:
                return True
            if not self._requests and self._give(context):
                return True
            self._requests.append((context, granted))
            self._note_wanted()
            self.on_wanted()
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
            giver.permits, taker.permits, taker.threads = 0, giver.permits, giver.threads

    def end(self, context: TaskContext, taker: TaskContext) -> None:
        """`context` has come to its end: its permit, should it have one, is `taker`'s."""
        with self.condition:
            context.is_over = True
            self._forget_requests(context)
            context.permits, taker.permits = 0, context.permits

    def close(self) -> None:
        """Nobody takes up work any more; who waits for a permit may go on without."""
        with self.condition:
            self._is_closed = True
            while self._requests:
                self._requests.popleft()[1]()
            self.is_wanted = False
            self.condition.notify_all()

    def widen(self, context: TaskContext, threads: int) -> None:
        """Exchange the permit of `context` for `threads` of them, and block this thread until they are there."""
        with self.condition:
            self._put(context)
            context.threads = threads
        self.wait(context)

    def narrow(self, context: TaskContext) -> None:
        """The task that took several threads has ended: keep one permit, if there are any."""
        with self.condition:
            had, context.threads = context.permits, 1
            if had > 1:
                context.permits = had - 1
                self._put(context)
                context.permits = 1

    def allow(self, allowed: int, most: int) -> None:
        """Let no more than `allowed` permits be out, as soon as tasks end; of these, `most` will ever be.

        A task that takes more threads than `most` is content with so many.
        """
        with self.condition:
            allowed = max(0, min(allowed, self.nthreads))
            self._most = max(1, min(most, self.nthreads))
            self._free += allowed - self.allowed
            self.allowed = allowed
            self._serve()
            self.condition.notify_all()

    def demand(self) -> tuple[int, int, int]:
        """Permits that are out, those that are waited for, and how many of these the first needs who waits."""
        with self.condition:
            needs = [self.needs(context.threads) for context, _ in self._requests]
            return self.allowed - self._free, sum(needs), needs[0] if needs else 0

    def needs(self, threads: int) -> int:
        """How many permits a task of so many threads takes."""
        return min(threads, self._most)

    def _give(self, context: TaskContext) -> bool:
        """Give `context` what it needs, if that is there."""
        needs = self.needs(context.threads)
        if self._free < needs:
            return False
        self._free -= needs
        context.permits = needs
        return True

    def _note_wanted(self) -> None:
        self.is_wanted = bool(self._requests) or self._free < 0

    def _forget_requests(self, context: TaskContext) -> None:
        """Of a wait that an exception has ended."""
        if self._requests:
            self._requests = deque(request for request in self._requests if request[0] is not context)
            self._serve()

    def _put(self, context: TaskContext) -> None:
        if not context.permits:
            return
        self._free += context.permits
        context.permits = 0
        self._serve()

    def _serve(self) -> None:
        """What is free goes to those who asked for it, in turn, and then to idle threads."""
        while self._requests:
            first, granted = self._requests[0]
            # Another coroutine of it may have got one.
            if not first.is_over and not first.permits and not self._give(first):  # before it is told: it may go on,
                break  # and wait again, at once
            self._requests.popleft()
            granted()
        self._note_wanted()
        if self._idle and self._free > 0 and not self._requests and self._has_work():
            self.condition.notify()


def _nothing() -> None:
    """Nobody has to know."""
