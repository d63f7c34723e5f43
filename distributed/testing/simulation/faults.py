"""What goes wrong in a simulation: each fault of the plan, done at its time and ended after its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distributed.scheduler.events import (
    Equip,
    ForgetTasks,
    FromWorker,
    Rebalance,
    Replicate,
    Retire,
    WorkerAlive,
    WorkerDied,
)
from distributed.testing.simulation.clock import MS
from distributed.testing.simulation.network import Connection, Tamper
from distributed.testing.simulation.plan import Fault
from distributed.testing.simulation.processes import Process
from distributed.testing.simulation.striking import strike

__all__ = ["plan_faults"]


def plan_faults(world: Any) -> int:
    """Put all faults of the plan on the clock; answers when the last one has ended, in ticks."""
    end = 0
    for fault in world.plan.faults:
        world.clock.at(fault.at, _begin, world, fault)
        end = max(end, fault.at + fault.lasts)
    return end


def _begin(world: Any, fault: Fault) -> None:
    _KINDS[fault.kind](world, fault)


def _one_of(candidates: list[Any], number: int) -> Any:
    return candidates[number % len(candidates)] if candidates else None


def _crash_worker(world: Any, fault: Fault) -> None:
    worker = _one_of([worker for worker in world.workers if worker.is_alive], fault.one)
    if worker is not None:
        world.note_fault(fault.kind, worker.name)
        worker.crash(is_silent=fault.kind == "crash silent" and worker.nanny is None)


def _crash(world: Any, fault: Fault) -> None:
    groups = {"crash scheduler": [world.scheduler], "crash client": world.clients, "crash nanny": world.nannies}
    process = _one_of([process for process in groups[fault.kind] if process.is_alive], fault.one)
    if process is not None:
        world.note_fault(fault.kind, process.name)
        process.crash()


def _leave(world: Any, fault: Fault) -> None:
    worker = _one_of([worker for worker in world.workers if worker.is_alive and not worker.is_paused], fault.one)
    if worker is not None:
        world.note_fault(fault.kind, worker.name)
        worker.leave("asked to end")


def _retire(world: Any, fault: Fault) -> None:
    worker = _one_of([worker for worker in world.workers if worker.is_alive and not worker.is_paused], fault.one)
    if worker is not None:
        world.note_fault(fault.kind, worker.name)
        worker.retire("asked to retire")


def _order(world: Any, fault: Fault) -> None:
    """An operator moves data or lets workers go; keys are what some worker holds now."""
    scheduler = world.scheduler
    if not scheduler.is_alive or scheduler.is_paused:
        return
    state = scheduler.machine.state
    held = [key for worker in state.workers.values() for key in worker.holds]
    keys = tuple(dict.fromkeys(held[fault.other % (len(held) + 1) :][:5]))
    workers = list(state.workers)
    world.note_fault(fault.kind, " ".join(keys))
    if fault.kind == "retire order":
        if workers:
            scheduler.order(Retire(fault.name, (workers[fault.one % len(workers)],), "an operator said so"))
    elif fault.kind == "rebalance":
        scheduler.order(Rebalance(fault.name))
    elif keys:
        scheduler.order(Replicate(fault.name, keys, None if fault.kind == "broadcast" else 2))


def _cancel_running(world: Any, fault: Fault) -> None:
    """Somebody cancels, with force, what runs; rather where a nanny has data to rescue."""
    places = [
        (not worker.originals(), worker.nanny is None, client, key)
        for worker in world.workers
        if worker.is_alive and not worker.is_paused
        for key in worker.executor.running_keys()
        for client in world.clients
        if client.is_alive and not client.is_paused and client.is_held(key)
    ]
    if places:
        best = min(place[:2] for place in places)
        *_, client, key = _one_of([place for place in places if place[:2] == best], fault.one)
        world.note_fault(fault.kind, f"{client.name}: {key}")
        client.cancel([key], force=True)


def _wish(world: Any, fault: Fault) -> None:
    """Somebody gives workers a plugin or takes one away, or begins anew: all is cancelled, all processes end."""
    scheduler = world.scheduler
    if not scheduler.is_alive or scheduler.is_paused:
        return
    world.note_fault(fault.kind, fault.name)
    if fault.kind == "restart":
        tasks = scheduler.machine.state.tasks
        world.cancelled.update((key, None) for key in tasks)
        scheduler.handle(ForgetTasks("somebody began anew"))
        for worker in world.workers:
            if worker.nanny is not None and worker.is_alive:
                worker.crash()
        return
    name, content = f"plugin-{fault.one % 3}", f"content {fault.other % 2}".encode()
    if fault.kind == "unplug":
        scheduler.order(Equip(fault.name, "unplug", name, b"", None, 0))
    else:
        scheduler.order(Equip(fault.name, "plugin", name, content, content, len(content)))


def _disk(world: Any, fault: Fault) -> None:
    worker = _one_of(world.workers, fault.one)
    if worker is not None:
        world.note_fault(fault.kind, worker.name)
        name = "is_full" if fault.kind == "full disk" else "is_broken"
        setattr(worker.disk, name, True)
        world.clock.after(fault.lasts, setattr, worker.disk, name, False)


def _close_scheduler(world: Any, fault: Fault) -> None:
    if world.scheduler.is_alive and not world.scheduler.is_paused:
        world.note_fault(fault.kind, "scheduler")
        world.scheduler.close("an operator said so")


def _break(world: Any, fault: Fault) -> None:
    connection = _some_connection(world, fault.one)
    if connection is not None:
        world.note_fault(fault.kind, repr(connection))
        world.network.break_connection(connection, "it broke", half_open=fault.kind == "half-open")


def _some_connection(world: Any, number: int) -> Connection | None:
    alive = [c for c in world.network.connections.values() if not c.is_cut and all(end.is_open for end in c.ends)]
    connection: Connection | None = _one_of(alive, number)
    return connection


def _partition(world: Any, fault: Fault) -> None:
    hosts = list(dict.fromkeys(process.host for process in world.processes()))
    one, other = _one_of(hosts, fault.one), _one_of(hosts, fault.other)
    if one != other:
        world.note_fault(fault.kind, f"{one} - {other}")
        world.network.partition(one, other)
        world.clock.after(fault.lasts, world.network.heal, one, other)


def _pause(world: Any, fault: Fault) -> None:
    process: Process = _one_of([process for process in world.processes() if process.is_alive], fault.one)
    if process is not None and not process.is_paused:
        process.is_frozen = bool(fault.other % 2)  # only a worker's nanny sees the difference
        world.note_fault("freeze" if process.is_frozen else fault.kind, process.name)
        process.pause()
        world.clock.after(fault.lasts, _resume, world, process, process.life)


def _resume(world: Any, process: Process, life: int) -> None:
    if process.life == life and process.is_paused:
        world.trace.note(process.name, "goes on")
        process.resume()


def _slow(world: Any, fault: Fault) -> None:
    worker = _one_of(world.workers, fault.one)
    if worker is not None:
        world.note_fault(fault.kind, worker.host)
        world.network.slow_hosts[worker.host] = 20
        worker.slowness = 4
        world.clock.after(fault.lasts, _slow_no_more, world, worker)


def _slow_no_more(world: Any, worker: Any) -> None:
    world.network.slow_hosts.pop(worker.host, None)
    worker.slowness = 1


def _tamper(world: Any, fault: Fault) -> None:
    times = 4 if fault.kind == "duplicate" else 1
    world.network.tampers += [Tamper(fault.kind, skip=fault.one % 5 + number) for number in range(times)]


def _split_workers(world: Any, fault: Fault) -> None:
    """Workers do not reach each other, but both reach the scheduler."""
    hosts = list(dict.fromkeys(worker.host for worker in world.workers if worker.host != world.scheduler.host))
    one, other = _one_of(hosts, fault.one), _one_of(hosts, fault.other)
    if one != other:
        world.note_fault(fault.kind, f"{one} - {other}")
        world.network.partition(one, other)
        for connection in list(world.network.connections.values()):
            if connection.hosts in ((one, other), (other, one)):
                world.network.break_connection(connection, "it broke")
        world.clock.after(fault.lasts, world.network.heal, one, other)


def _echo(world: Any, fault: Fault) -> None:
    """An answer of an earlier attempt comes again while its worker is at a newer one; waits for the occasion."""
    scheduler = world.scheduler
    if scheduler.is_alive and not scheduler.is_paused:
        workers = scheduler.machine.state.workers
        for address, incarnation, message in scheduler.said:
            worker = workers.get(address)
            if worker is None or worker.incarnation != incarnation or not hasattr(message, "attempts"):
                continue
            for key, attempt in zip(message.keys, message.attempts, strict=True):
                task = worker.processing.get(key)
                if task is not None and task.attempt != attempt:
                    world.note_fault(fault.kind, f"{incarnation} says {message.op} of {key} again")
                    scheduler.handle(FromWorker(address, incarnation, message))
                    return
    if not world.is_healed:
        world.clock.after(10 * MS, _echo, world, fault)


def _ghost(world: Any, fault: Fault) -> None:
    """What an ended life of a worker once said comes again, and its nanny's word, last of all that it died."""
    scheduler = world.scheduler
    if not scheduler.is_alive or scheduler.is_paused:
        return
    workers = scheduler.machine.state.workers
    living = {record.incarnation for record in workers.values()}
    said = [entry for entry in scheduler.said if entry[1] not in living]
    entry = _one_of([entry for entry in said if entry[0] in workers] or said, fault.one)  # best of a life followed on
    if entry is not None:
        world.note_fault(fault.kind, f"{entry[1]} says {entry[2].op}")
        scheduler.handle(FromWorker(*entry))
        address, incarnation, _ = entry
        scheduler.handle(WorkerAlive(address, incarnation))
        if (address, incarnation) not in scheduler.machine.state.lost:  # there the certificate would count
            scheduler.handle(WorkerDied(address, incarnation, {"cause": "signal 9", "running": []}))


_KINDS: dict[str, Callable[[Any, Fault], None]] = {
    "crash": _crash_worker,
    "crash silent": _crash_worker,
    "crash scheduler": _crash,
    "close scheduler": _close_scheduler,
    "crash client": _crash,
    "crash nanny": _crash,
    "cancel running": _cancel_running,
    "leave": _leave,
    "retire": _retire,
    "retire order": _order,
    "rebalance": _order,
    "replicate": _order,
    "broadcast": _order,
    "equip": _wish,
    "unplug": _wish,
    "restart": _wish,
    "full disk": _disk,
    "broken disk": _disk,
    "break": _break,
    "half-open": _break,
    "partition": _partition,
    "split workers": _split_workers,
    "ghost": _ghost,
    "echo": _echo,
    "pause": _pause,
    "slow": _slow,
    "lose": _tamper,
    "duplicate": _tamper,
    "reorder": _tamper,
    "strike": strike,
}
