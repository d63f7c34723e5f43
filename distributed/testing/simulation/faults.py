"""What goes wrong in a simulation: each fault of the plan, done at its time and ended after its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distributed.testing.simulation.network import Connection, Tamper
from distributed.testing.simulation.plan import Fault
from distributed.testing.simulation.processes import Process

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
        world.note_fault(fault.kind, process.name)
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
    world.network.tampers.append(Tamper(fault.kind, skip=fault.one % 5))


_KINDS: dict[str, Callable[[Any, Fault], None]] = {
    "crash": _crash_worker,
    "crash silent": _crash_worker,
    "crash scheduler": _crash,
    "close scheduler": _close_scheduler,
    "crash client": _crash,
    "crash nanny": _crash,
    "leave": _leave,
    "break": _break,
    "half-open": _break,
    "partition": _partition,
    "pause": _pause,
    "slow": _slow,
    "lose": _tamper,
    "duplicate": _tamper,
    "reorder": _tamper,
}
