"""What every worker gets before its tasks: files and plugins, kept here as opaque bytes, sent in order to each worker.

A worker that joins is sent all of it before its first task. Whoever adds something waits until every worker has
answered or is gone, and hears who could not take it in; of a worker that joins later, all clients hear it.
"""

from __future__ import annotations

from typing import Any

from distributed.errors import BadRequestError
from distributed.messages import EquipmentFailed, WorkerEquipped
from distributed.messages.equipment import PLUGIN, UNPLUG
from distributed.scheduler.effects import OrderDone
from distributed.scheduler.events import Equip
from distributed.scheduler.kit import Item
from distributed.scheduler.output import tell
from distributed.scheduler.records import WorkerRecord
from distributed.scheduler.state import SchedulerState
from distributed.units import format_nbytes

__all__ = ["equip", "equip_joined", "equipment_failed", "forget_worker", "worker_equipped"]

ITEM_NBYTES_MAX = 256 * 2**20  # a wheel of that size is no upload any more
KIT_NBYTES_MAX = 1024 * 2**20  # kept in the scheduler's memory, and sent to every worker that joins
ITEMS_MAX = 1_000


def equip(state: SchedulerState, event: Equip, now: float) -> None:
    """Give every worker something, in place of what had that name, or take a plugin away."""
    kit = state.kit
    old = kit.items.get((PLUGIN if event.kind == UNPLUG else event.kind, event.name))
    if old is not None and event.kind != UNPLUG and old.digest == event.digest and not old.failures:
        old.orders.append(event.order)
        _finish(state, old)
        return
    error = _refusal(state, event, old)
    if error is not None:
        state.effects.append(OrderDone(event.order, {}, error))
        return
    if old is not None:
        del kit.items[old.kind, old.name]
        kit.nbytes -= old.nbytes
    kit.serial += 1
    item = Item(kit.serial, event.kind, event.name, event.digest, event.payload, event.nbytes)
    item.orders.append(event.order)
    if event.kind != UNPLUG:
        kit.items[event.kind, event.name] = item
        kit.nbytes += event.nbytes
    for worker in state.workers.values():
        _send(state, item, worker)
    _finish(state, item)


def _refusal(state: SchedulerState, event: Equip, old: Item | None) -> BadRequestError | None:
    kit = state.kit
    if event.kind == UNPLUG:
        names = ", ".join(sorted(name for kind, name in kit.items if kind == PLUGIN)) or "none"
        return None if old is not None else BadRequestError(f"no plugin {event.name!r}; there are: {names}")
    total = kit.nbytes + event.nbytes - (0 if old is None else old.nbytes)
    if event.nbytes > ITEM_NBYTES_MAX:
        limit = format_nbytes(ITEM_NBYTES_MAX)
        return BadRequestError(f"{event.name} has {format_nbytes(event.nbytes)}, more than {limit}: scatter it as data")
    if total > KIT_NBYTES_MAX or (old is None and len(kit.items) >= ITEMS_MAX):
        limit = format_nbytes(KIT_NBYTES_MAX)
        return BadRequestError(f"{event.name}: this cluster's equipment would pass {limit} or {ITEMS_MAX:,} items")
    return None


def equip_joined(state: SchedulerState, worker: WorkerRecord) -> None:
    """`worker` has just joined: it gets everything."""
    for item in state.kit.items.values():
        _send(state, item, worker)


def worker_equipped(state: SchedulerState, worker: WorkerRecord, message: WorkerEquipped) -> None:
    """`worker` has taken these in; what it was not asked for, or has answered, is no error."""
    for serial in message.serials:
        item = state.kit.under_way.get(serial)
        if item is not None and worker in item.waiting:
            del item.waiting[worker]
            _finish(state, item)


def equipment_failed(state: SchedulerState, worker: WorkerRecord, message: EquipmentFailed) -> None:
    """`worker` goes on without these."""
    for serial, failure in zip(message.serials, message.failures, strict=True):
        item = state.kit.under_way.get(serial)
        if item is None or worker not in item.waiting:
            continue
        del item.waiting[worker]
        item.failures[worker.address] = failure
        if not item.orders:
            text = f"this worker goes on without {item.kind} {item.name}: {failure[0]}: {failure[1]}\n"
            for client in [client for client in state.clients.values() if client.is_told]:
                tell(state, client, worker.address, "stderr", text)
        _finish(state, item)


def forget_worker(state: SchedulerState, worker: WorkerRecord) -> None:
    """`worker` is gone: nobody waits for its answers."""
    for item in state.kit.items.values():
        item.failures.pop(worker.address, None)
    for item in list(state.kit.under_way.values()):
        if worker in item.waiting:
            del item.waiting[worker]
            _finish(state, item)


def _send(state: SchedulerState, item: Item, worker: WorkerRecord) -> None:
    item.waiting[worker] = None
    state.kit.under_way[item.serial] = item
    state.outbox.equip.setdefault(worker, []).append(item)


def _finish(state: SchedulerState, item: Item) -> None:
    """Answer whoever waits for `item`, if every worker has."""
    if item.waiting:
        return
    state.kit.under_way.pop(item.serial, None)
    result: dict[str, Any] = {"failures": dict(item.failures)}
    state.effects.extend(OrderDone(order, result, None) for order in item.orders)
    item.orders.clear()
