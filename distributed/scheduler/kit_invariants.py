"""What must be true between two events of equipment and of output; a part of `invariants`."""

from __future__ import annotations

from typing import NoReturn

from distributed.errors import InvariantError
from distributed.messages.equipment import UNPLUG
from distributed.scheduler.state import SchedulerState

__all__ = ["check_kit", "check_printing"]


def _broken(rule: str, where: object) -> NoReturn:
    raise InvariantError(f"{rule}: {where}")


def check_kit(state: SchedulerState) -> None:
    """Items are filed, counted, and waited for exactly while a living worker has not answered."""
    kit = state.kit
    serials = [item.serial for item in kit.items.values()]
    if serials != sorted(serials) or any(serial > kit.serial for serial in serials):
        _broken("equipment is kept in the order of its serials", serials)
    if kit.nbytes != sum(item.nbytes for item in kit.items.values()):
        _broken("the bytes of equipment are counted", kit.nbytes)
    for (kind, name), item in kit.items.items():
        if (item.kind, item.name) != (kind, name) or kind == UNPLUG:
            _broken("equipment is filed under its kind and name", name)
        if bool(item.waiting) != (kit.under_way.get(item.serial) is item):
            _broken("equipment is under way while a worker has not answered", name)
    for serial, item in kit.under_way.items():
        if item.serial != serial or not item.waiting:
            _broken("what is under way waits for somebody", item.name)
        for worker in item.waiting:
            if state.workers.get(worker.address) is not worker:
                _broken("only living workers are waited for", f"{item.name} at {worker.address}")
    for item in kit.items.values():
        if item.orders and not item.waiting:
            _broken("whoever waits for equipment waits for a worker", item.name)


def check_printing(state: SchedulerState) -> None:
    """What is remembered of output is of clients that are there, and they will be told."""
    printing = state.printing
    for client in (*printing.allowances, *printing.omitted):
        if state.clients.get(client.client) is not client:
            _broken("output is counted for clients that are there", client.client)
    if (printing.tell_at is not None) != bool(printing.omitted):
        _broken("clients are told of what was left out", printing.tell_at)
