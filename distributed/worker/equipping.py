"""The part of the worker's machine about equipment: what is being taken in, and the tasks that wait meanwhile. Pure.

Tasks that become ready while something is taken in are *held*: they have come after it, so they may need it.
"""

from __future__ import annotations

from distributed.messages import EquipmentFailed, EquipWorker, Message, WorkerEquipped
from distributed.worker.effects import DropEquipment, Equip, EquipItem, ReadyTask
from distributed.worker.events import Equipped
from distributed.worker.records import WorkerState

__all__ = ["equip", "equipped", "forget_equipment", "hold", "take_back"]


def equip(state: WorkerState, message: EquipWorker) -> Equip | None:
    """What is new in `message` is to be taken in; None: it was said twice."""
    columns = zip(message.serials, message.kinds, message.names, message.payloads, strict=True)
    items = [EquipItem(*entry) for entry in columns if entry[0] > state.equipment_serial]
    if not items:
        return None
    state.equipment_serial = items[-1].serial
    state.tickets += 1
    state.equipping[state.tickets] = [item.serial for item in items]
    return Equip(state.tickets, items)


def equipped(state: WorkerState, event: Equipped) -> tuple[list[Message], list[ReadyTask]]:
    """What to tell the scheduler, and the tasks that wait no longer; nothing if this was for an earlier scheduler."""
    serials = state.equipping.pop(event.ticket, None)
    if serials is None:
        return [], []
    taken = [serial for serial in serials if serial not in event.failures]
    failed = [serial for serial in serials if serial in event.failures]
    answers: list[Message] = []
    if taken:
        answers.append(WorkerEquipped(taken))
    if failed:
        answers.append(EquipmentFailed(failed, [event.failures[serial] for serial in failed]))
    if state.equipping:
        return answers, []
    released = list(state.held.values())
    state.held.clear()
    return answers, released


def hold(state: WorkerState, tasks: list[ReadyTask]) -> None:
    """These are ready, but for the equipment."""
    state.held.update((task.ticket, task) for task in tasks)


def take_back(state: WorkerState, ticket: int) -> bool:
    """A ready task is wanted no more: whether it was held, so that the executor does not know it."""
    return state.held.pop(ticket, None) is not None


def forget_equipment(state: WorkerState) -> DropEquipment | None:
    """The scheduler is lost: the next one begins anew. Its tasks, also those that are held, have been forgotten.

    Returns:
        None: there was nothing.
    """
    has_any, state.equipment_serial = state.equipment_serial > 0, 0
    state.equipping.clear()
    return DropEquipment() if has_any else None
