"""The machine of a worker: what to fetch, when a task is ready, what to answer. Pure: no I/O, clock, random or thread.

Tasks are handed to the executor as they become ready, with a rank: those of higher priority before others, of equal
priority the deeper ones (their parents wait for them), of equal depth those with dependencies before those without.
One that waits for data does not hold up those behind it. All that one event brings about leaves in one effect of each
kind. States: `distributed.worker.records`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any

from distributed.errors import FunctionLoadError, ProtocolError
from distributed.messages import (
    DEFAULT_OPTIONS,
    CancelTasks,
    CopyData,
    DataAdded,
    DismissWorker,
    EquipWorker,
    Failure,
    ForgetFunctions,
    HoldersKnown,
    ReleaseData,
    ReturnTasks,
    RunTasks,
    ServerClosing,
    StopTasks,
    TasksDone,
    TasksReturned,
)
from distributed.messages import DataRescued as RescuedMessage
from distributed.worker import copies, equipping
from distributed.worker.effects import (
    Effect,
    Keep,
    ReadyTask,
    ToScheduler,
)
from distributed.worker.events import (
    DataFetched,
    DataPut,
    DataRescued,
    Equipped,
    Event,
    FetchBusy,
    FetchFailed,
    FromScheduler,
    Outcome,
    SchedulerLost,
    StopBegun,
    TasksExecuted,
    TasksLending,
    TasksWithdrawn,
    Tick,
)
from distributed.worker.records import TaskRecord, TaskState, WorkerState, move_task, rank_of
from distributed.worker.turn import Turn

__all__ = ["WorkerMachine"]


class WorkerMachine:
    """Decides for one worker.

    Args:
        address: where this worker listens, canonical; fetches never go there.
        nthreads: threads of its executor, >= 1.
    Attributes:
        state: for the invariants and for tests; nobody else holds records.
    """

    def __init__(self, address: str, nthreads: int) -> None:
        self.address = address
        self.nthreads = nthreads
        self.state = WorkerState(address)
        self._effects: list[Effect] = []

    def handle(self, event: Event, now: float) -> None:
        """Change the state; the effects are then taken with `take_effects`.

        Raises:
            ProtocolError: the scheduler sent a message that is not for workers; nothing has changed.
        """
        turn = Turn(now)
        _HANDLERS[type(event)](self, turn, event)
        self._end(turn)

    @property
    def next_wakeup(self) -> float | None:
        """Monotonic seconds when it wants a `Tick`; None: never."""
        return copies.next_wakeup(self.state)

    def incoming_nbytes(self) -> int:
        """Bytes of copies that are on their way, or will be; any thread may ask."""
        return sum([peer.nbytes for peer in list(self.state.peers.values())])

    def take_effects(self) -> list[Effect]:
        """What is to be done since the last call, in order."""
        effects, self._effects = self._effects, []
        return effects

    # ------------------------------------------------------------ from the scheduler

    def _from_scheduler(self, turn: Turn, event: FromScheduler) -> None:
        handler = _MESSAGE_HANDLERS.get(type(event.message))
        if handler is None:
            raise ProtocolError(f"a worker does not serve {type(event.message).__name__}")
        handler(self, turn, event.message)

    def _run_tasks(self, turn: Turn, message: RunTasks) -> None:
        state, tasks, ready, digests = self.state, self.state.tasks, turn.ready, message.digests
        state.functions.update(message.functions)
        functions = [state.functions.get(digest) for digest in digests]
        columns: Iterable[tuple[str, int, Any, bool, int, list[str] | None, int]] = zip(
            message.keys,
            message.attempts,
            message.arguments,
            repeat(True) if message.wanted is None else message.wanted,
            repeat(0) if message.digest_of is None else message.digest_of,
            repeat(None) if message.dependencies is None else message.dependencies,
            repeat(0) if message.option_of is None else message.option_of,
            strict=False,  # a repeat has no end
        )
        table = [DEFAULT_OPTIONS] if message.options is None else message.options
        ranks = [rank_of(options) for options in table]
        for key, attempt, arguments, wanted, index, dependencies, option in columns:
            old = tasks.get(key)
            if old is not None:
                if attempt <= old.attempt:  # said twice
                    continue
                self._forget_task(turn, old)
            state.tickets += 1
            function = functions[index]
            rank = ranks[option] - 1 if dependencies else ranks[option]
            ticket, digest = state.tickets, digests[index]
            task = ReadyTask(key, ticket, digest, function, arguments, wanted, dependencies, rank, table[option])
            record = TaskRecord(task, attempt)
            if function is None:
                turn.failed.append((record, self._unknown_function(digests[index]), 0.0))
                continue
            tasks[key] = record
            if dependencies:
                self._want_data(turn, record, dependencies, message)
            if record.missing is None:
                move_task(record, TaskState.READY)
                ready.append(task)
            else:
                move_task(record, TaskState.WAITING)

    def _want_data(self, turn: Turn, record: TaskRecord, dependencies: list[str], message: RunTasks) -> None:
        state = self.state
        for key in dependencies:
            if key in state.memory:
                continue
            holders = message.who_has.get(key, ())
            if not copies.wait_for_copy(state, record, key, message.nbytes.get(key, 0), holders):
                turn.lost[key] = state.copies[key]

    def _unknown_function(self, digest: bytes) -> Failure:
        error = FunctionLoadError(f"function {digest.hex()}", self.address, "the scheduler named it without sending it")
        return ["distributed.errors.FunctionLoadError", error.text, "", None]

    def _cancel_tasks(self, turn: Turn, message: CancelTasks) -> None:
        for key in message.keys:
            record = self.state.tasks.get(key)
            if record is not None:
                self._forget_task(turn, record)
        # Whoever cancels does not know yet that a task has finished: its result is unwanted just the same.
        self._drop(turn, message.keys)

    def _stop_tasks(self, turn: Turn, message: StopTasks) -> None:
        """What has not begun stops at once; of what may have begun the executor will tell."""
        state = self.state
        before = set(state.stopping.values())  # asked only for membership
        for key, attempt in zip(message.keys, message.attempts, strict=True):
            record = state.tasks.get(key)
            if record is not None and record.attempt == attempt:
                if record.state is TaskState.READY and record.task.ticket not in state.held:
                    turn.stop[key] = record.task.ticket
                    state.stopping[record.task.ticket] = (key, attempt)
                    move_task(record, TaskState.FORGOTTEN)
                    del state.tasks[key]
                    continue
                self._forget_task(turn, record)
            if (key, attempt) not in before:  # said twice: its end will be told
                turn.stopped.append((key, attempt))
        self._drop(turn, message.keys)

    def _return_tasks(self, turn: Turn, message: ReturnTasks) -> None:
        """Those that wait are given back now; whether others have begun only the executor can tell."""
        returned = turn.returned = TasksReturned([], [], [])
        for key, attempt in zip(message.keys, message.attempts, strict=True):
            record = self.state.tasks.get(key)
            if record is None or record.attempt != attempt:
                returned.kept.append(key)
            elif record.state is TaskState.READY and record.task.ticket not in self.state.held:
                turn.give_back[key] = record.task.ticket
            else:
                self._forget_task(turn, record)
                returned.keys.append(key)
                returned.attempts.append(attempt)

    def _copy_data(self, turn: Turn, message: CopyData) -> None:
        """What is here already is answered too: the scheduler waits for a word on every key."""
        memory = self.state.memory
        here = [key for key in message.keys if key in memory]
        if here:
            turn.added = DataAdded(here, [memory[key] for key in here], None)
        for key, nbytes, holders in zip(message.keys, message.nbytes, message.holders, strict=True):
            if key in memory or key in turn.lost:  # said twice in one message
                continue
            if not copies.order_copy(self.state, key, nbytes, holders):
                turn.lost[key] = self.state.copies[key]

    def _holders_known(self, turn: Turn, message: HoldersKnown) -> None:
        for key, holders in zip(message.keys, message.holders, strict=True):
            copies.add_holders(self.state, key, holders)

    def _release_data(self, turn: Turn, message: ReleaseData) -> None:
        self._drop(turn, message.keys)

    def _forget_functions(self, turn: Turn, message: ForgetFunctions) -> None:
        functions = self.state.functions
        turn.functions += [digest for digest in message.digests if functions.pop(digest, None) is not None]

    def _equip_worker(self, turn: Turn, message: EquipWorker) -> None:
        turn.equip = equipping.equip(self.state, message)

    def _equipped(self, turn: Turn, event: Equipped) -> None:
        turn.equipped, turn.ready = equipping.equipped(self.state, event)

    def _ignore(self, turn: Turn, message: ServerClosing | DismissWorker) -> None:
        """The server ends by itself; the end of the connection will say the same."""

    # ------------------------------------------------------------ from this process

    def _stop_begun(self, turn: Turn, event: StopBegun) -> None:
        stopping = self.state.stopping
        turn.stopped += [stopping.pop(ticket) for ticket in event.tickets if ticket in stopping]

    def _tasks_executed(self, turn: Turn, event: TasksExecuted) -> None:
        if self.state.stopping:
            self._stop_begun(turn, StopBegun([outcome.ticket for outcome in event.outcomes]))
        tasks, memory, waited_for = self.state.tasks, self.state.memory, self.state.copies
        keys: list[str] = []
        attempts: list[int] = []
        values: list[Any] = []
        nbytes: list[int] = []
        payloads: list[Any] = []
        durations_s: list[float] = []
        arrived: list[str] = []
        for outcome in event.outcomes:
            key = outcome.key
            record = tasks.get(key)
            if record is None or record.task.ticket != outcome.ticket:
                continue  # a late outcome: the task was cancelled, replaced by a newer attempt, or its scheduler lost
            if outcome.failure is None and outcome.missing is None:
                move_task(record, TaskState.MEMORY)
                del tasks[key]
                memory[key] = outcome.nbytes
                keys.append(key)
                attempts.append(record.attempt)
                values.append(outcome.value)
                nbytes.append(outcome.nbytes)
                payloads.append(outcome.payload)
                durations_s.append(outcome.duration_s)
                if outcome.actor is not None or key in self.state.actors:
                    self._keep_actor(turn, outcome)
                if key in waited_for:
                    arrived.append(key)
                continue
            move_task(record, TaskState.FORGOTTEN)
            del tasks[key]
            if outcome.missing is not None:
                pairs = [[missing, self.address] for missing in outcome.missing]
                # A file of the store could not be read: it must not be taken for data that is here.
                turn.dropped += [missing for missing in outcome.missing if memory.pop(missing, None) is not None]
                turn.unstarted.append((record, outcome.missing, pairs))
            else:
                assert outcome.failure is not None
                turn.failed.append((record, outcome.failure, outcome.duration_s))
        if keys:
            turn.keep = Keep(keys, values, nbytes)
            turn.done = TasksDone(keys, attempts, nbytes, payloads, durations_s)
            ordered = [key for key in arrived if waited_for[key].ordered]
            if ordered:
                turn.added = DataAdded(ordered, [memory[key] for key in ordered], None)
            self._arrive(turn, arrived)

    def _tasks_lending(self, turn: Turn, event: TasksLending) -> None:
        """The scheduler hears what has changed since it was told last: a task that has ended meanwhile says enough."""
        for key, (ticket, is_lent) in event.news.items():
            record = self.state.tasks.get(key)
            if record is None or record.task.ticket != ticket or record.is_lent is is_lent:
                continue
            record.is_lent = is_lent
            (turn.lent if is_lent else turn.rejoined).append(record)

    def _tasks_withdrawn(self, turn: Turn, event: TasksWithdrawn) -> None:
        returned = turn.returned = TasksReturned([], [], [])
        withdrawn = frozenset(event.withdrawn)
        for key, ticket in event.tickets.items():
            record = self.state.tasks.get(key)
            if key not in withdrawn or record is None or record.task.ticket != ticket:
                returned.kept.append(key)  # it has begun, or was cancelled meanwhile
                continue
            move_task(record, TaskState.FORGOTTEN)
            del self.state.tasks[key]
            returned.keys.append(key)
            returned.attempts.append(record.attempt)

    def _data_fetched(self, turn: Turn, event: DataFetched) -> None:
        keys = []
        for copy in copies.finish_fetch(self.state, event.address):
            if copy.key in event.values:
                keys.append(copy.key)
            elif not copies.copy_failed(self.state, copy, event.address):
                turn.lost[copy.key] = copy
        self._keep_data(turn, keys, event.values, event.nbytes, None)

    def _fetch_failed(self, turn: Turn, event: FetchFailed) -> None:
        self._data_fetched(turn, DataFetched(event.address, {}, {}, event.keys))

    def _fetch_busy(self, turn: Turn, event: FetchBusy) -> None:
        lost, turn.asked = copies.peer_is_busy(self.state, event.address, turn.now)
        turn.lost.update((copy.key, copy) for copy in lost)

    def _tick(self, turn: Turn, event: Tick) -> None:
        copies.end_rests(self.state, turn.now)

    def _data_put(self, turn: Turn, event: DataPut) -> None:
        keys = list(event.values)
        # What is here stays, as the first value of a key counts everywhere; its client is told all the same.
        new = [key for key in keys if key not in self.state.memory]
        self._keep_data(turn, new, event.values, event.nbytes, event.client)
        if keys:
            turn.added = DataAdded(keys, [self.state.memory[key] for key in keys], event.client)

    def _data_rescued(self, turn: Turn, event: DataRescued) -> None:
        new = [key for key in event.values if key not in self.state.memory]
        if new:
            self._keep_data(turn, new, event.values, event.nbytes, None)
            turn.rescued, turn.added = RescuedMessage(new, [event.nbytes[key] for key in new]), None

    def _scheduler_lost(self, turn: Turn, event: SchedulerLost) -> None:
        state = self.state
        state.stopping.clear()
        for record in list(state.tasks.values()):
            self._forget_task(turn, record)
        copies.forget_copies(state)
        turn.equip = equipping.forget_equipment(state)
        turn.dropped += state.memory
        turn.ended_actors += state.actors
        turn.why_ended = "its worker has lost the scheduler"
        state.memory.clear()
        state.actors.clear()
        turn.functions += state.functions
        state.functions.clear()

    # ------------------------------------------------------------ parts

    def _keep_data(
        self, turn: Turn, keys: list[str], values: dict[str, Any], nbytes: dict[str, int], client: str | None
    ) -> None:
        if not keys:
            return
        sizes = [nbytes[key] for key in keys]
        self.state.memory.update(zip(keys, sizes, strict=True))
        turn.keep = Keep(keys, [values[key] for key in keys], sizes)
        turn.added = DataAdded(keys, sizes, client)
        self._arrive(turn, keys)

    def _arrive(self, turn: Turn, keys: list[str]) -> None:
        """These keys are in memory now: tasks that waited only for them become ready, in the order they came."""
        became_ready: list[TaskRecord] = []
        for key in keys:
            copy = self.state.copies.get(key)
            if copy is not None:
                became_ready += copies.hold_copy(self.state, copy)
        became_ready.sort(key=lambda record: record.task.ticket)
        for record in became_ready:
            move_task(record, TaskState.READY)
            turn.ready.append(record.task)

    def _forget_task(self, turn: Turn, record: TaskRecord) -> None:
        if record.state is TaskState.READY:
            if not equipping.take_back(self.state, record.task.ticket):
                turn.withdrawn.append(record.task.key)
        else:
            copies.stop_waiting(self.state, record)
        move_task(record, TaskState.FORGOTTEN)
        del self.state.tasks[record.task.key]

    def _drop(self, turn: Turn, keys: list[str]) -> None:
        """Tasks in the executor that need one of them will say that it is missing: no right scheduler does that."""
        memory = self.state.memory
        turn.uncopied += [(key, []) for key in keys if copies.cancel_order(self.state, key)]
        turn.dropped += [key for key in keys if memory.pop(key, None) is not None]
        if self.state.actors:
            actors = self.state.actors
            turn.ended_actors += [key for key in keys if key in actors]
            for key in turn.ended_actors:
                actors.pop(key, None)

    def _keep_actor(self, turn: Turn, outcome: Outcome) -> None:
        """The result of this outcome is an actor, or takes the place of one: it was made again, by a newer attempt."""
        actors, key = self.state.actors, outcome.key
        if key in actors:
            del actors[key]
            turn.ended_actors.append(key)
        if outcome.actor is not None:
            actors[key] = None
            turn.actors[key] = outcome.actor

    def _end(self, turn: Turn) -> None:
        if turn.lost:
            turn.uncopied += [(copy.key, copy.gone) for copy in turn.lost.values() if copy.ordered]
            for record, missing, gone in copies.take_waiters(self.state, turn.lost.values()):
                move_task(record, TaskState.FORGOTTEN)
                del self.state.tasks[record.task.key]
                turn.unstarted.append((record, missing, gone))
        if self.state.equipping and turn.ready:
            equipping.hold(self.state, turn.ready)
            turn.ready = []
        effects = self._effects
        effects += turn.effects()
        if self.state.waiting_peers:
            effects += copies.start_fetches(self.state)
        effects += map(ToScheduler, turn.messages())


_Handler = Callable[[WorkerMachine, Turn, Any], None]

_HANDLERS: dict[type[Any], _Handler] = {
    FromScheduler: WorkerMachine._from_scheduler,
    TasksExecuted: WorkerMachine._tasks_executed,
    TasksLending: WorkerMachine._tasks_lending,
    TasksWithdrawn: WorkerMachine._tasks_withdrawn,
    DataFetched: WorkerMachine._data_fetched,
    FetchFailed: WorkerMachine._fetch_failed,
    FetchBusy: WorkerMachine._fetch_busy,
    DataPut: WorkerMachine._data_put,
    DataRescued: WorkerMachine._data_rescued,
    StopBegun: WorkerMachine._stop_begun,
    Equipped: WorkerMachine._equipped,
    SchedulerLost: WorkerMachine._scheduler_lost,
    Tick: WorkerMachine._tick,
}

_MESSAGE_HANDLERS: dict[type[Any], _Handler] = {
    RunTasks: WorkerMachine._run_tasks,
    CancelTasks: WorkerMachine._cancel_tasks,
    StopTasks: WorkerMachine._stop_tasks,
    ReturnTasks: WorkerMachine._return_tasks,
    CopyData: WorkerMachine._copy_data,
    HoldersKnown: WorkerMachine._holders_known,
    ReleaseData: WorkerMachine._release_data,
    ForgetFunctions: WorkerMachine._forget_functions,
    EquipWorker: WorkerMachine._equip_worker,
    ServerClosing: WorkerMachine._ignore,
    DismissWorker: WorkerMachine._ignore,
}
