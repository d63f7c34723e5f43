"""The scheduler machine: events in, effects out; no I/O, clock, randomness or threads.

`SchedulerMachine` only dispatches. What happens is in `graph` (clients), `answers` (workers' messages), `failures`
(workers' lives), `lifecycle` (tasks' states), `placement` (who runs what), `stealing` (who gives some back),
`redundant` (what runs twice), `movement` and `retirement` (where data goes), `nested` (tasks that wait for others),
`stopping` (what is cancelled), `rescue` (data of replaced processes), `coordination` (locks, queues and their like),
`equipment` (what all workers have), `output` (who hears what tasks print), `silence`, and `stuck` (what nobody can
run). Every event goes through these steps: its handler changes the state, `sweep` drops what nobody needs
any more, `settle` gets orders on, `deal` gives queued tasks to workers; then the messages collected meanwhile become
effects, one of a kind per receiver.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distributed import messages
from distributed.errors import InvariantError
from distributed.scheduler import (
    answers,
    copying,
    equipment,
    events,
    failures,
    graph,
    movement,
    nested,
    output,
    redundant,
    rescue,
    retirement,
    retrying,
    silence,
    stealing,
    stopping,
    stuck,
)
from distributed.scheduler.coordination import requests
from distributed.scheduler.effects import Effect
from distributed.scheduler.lifecycle import sweep
from distributed.scheduler.placement import deal, open_loose_queues
from distributed.scheduler.records import ClientRecord
from distributed.scheduler.state import SchedulerState, Settings, Transition, story

__all__ = ["SchedulerMachine"]


class SchedulerMachine:
    """Decides what every worker does.

    Attributes:
        state: for `snapshot`, `explain` and `invariants`, which read it; nobody else looks at it.
    """

    __slots__ = ("state",)

    def __init__(self, settings: Settings | None = None) -> None:
        self.state = SchedulerState(settings or Settings())

    @property
    def next_wakeup(self) -> float | None:
        """When `Tick` is wanted, in the seconds of `now`; None: not at all. Cost: O(1)."""
        state = self.state
        lost, dismissed = next(iter(state.lost.values()), None), next(iter(state.moving.dismissed.values()), None)
        loose, mute = next(iter(state.loose), None), next(iter(state.mute.values()), None)
        timers = (
            state.steal_at,
            state.redundant_at,
            state.silence_at,
            state.stuck_at,
            state.printing.tell_at,
            None if mute is None else mute[0],
            dismissed,
            stopping.stopping_deadline(state),
            rescue.rescue_deadline(state),
            None if lost is None else lost.lost_deadline,
            None if loose is None else loose.open_at,
            next(iter(state.orphans.values()), None),
            requests.next_warning(state),
        )
        return min((timer for timer in timers if timer is not None), default=None)

    def handle(self, event: events.Event, now: float) -> None:
        """Take in one event.

        Args:
            event: what happened; those about unknown clients or ended incarnations are ignored.
            now: monotonic seconds, never less than at the call before.
        Raises:
            InvariantError: we broke a rule of ours, or the event is of no known kind; the state cannot be trusted.
        Cost: O(tasks named in the event), and what follows from it.
        """
        handler = _BY_EVENT.get(type(event))
        if handler is None:
            raise InvariantError(f"the scheduler machine knows no event {type(event).__name__}")
        state = self.state
        state.now = now
        handler(state, event, now)
        if state.unneeded:
            sweep(state)
        if state.moving.spreads or state.moving.orders or state.moving.retiring:
            movement.settle(state)
        deal(state)
        if state.doubtful or (state.ready.live and not state.room_threads and state.ready.news is None):
            stuck.watch(state)
        if state.steal_at is None and state.loaded and state.idle:
            stealing.watch(state)
        if state.has_redundant and state.redundant_at is None and state.idle:
            redundant.watch(state)
        state.outbox.flush(state.effects)

    def take_effects(self) -> list[Effect]:
        """The effects since the last call, to be performed in order."""
        effects = self.state.effects
        self.state.effects = []
        return effects

    def story(self, key: str) -> list[Transition]:
        """What happened to `key`, oldest first: ``(key, from, to, because, monotonic seconds)``."""
        return story(self.state, key)


def _client_joined(state: SchedulerState, event: events.ClientJoined, now: float) -> None:
    graph.join_client(state, event.client, event.process)


def _client_left(state: SchedulerState, event: events.ClientLeft, now: float) -> None:
    requests.leave_desk(state, event.client)
    client = state.clients.get(event.client)
    if client is not None and client.orphaned_at is None:  # else what it held is let go later
        graph.leave_client(state, event.client)


def _from_client(state: SchedulerState, event: events.FromClient, now: float) -> None:
    client = state.clients.get(event.client)
    if client is not None:
        _lookup(_BY_CLIENT_MESSAGE, event.message)(state, client, event.message)


def _from_worker(state: SchedulerState, event: events.FromWorker, now: float) -> None:
    worker = state.workers.get(event.address)
    if worker is not None and worker.incarnation == event.incarnation:
        silence.spoke(state, worker, now)
        _lookup(_BY_WORKER_MESSAGE, event.message)(state, worker, event.message)


def _tick(state: SchedulerState, event: events.Tick, now: float) -> None:
    failures.expire_lost(state, now)
    failures.drop_dismissed(state, now)
    failures.drop_silent(state, now)
    silence.bypass_hung(state, now)
    stopping.replace_stubborn(state)
    rescue.expire_expected(state)
    nested.drop_orphans(state)
    open_loose_queues(state)
    output.tell_omitted(state)
    stealing.look(state)
    redundant.look(state)
    stuck.look(state)
    requests.warn_of_waits(state)


def _submit(state: SchedulerState, client: ClientRecord, message: messages.SubmitTasks) -> None:
    graph.submit(state, client, message)
    if any(spec.parent is not None for spec in message.specs):
        stopping.adopt(state, client, message)


def _lookup(table: dict[type[Any], Callable[..., None]], message: messages.Message) -> Callable[..., None]:
    handler = table.get(type(message))
    if handler is None:
        raise InvariantError(f"the scheduler machine got a {message.op!r} from the wrong side")
    return handler


_BY_EVENT: dict[type[Any], Callable[..., None]] = {
    events.ClientJoined: _client_joined,
    events.ClientLeft: _client_left,
    events.FromClient: _from_client,
    events.FromWorker: _from_worker,
    events.WorkerJoined: failures.join_worker,
    events.WorkerLeft: failures.worker_left,
    events.WorkerDied: failures.worker_died,
    events.WorkerAlive: silence.worker_alive,
    events.WorkerReplacing: rescue.worker_replacing,
    events.Replicate: movement.replicate,
    events.Rebalance: movement.rebalance,
    events.Retire: movement.retire,
    events.Equip: equipment.equip,
    events.ForgetTasks: stopping.forget_tasks,
    events.Tick: _tick,
}

_BY_CLIENT_MESSAGE: dict[type[Any], Callable[..., None]] = {
    messages.SubmitTasks: _submit,
    messages.WantKeys: graph.want_keys,
    messages.ReleaseKeys: graph.release_keys,
    messages.ReleaseFunctions: graph.release_functions,
    messages.CancelKeys: stopping.cancel_keys,
    messages.CancelQueued: retrying.cancel_queued,
    messages.RetryKeys: retrying.retry_keys,
    messages.Coordinate: requests.coordinate,
    messages.WithdrawRequests: requests.withdraw_requests,
    messages.TakeItems: requests.take_items,
}

_BY_WORKER_MESSAGE: dict[type[Any], Callable[..., None]] = {
    messages.TasksDone: answers.tasks_done,
    messages.TasksFailed: answers.tasks_failed,
    messages.TasksMissingData: answers.tasks_missing_data,
    messages.DataAdded: answers.data_added,
    messages.DataRemoved: answers.data_removed,
    messages.Heartbeat: answers.heartbeat,
    messages.TasksReturned: stealing.tasks_returned,
    messages.TasksStopped: stopping.tasks_stopped,
    messages.DataRescued: rescue.data_rescued,
    messages.TasksLent: nested.tasks_lent,
    messages.TasksRejoined: nested.tasks_rejoined,
    messages.CopiesFailed: copying.copies_failed,
    messages.AskHolders: copying.ask_holders,
    messages.WorkerPaused: retirement.worker_paused,
    messages.WorkerRetiring: retirement.worker_retiring,
    messages.TasksPrinted: output.tasks_printed,
    messages.WorkerEquipped: equipment.worker_equipped,
    messages.EquipmentFailed: equipment.equipment_failed,
}
