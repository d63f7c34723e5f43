"""Items: opaque payloads that places keep, their bytes counted; the futures in them are held as a client would."""

from __future__ import annotations

from distributed.messages import Payload, ReleaseKeys
from distributed.protocol.serialize import payload_nbytes
from distributed.scheduler.coordination.records import Item
from distributed.scheduler.graph import release_keys
from distributed.scheduler.lifecycle import activate
from distributed.scheduler.records import TaskState, add_want
from distributed.scheduler.state import SchedulerState

__all__ = ["drop_item", "keep_item", "make_item"]

OVERHEAD_NBYTES = 256  # of an item's records, so that millions of empty ones count as well
FRAME_NBYTES = 1024  # likewise of a frame, of which a message has room for ten thousand


def make_item(state: SchedulerState, payload: Payload, keys: list[str]) -> Item:
    """An item that nobody keeps yet."""
    frames = 0 if payload is None or type(payload) is bytes else len(payload.frames)
    nbytes = 0 if payload is None else payload_nbytes(payload)
    nbytes += sum(map(len, keys)) + FRAME_NBYTES * frames + OVERHEAD_NBYTES
    return Item(state.coordination.next_serial(), payload, tuple(dict.fromkeys(keys)), nbytes)


def keep_item(state: SchedulerState, item: Item) -> None:
    """One place, request or answer more has `item`; with the first one its keys are held."""
    item.references += 1
    if item.references > 1:
        return
    own = state.coordination
    own.nbytes += item.nbytes
    if item.keys:
        state.clients[own.holder.client] = own.holder
    for key in item.keys:
        own.held[key] = own.held.get(key, 0) + 1
        task = state.tasks.get(key)
        if task is None or key in own.holder.wanted:
            continue  # one that is not known was cancelled: whoever gets the item hears of it
        add_want(task, own.holder)
        if task.state is TaskState.RELEASED:
            activate(state, [task], "an item refers to it")


def drop_item(state: SchedulerState, item: Item) -> None:
    """One less; with the last one its keys are let go."""
    item.references -= 1
    if item.references:
        return
    own = state.coordination
    own.nbytes -= item.nbytes
    gone: list[str] = []
    for key in item.keys:
        own.held[key] -= 1
        if not own.held[key]:
            del own.held[key]
            gone.append(key)
    if gone:
        release_keys(state, own.holder, ReleaseKeys(gone))
        if not own.held:
            state.clients.pop(own.holder.client, None)
