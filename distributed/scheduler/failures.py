"""Workers that join, leave, die and are certified dead.

A worker that leaves without a goodbye and has a nanny is *lost*: it gets nothing more, its data counts as gone at
once, but its tasks stay with it until the nanny's certificate says what ran, or the patience ends. Deaths count only
against tasks that ran (decision 39); `Settings.deaths_max` of them and the task is given up with KilledWorker.
"""

from __future__ import annotations

from typing import Any

from distributed.errors import BadRequestError, KilledWorker, NameTakenError, TaskTimeoutError
from distributed.scheduler import redundant
from distributed.scheduler.actors import actors_of, is_home
from distributed.scheduler.copying import drop_taker
from distributed.scheduler.effects import AcceptWorker, DropWorker, RefuseWorker
from distributed.scheduler.equipment import equip_joined, forget_worker
from distributed.scheduler.events import WorkerDied, WorkerJoined, WorkerLeft
from distributed.scheduler.lifecycle import fail, failure_of, lose_replicas, run_again
from distributed.scheduler.nested import orphan_clients
from distributed.scheduler.placement import close_worker, touch
from distributed.scheduler.records import TaskRecord, WorkerRecord, end_processing, remove_replica
from distributed.scheduler.rescue import expect
from distributed.scheduler.retirement import end_retirement, expire_dismissed
from distributed.scheduler.silence import spoke, take_silent
from distributed.scheduler.state import SchedulerState
from distributed.scheduler.stuck import worker_came, worker_gone

__all__ = ["drop_dismissed", "drop_silent", "expire_lost", "join_worker", "lose_worker", "worker_died", "worker_left"]


def join_worker(state: SchedulerState, event: WorkerJoined, now: float) -> None:
    """Accept a worker, or refuse it if a living one elsewhere has its name.

    An older life at the same address is lost now, whether or not its connection was seen to close. The same life
    joining again after its connection broke is not dead: what it ran is queued again without counting deaths.
    """
    present = state.workers.get(event.address)
    if present is not None and present.incarnation == event.incarnation:
        # Its old connection is not known to be broken yet; once it is, the worker may come again.
        refusal = BadRequestError(f"the worker at {event.address} is connected already")
        state.effects.append(RefuseWorker(event.address, event.incarnation, refusal))
        return
    namesake = state.by_name.get(event.name)
    if namesake is not None and namesake is not present:
        error = NameTakenError(event.name, namesake.address)
        state.effects.append(RefuseWorker(event.address, event.incarnation, error))
        return
    if present is not None:
        is_alive = bool(event.process) and present.process == event.process
        reason = "it lost its connection" if is_alive else "a new process took its address"
        state.effects.append(DropWorker(present.address, reason, present.incarnation))
        lose_worker(state, present, now, reason, expected=is_alive)
    for life, lost in list(state.lost.items()):  # few, and none for longer than the patience
        if life == (event.address, event.incarnation) or (event.process and lost.process == event.process):
            del state.lost[life]
            _requeue(state, lost, {}, [], "its worker came back without it")
    worker = WorkerRecord(
        event.address,
        event.incarnation,
        event.name,
        event.nthreads,
        event.memory_limit_nbytes,
        event.nanny,
        event.resources,
        event.host,
        state.workers_seen,
        event.process,
        tags=event.tags,
    )
    state.workers_seen += 1
    state.workers[worker.address] = worker
    spoke(state, worker, now)
    state.by_name[worker.name] = worker
    state.by_host.setdefault(worker.host, {})[worker] = None
    for name in worker.resources:
        state.by_resource.setdefault(name, {})[worker] = None
    state.effects.append(AcceptWorker(worker.address, worker.incarnation))
    equip_joined(state, worker)
    touch(state, worker)
    worker_came(state, worker)


def worker_left(state: SchedulerState, event: WorkerLeft, now: float) -> None:
    """A connection is gone; ignored if its life has ended before."""
    worker = state.workers.get(event.address)
    if worker is not None and worker.incarnation == event.incarnation:
        lose_worker(state, worker, now, event.reason, expected=event.expected)


def worker_died(state: SchedulerState, event: WorkerDied, now: float) -> None:
    """A nanny's certificate: of a living worker (its connection will break soon) or of a lost one."""
    worker = state.workers.get(event.address)
    if worker is not None and worker.incarnation == event.incarnation:
        state.effects.append(DropWorker(worker.address, "its nanny saw it die", worker.incarnation))
        _remove(state, worker, "its process died")
    else:
        worker = state.lost.pop((event.address, event.incarnation), None)
        if worker is None:
            return
    running = event.certificate.get("running")
    _bury(state, worker, event.certificate, running if isinstance(running, list) else None)


def expire_lost(state: SchedulerState, now: float) -> None:
    """Bury the lost workers whose certificate has not come in time."""
    for name, worker in list(state.lost.items()):
        assert worker.lost_deadline is not None
        if worker.lost_deadline > now:
            return
        del state.lost[name]
        _bury(state, worker, {"cause": worker.lost_reason}, None)


