"""Threads that run the code of users: the only place where that happens. Tasks in and outcomes out travel in batches.

Not here: the order of tasks, what becomes of an outcome (the machine), and keeping results (the effect `Keep`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any

from distributed.messages import DEFAULT_OPTIONS
from distributed.worker.async_tasks import AsyncTasks
from distributed.worker.calling import Caller
from distributed.worker.context import TaskContext, enter
from distributed.worker.effects import ReadyTask
from distributed.worker.events import Outcome
from distributed.worker.gate import Gate
from distributed.worker.interrupts import Interrupts
from distributed.worker.lending import THREADS_MAX, Lending
from distributed.worker.limits import TaskLimits
from distributed.worker.permits import Permits
from distributed.worker.running import Running
from distributed.worker.store import Store

__all__ = ["POLL_S", "Executor", "slots_of"]

BIG_NBYTES = 1024 * 1024  # a result after which it is looked whether there is memory for more
POLL_S = 0.001  # while tasks end, the loop looks this often; being woken for each would cost it more than the tasks

_rank = attrgetter("rank")


def slots_of(nthreads: int) -> int:
    """How many threads an executor may come to have, so how many slots it needs in `Running`."""
    return nthreads + THREADS_MAX


class Executor:
    """Runs tasks in `nthreads` threads: the lowest rank first, of equal rank first in, first out.

    `report` is called from a thread when there are outcomes and nobody is about to look: at most once until the next
    `take_outcomes`. Whoever takes outcomes promises to look again:

        outcomes = executor.take_outcomes()
        if outcomes:
            ...                                # handle them, then
            loop.call_later(POLL_S, look)      # the same again, until none are there; then `report` wakes us

    So short tasks cost one look per millisecond. A thread that runs out of tasks reports at once.

    Args:
        nthreads: >= 1.
        report: must not raise and must not wait, such as ``lambda: loop.call_soon_threadsafe(look)``.
        store: where dependencies are read.
        address: this worker, for the texts of errors.
        running: told which task each thread runs; slots 0 to `slots_of` nthreads - 1.
        limits: watches tasks with a memory limit, each of which runs alone; None: limits are ignored.
        on_big: called in the thread after a result of 1 MiB or more, before it takes another task; must not raise.
        owner: the worker's server, for `get_worker`.
        dress: what is called in the place of each function, see `Functions`.
    """

    def __init__(
        self,
        nthreads: int,
        report: Callable[[], object],
        store: Store,
        address: str = "",
        running: Running | None = None,
        limits: TaskLimits | None = None,
        on_big: Callable[[], object] = lambda: None,
        owner: Any = None,
        dress: Callable[[Any], Any] | None = None,
    ) -> None:
        self.nthreads = nthreads
        self.gate = Gate(slots_of(nthreads))
        self.running = Running(None, slots_of(nthreads)) if running is None else running
        self._limits = limits
        self._on_big = on_big
        self._owner = owner
        self._report = report
        self._queues: dict[int, deque[ReadyTask]] = {}  # by rank, ascending; changed under the condition
        self._order: tuple[deque[ReadyTask], ...] = ()  # the same for threads that do not lock; replaced as a whole
        self._outcomes: deque[Outcome] = deque()
        self._permits = Permits(nthreads, self._has_work, self._start_thread)
        self._permits.on_wanted = self._wake_if_quiet  # an offer may have to allow it
        self._condition = self._permits.condition  # held to add to the queues, not to take from them
        self.interrupts = Interrupts(self.running)
        self.lending = Lending(
            self._permits, self.running, self.gate, self.interrupts, nthreads, self._take_deeper, self._has_work,
            self._help_with, self._wake_if_quiet,
        )  # fmt: skip
        self._async_tasks = AsyncTasks(self._permits, self.interrupts)
        self._caller = Caller(store, address, self._async_tasks.run, self.interrupts, dress)
        self._is_closed = False
        self._report_lock = threading.Lock()
        self._is_quiet = True  # nobody has promised to look at the outcomes
        self._is_woken = False  # `report` was called and nobody has looked since
        self._threads: list[threading.Thread] = []
        for slot in range(nthreads):
            self._start_thread(slot)

    # ------------------------------------------------------------ loop thread

    def submit(self, tasks: list[ReadyTask]) -> None:
        """Run these too, of equal rank after those submitted before. After `close` they are ignored.

        Cost: 0.1 us per task, a few us when a thread has to be woken, and a sort of all ranks when one is new.
        """
        groups = [(rank, list(group)) for rank, group in groupby(tasks, _rank)]
        with self._condition:
            if self._is_closed:
                return
            if not all(rank in self._queues for rank, _ in groups):
                self._add_ranks([rank for rank, _ in groups])
            for rank, group in groups:
                self._queues[rank].extend(group)
            self._condition.notify(len(tasks))

    def _add_ranks(self, ranks: Iterable[int]) -> None:
        """Make queues of these ranks; empty ones of others go, so there are never many more than are in use."""
        used = {rank: queue for rank, queue in self._queues.items() if queue}
        for rank in ranks:
            used.setdefault(rank, deque())
        self._queues = dict(sorted(used.items(), key=itemgetter(0)))
        self._order = tuple(self._queues.values())

    def withdraw(self, keys: list[str]) -> list[str]:
        """Take the tasks of these keys out of the queues.

        Returns:
            The keys that had not begun and now never will, in the order in which they would have.
        Cost: linear in the length of the queues, once per call.
        """
        unwanted = frozenset(keys)
        withdrawn: list[str] = []
        with self._condition:
            # Threads take tasks without the lock, so what is looked at has to be taken out first. Whoever finds the
            # queues empty meanwhile waits for the lock.
            for queue in self._order:
                queued = _take_all(queue)
                queue.extend([task for task in queued if task.key not in unwanted])
                withdrawn += [task.key for task in queued if task.key in unwanted]
        return withdrawn

    def stop(self, tickets: dict[str, int]) -> list[int]:
        """Take the tasks ``{key: ticket}`` out of the queues, and interrupt those that have begun.

        Returns:
            The tickets of those that never will begin.
        """
        withdrawn = dict.fromkeys(self.withdraw(list(tickets)))
        self.interrupts.stop([ticket for key, ticket in tickets.items() if key not in withdrawn])
        return [tickets[key] for key in withdrawn]

    def take_outcomes(self) -> list[Outcome]:
        """What has ended since the last call, in order; see the class for the promise that comes with it."""
        self._is_woken = False
        outcomes = _take_all(self._outcomes)
        if not outcomes:
            self._is_quiet = True
            outcomes = _take_all(self._outcomes)  # a thread may have added one before it could see the flag
        if outcomes:
            self._is_quiet = False
        return outcomes

    def queue_length(self) -> int:
        """How many tasks have not begun."""
        return sum(map(len, self._order))

    def allow(self, allowed: int, most: int) -> None:
        """Let tasks have so many slots at present, see `Permits.allow`; those that run go on. Any thread."""
        self._permits.allow(allowed, most)

    def demand(self) -> tuple[int, int, int]:
        """Slots that tasks have, slots that others wait for, and how many must be had in all before the next begins.

        Tasks that wait while their slot is lent are in none of them; of those that have not begun each counts as one,
        but for the first. Any thread. Cost: O(ranks).
        """
        running, waiting, needs = self._permits.demand()
        first = 0
        with contextlib.suppress(IndexError):  # another thread was quicker
            first = next((queue[0].options.threads for queue in self._order if queue), 0)
        queued = self.queue_length() + max(first - 1, 0)
        return running, min(waiting + queued, self.nthreads), running + (needs or self._permits.needs(first))

    def forget_functions(self, digests: list[bytes]) -> None:
        """Drop loaded functions; they are loaded again should a task need them."""
        self._caller.functions.forget(digests)

    def close(self, timeout_s: float) -> bool:
        """Run nothing more, and wait for what runs. May be called again. Blocks, so call it off the loop to wait.

        Args:
            timeout_s: seconds >= 0 to wait in all. Threads that run on do not keep the process from ending.
        Returns:
            Whether all threads have ended.
        """
        with self._condition:
            self._is_closed = True
            self._queues.clear()
            self._order = ()
        self._permits.close()
        self.gate.close()
        self._async_tasks.close()
        deadline = time.monotonic() + timeout_s
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    # ------------------------------------------------------------ executor threads

    def _start_thread(self, slot: int) -> None:
        """Of the first threads each begins with a permit; those beyond are started for tasks that wait."""
        context = TaskContext(slot, self._owner, self.lending)
        context.permits = int(slot < self.nthreads)
        thread = threading.Thread(target=self._main, args=(context,), name=f"distributed-worker-{slot}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _main(self, context: TaskContext) -> None:
        enter(context)
        self.interrupts.enter(context.slot)
        if not context.permits and not self._permits.take(context, is_new=True):
            return
        slot = context.slot
        add = self._outcomes.append
        begin, end, run = self.running.begin, self.running.end, self._caller.run
        gate, busy, permits = self.gate, self.gate.busy, self._permits
        while True:
            busy[slot] = True
            if gate.is_shut:
                if self._wait_at_gate(context):
                    continue
                return
            try:
                for queue in self._order:
                    if queue:
                        task = queue.popleft()
                        break
                else:
                    gate.leave(slot)
                    if self._wait(context):
                        continue
                    return
            except IndexError:  # another thread was quicker
                continue
            if task.options is DEFAULT_OPTIONS:  # nearly all tasks
                begin(slot, task.key)
                outcome = run(context, task)
                end(slot)
            else:
                special = self._run_special(context, task)
                if special is None:
                    return
                outcome = special
            add(outcome)
            is_big = outcome.nbytes >= BIG_NBYTES
            del task, outcome  # or the last result would live until the next task
            gate.leave(slot)
            if is_big:
                self._on_big()
            if self._is_quiet:
                self._wake()
            if (permits.is_wanted or not context.permits) and not self._wait(context):
                return

    def _run_special(self, context: TaskContext, task: ReadyTask) -> Outcome | None:
        """Run a task with options of its own; None: it never may begin, the executor is closed."""
        if task.options.threads > 1:
            if not self._widen(context, task.options.threads):
                return None
            try:
                return self._run_limited(context, task)
            finally:
                self._permits.narrow(context)
        return self._run_limited(context, task)

    def _run_limited(self, context: TaskContext, task: ReadyTask) -> Outcome:
        if task.options.memory_limit_nbytes and self._limits is not None:
            return self._run_alone(context, task, self._limits)
        self.running.begin(context.slot, task.key)
        outcome = self._caller.run(context, task)
        self.running.end(context.slot)
        return outcome

    def _widen(self, context: TaskContext, threads: int) -> bool:
        """Wait for as many permits as the task takes, and for the gate; False: it is closed.

        Meanwhile others may have the one that this thread had, and run alone: it has begun nothing yet.
        """
        while True:
            self.gate.leave(context.slot)
            self._permits.widen(context, threads)
            self.gate.busy[context.slot] = True
            if not self.gate.is_shut:
                return True
            self._permits.put(context)
            if not self.gate.wait(context.slot):
                return False

    def _run_alone(self, context: TaskContext, task: ReadyTask, limits: TaskLimits) -> Outcome:
        """Run a task with a memory limit; the other threads wait."""
        slot = context.slot
        self.gate.begin_alone(slot)
        self.running.begin(slot, task.key)
        outcome = self._caller.run(context, task, limits)
        self.running.end(slot)
        self.gate.end_alone(slot)
        return outcome

    def _wait(self, context: TaskContext) -> bool:
        """Until there are a permit and tasks; False: until the executor is closed."""
        context.is_seceded = False  # by the task that has ended
        if self._outcomes:  # this thread is idle, so somebody may be waiting for just these
            self._wake()
        return self._permits.take(context)

    def _wait_at_gate(self, context: TaskContext) -> bool:
        """Until tasks may begin again; meanwhile those that have begun may have the permit. False: they never may."""
        self._permits.put(context)
        if not self.gate.wait(context.slot):
            return False
        self.gate.leave(context.slot)  # whoever is to run alone has a permit, and waits for those at a task only
        self._permits.wait(context)
        return True

    def _has_work(self) -> bool:
        return any(self._order)

    def _take_deeper(self, context: TaskContext, depth: int) -> ReadyTask | None:
        """For `Lending`: the next task that is deeper and takes one thread, not alone; this thread is then busy."""
        self.gate.busy[context.slot] = True
        if not self.gate.is_shut:
            with self._condition, contextlib.suppress(IndexError):  # another thread was quicker
                for queue in self._order:
                    if queue and queue[0].options.depth > depth:
                        task = queue.popleft()
                        if not task.options.memory_limit_nbytes and task.options.threads == 1:
                            return task
                        queue.appendleft(task)
        self.gate.leave(context.slot)
        return None

    def _help_with(self, below: TaskContext, task: ReadyTask) -> None:
        """For `Lending`: run `task` on top of a task that waits."""
        context = TaskContext(below.slot, self._owner, self.lending)
        context.level = below.level + 1
        self._permits.pass_on(below, context)
        enter(context)
        self.running.begin(below.slot, task.key)
        self._outcomes.append(self._caller.run(context, task))
        self.running.end(below.slot)
        enter(below)
        self._permits.end(context, below)
        self.gate.leave(below.slot)
        self._wake()

    def _wake_if_quiet(self) -> None:
        if self._is_quiet:
            self._wake()

    def _wake(self) -> None:
        with self._report_lock:
            if self._is_woken or self._is_closed:
                return
            self._is_woken = True
            self._is_quiet = False
        self._report()


def _take_all(entries: deque[Any]) -> list[Any]:
    """Everything in it now, while other threads take from and add to it."""
    taken: list[Any] = []
    with contextlib.suppress(IndexError):  # another thread was quicker
        for _ in range(len(entries)):
            taken.append(entries.popleft())
    return taken
