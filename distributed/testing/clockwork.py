"""A scheduler's machine with model workers in virtual time: how well work is spread, and how much is held meanwhile.

Nothing is lost, late or out of order here and nobody dies: the simulator does that. `Clockwork` answers what a plan
costs: makespan, peak of held results and bytes, and how long threads idled while tasks waited elsewhere. Workers behave
as the wire contract says: higher priority first, then tasks with dependencies, then first come; a task that misses data
waits until it has been fetched, without taking a thread; every task that ends is told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from distributed.messages import (
    CancelTasks,
    DataAdded,
    Message,
    ReleaseData,
    ReleaseKeys,
    ReturnTasks,
    RunTasks,
    StopTasks,
    SubmitTasks,
    TasksDone,
    TaskSpec,
    TasksReturned,
    TasksStopped,
)
from distributed.scheduler.effects import ToWorker
from distributed.scheduler.events import ClientJoined, Event, FromClient, FromWorker, Tick, WorkerJoined
from distributed.scheduler.machine import SchedulerMachine
from distributed.scheduler.state import Settings

__all__ = ["Clockwork", "ModelWorker"]

CLIENT = "c"


class ModelWorker:
    """What one worker has, runs and is about to run.

    Attributes:
        data: sizes of results by key, copies of others' included.
        waiting: attempts by key of what has not begun; `begun`: of what runs.
        nbytes_peak: most bytes of results held at once.
    """

    def __init__(self, address: str, nthreads: int, memory_limit_nbytes: int | None) -> None:
        self.address = address
        self.nthreads = nthreads
        self.memory_limit_nbytes = memory_limit_nbytes
        self.data: dict[str, int] = {}
        self.waiting: dict[str, int] = {}
        self.begun: dict[str, int] = {}
        self.heap: list[tuple[int, bool, int, str, int]] = []  # -priority, is a root, order, key, attempt
        self.nbytes = 0
        self.nbytes_peak = 0

    def hold(self, key: str, nbytes: int) -> None:
        """A result is here."""
        self.drop(key)
        self.data[key] = nbytes
        self.nbytes += nbytes
        self.nbytes_peak = max(self.nbytes_peak, self.nbytes)

    def drop(self, key: str) -> None:
        """A result is here no more."""
        self.nbytes -= self.data.pop(key, 0)


class Clockwork:
    """One machine, some workers, one client.

    Args:
        threads: of each worker.
        cost: seconds and bytes of the result, by key.
        delay_s: how long any message travels.
        bandwidth: bytes per second between workers.
        memory_limit_nbytes: what every worker says of itself.

    Attributes:
        now: seconds since the start.
        held_peak: most results that existed at once, copies not counted.
        idle_longest_s: longest time in which a thread idled all the while somebody else had tasks that waited.
    """

    def __init__(
        self,
        threads: Sequence[int],
        cost: Callable[[str], tuple[float, int]],
        *,
        delay_s: float = 0.0005,
        bandwidth: float = 1e9,
        memory_limit_nbytes: int | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.machine = SchedulerMachine(settings)
        self.now = 0.0
        self.cost = cost
        self.delay_s = delay_s
        self.bandwidth = bandwidth
        self.workers: dict[str, ModelWorker] = {}
        self.ended = 0
        self.held: set[str] = set()  # only counted
        self.held_peak = 0
        self.idle_longest_s = 0.0
        self._idle_since: float | None = None
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._handle(ClientJoined(CLIENT))
        for number, nthreads in enumerate(threads):
            self.join(f"tcp://w{number}:1", nthreads, memory_limit_nbytes)

    def join(self, address: str, nthreads: int, memory_limit_nbytes: int | None = None) -> None:
        """One more worker, now."""
        self.workers[address] = ModelWorker(address, nthreads, memory_limit_nbytes)
        self._handle(
            WorkerJoined(
                address, address, address, nthreads, memory_limit_nbytes, None, {}, address[6:].partition(":")[0]
            )
        )

    def submit(
        self,
        keys: Sequence[str],
        dependencies: Sequence[list[str] | None] | None = None,
        wanted: Callable[[str], bool] = lambda key: True,
        function_of: Callable[[str], str] = lambda key: "f",
        specs: dict[str, TaskSpec] | None = None,
    ) -> None:
        """The client submits `keys` in one message; `specs` are by function where the default is not meant."""
        table: dict[TaskSpec, int] = {}
        functions: dict[bytes, bytes | memoryview] = {}
        spec_of = []
        for key in keys:
            name = function_of(key)
            functions[name.encode()] = b"code"
            spec = (specs or {}).get(name, TaskSpec(name.encode()))._replace(wanted=wanted(key))
            spec_of.append(table.setdefault(spec, len(table)))
        self.tell(
            SubmitTasks(
                dict(functions),
                list(table),
                spec_of,
                list(keys),
                [b""] * len(keys),
                None if dependencies is None else list(dependencies),
            )
        )

    def release(self, keys: Sequence[str]) -> None:
        """The client releases `keys`."""
        self.tell(ReleaseKeys(list(keys)))

    def tell(self, message: Message) -> None:
        """The client sends `message`; it arrives at once."""
        self._handle(FromClient(CLIENT, message))

    def run(self, events_max: int = 10_000_000) -> float:
        """Let time pass until nothing is on its way any more; answers the time at which the last task ended.

        Raises:
            RuntimeError: that takes more than `events_max` events.
        """
        last = self.now
        for _ in range(events_max):
            ended = self.ended
            if not self._agenda:
                return last
            self._step()
            last = self.now if self.ended > ended else last
        raise RuntimeError(f"not at rest after {events_max} events")

    def run_until(self, end: float) -> None:
        """Let time pass until `end`, in seconds since the start."""
        while self._agenda and self._next_s() <= end:
            self._step()
        self.now = max(self.now, end)

    def _next_s(self) -> float:
        wakeup = self.machine.next_wakeup
        return self._agenda[0][0] if wakeup is None else min(wakeup, self._agenda[0][0])

    def _step(self) -> None:
        """The next thing that happens."""
        if self._next_s() < self._agenda[0][0]:
            self.now = self._next_s()
            self._handle(Tick())
        else:
            self.now, _, action = heappop(self._agenda)
            action()
        self._watch_idlers()

    # ------------------------------------------------------------ messages

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._count += 1
        heappush(self._agenda, (self.now + seconds, self._count, action))

    def _handle(self, event: Event) -> None:
        self.machine.handle(event, self.now)
        for effect in self.machine.take_effects():
            if isinstance(effect, ToWorker):
                worker, message = self.workers[effect.address], effect.message
                self._later(self.delay_s, lambda worker=worker, message=message: self._take(worker, message))  # type: ignore[misc]

    def _report(self, worker: ModelWorker, message: Message) -> None:
        self._later(self.delay_s, lambda: self._handle(FromWorker(worker.address, worker.address, message)))

    def _take(self, worker: ModelWorker, message: Message) -> None:
        if isinstance(message, RunTasks):
            for index in range(len(message.keys)):
                self._queue(worker, message, index)
        elif isinstance(message, ReturnTasks):
            asked = list(zip(message.keys, message.attempts, strict=True))
            given = [(key, attempt) for key, attempt in asked if worker.waiting.get(key) == attempt]
            for key, _ in given:
                del worker.waiting[key]
            kept = [key for key, attempt in asked if (key, attempt) not in set(given)]
            self._report(worker, TasksReturned([key for key, _ in given], [attempt for _, attempt in given], kept))
        elif isinstance(message, CancelTasks):
            for key in message.keys:
                worker.waiting.pop(key, None)
                worker.begun.pop(key, None)  # its thread goes on; what it returns is dropped
        elif isinstance(message, StopTasks):
            for key in message.keys:
                worker.waiting.pop(key, None)
                worker.begun.pop(key, None)
            self._report(worker, TasksStopped(message.keys, message.attempts))
        elif isinstance(message, ReleaseData):
            for key in message.keys:
                worker.drop(key)
                if not any(key in other.data for other in self.workers.values()):
                    self.held.discard(key)
        self._begin(worker)

    # ------------------------------------------------------------ running

    def _queue(self, worker: ModelWorker, message: RunTasks, index: int) -> None:
        key, attempt = message.keys[index], message.attempts[index]
        needs = (message.dependencies[index] if message.dependencies is not None else None) or []
        options = message.options
        priority = 0 if options is None else options[message.option_of[index] if message.option_of else 0].priority
        worker.waiting[key] = attempt
        self._count += 1
        entry = (-priority, not needs, self._count, key, attempt)
        missing = [need for need in needs if need not in worker.data]
        if not missing:
            heappush(worker.heap, entry)
            return
        nbytes = sum(message.nbytes[need] for need in missing)

        def arrive() -> None:
            fetched = [need for need in missing if need not in worker.data and need in self.held]
            for need in fetched:
                worker.hold(need, message.nbytes[need])
            if fetched:
                self._report(worker, DataAdded(fetched, [message.nbytes[need] for need in fetched], None))
            heappush(worker.heap, entry)
            self._begin(worker)

        self._later(2 * self.delay_s + nbytes / self.bandwidth, arrive)

    def _begin(self, worker: ModelWorker) -> None:
        while worker.heap and len(worker.begun) < worker.nthreads:
            *_, key, attempt = heappop(worker.heap)
            if worker.waiting.get(key) != attempt:
                continue  # given back or cancelled
            del worker.waiting[key]
            worker.begun[key] = attempt
            seconds, nbytes = self.cost(key)
            self._later(seconds, lambda key=key, a=attempt, s=seconds, n=nbytes: self._end(worker, key, a, s, n))  # type: ignore[misc]

    def _end(self, worker: ModelWorker, key: str, attempt: int, seconds: float, nbytes: int) -> None:
        if worker.begun.get(key) == attempt:
            del worker.begun[key]
            self.ended += 1
            worker.hold(key, nbytes)
            self.held.add(key)
            self.held_peak = max(self.held_peak, len(self.held))
            self._report(worker, TasksDone([key], [attempt], [nbytes], [None], [seconds]))
        self._begin(worker)

    def _watch_idlers(self) -> None:
        idles = any(not worker.waiting and len(worker.begun) < worker.nthreads for worker in self.workers.values())
        if not idles or not any(worker.waiting for worker in self.workers.values()):
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self.now
        else:
            self.idle_longest_s = max(self.idle_longest_s, self.now - self._idle_since)