def drop_dismissed(state: SchedulerState, now: float) -> None:
    """Lose the workers that were let go and did not leave in time."""
    for worker in expire_dismissed(state):
        lose_worker(state, worker, now, "it was dismissed", expected=True)


def drop_silent(state: SchedulerState, now: float) -> None:
    """Lose the workers that have given no sign of life for too long; one that wakes up again has to register."""
    for worker, silent_s in take_silent(state, now):
        reason = f"silent for {silent_s:.0f} s"
        state.effects.append(DropWorker(worker.address, reason, worker.incarnation))
        lose_worker(state, worker, now, reason, expected=False)


def lose_worker(state: SchedulerState, worker: WorkerRecord, now: float, reason: str, *, expected: bool) -> None:
    """A living worker is gone: bury it, at once or when its certificate has come."""
    _remove(state, worker, reason)
    if expected:
        _requeue(state, worker, {}, [], f"{worker.address} left: {reason}")
    elif worker.nanny is None:
        _bury(state, worker, {"cause": reason}, None)
    else:
        worker.lost_reason = reason
        worker.lost_deadline = now + state.settings.certificate_patience_s
        state.lost[worker.address, worker.incarnation] = worker


def _remove(state: SchedulerState, worker: WorkerRecord, reason: str) -> None:
    """Take `worker` out of every table, with the data it held; its tasks stay with it."""
    close_worker(state, worker)
    del state.workers[worker.address]
    del state.heard[worker]
    state.mute.pop(worker, None)
    if not state.heard:
        state.silence_at = None
    del state.by_name[worker.name]
    _unfile(state.by_host, worker.host, worker)
    for name in worker.resources:
        _unfile(state.by_resource, name, worker)
    for function in worker.functions.values():
        del function.workers[worker]
    worker.functions.clear()
    retirement = state.moving.retiring.get(worker)
    if retirement is not None:
        retirement.tell_actors([task.key for task in actors_of(state, worker)])
    lost: list[TaskRecord] = []
    for task in list(worker.holds.values()):
        remove_replica(task, worker)
        if task.who_has is None or is_home(state, task, worker):
            lost.append(task)
    if worker.rescued:
        expect(state, worker, lost)
    redundant.leave(state, worker)
    worker.wide -= sum(worker.stopping.values())
    worker.stopping.clear()
    lose_replicas(state, lost, f"{worker.address} is gone: {reason}")
    drop_taker(state, worker)
    end_retirement(state, worker)
    worker_gone(state, worker)
    forget_worker(state, worker)


def _unfile(index: dict[str, dict[WorkerRecord, None]], name: str, worker: WorkerRecord) -> None:
    del index[name][worker]
    if not index[name]:
        del index[name]


def _bury(state: SchedulerState, worker: WorkerRecord, certificate: dict[str, Any], running: list[str] | None) -> None:
    """`worker` died while `running` ran there; unknown: those sent first, one for each thread."""
    orphan_clients(state, worker)
    if running is None:
        running = [key for key in worker.processing if not worker.lent.get(key)][: worker.nthreads]
    _requeue(state, worker, certificate, running, f"{worker.address} died")


def _requeue(
    state: SchedulerState, worker: WorkerRecord, certificate: dict[str, Any], running: list[str], because: str
) -> None:
    """The tasks of a removed `worker` run elsewhere; a death counts against those that are `running`."""
    tasks = list(worker.processing.values())
    blamed = set(running)  # asked only for membership
    for task in tasks:
        end_processing(task)
        if task.key in blamed and not redundant.has_second(state, task):
            task.deaths += 1
            task.certificates = [
                *(task.certificates or ()),
                {**certificate, "worker": worker.address, "attempt": task.attempt},
            ]
    _fail_late(state, tasks, certificate, because)
    deaths_max = state.settings.deaths_max
    for task in tasks:
        if 0 < deaths_max <= task.deaths and task.key in blamed:
            error = KilledWorker(task.key, task.deaths, task.certificates or [])
            data = {"key": error.key, "deaths": error.deaths, "certificates": error.certificates}
            fail(state, task, failure_of(error, data), because)
    run_again(state, tasks, because)


def _fail_late(state: SchedulerState, tasks: list[TaskRecord], certificate: dict[str, Any], because: str) -> None:
    """Those for whose sake a nanny ended the process, as they had passed their own time limit: that is as if raised."""
    late = certificate.get("late")
    named = frozenset(late if isinstance(late, list) else ())
    for task in tasks:
        if task.key in named and task.spec.timeout_s is not None:
            if task.retries_left:
                task.retries_left -= 1
                continue
            error = TaskTimeoutError(task.key, task.spec.timeout_s)
            data = {"key": error.key, "timeout_s": error.timeout_s}
            fail(state, task, failure_of(error, data), because)
