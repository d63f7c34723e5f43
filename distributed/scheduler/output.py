"""Who hears what a task prints: the clients that want it, or what was made of it; of nested tasks those of the topmost.

A client is told so much per second at most, and of the rest how much was left out. So neither a task that prints
without end nor a client that is cut off for a while costs more than a bounded amount of memory and time.
"""

from __future__ import annotations

from distributed.allowance import Allowance
from distributed.messages import TasksPrinted
from distributed.scheduler.kit import BURST_NBYTES, RATE_NBYTES, Omitted
from distributed.scheduler.records import ClientRecord, TaskRecord, WorkerRecord
from distributed.scheduler.state import SchedulerState

__all__ = ["audience", "forget_client", "tasks_printed", "tell", "tell_omitted"]

ENTRY_NBYTES = 256  # what an entry costs beside its text; so the number of messages is bounded too
OMITTED_S = 1.0  # between two words on what was left out
DEPTH_MAX = 1_000  # ancestors looked at
FAMILY_MAX = 100  # dependents looked at


def tasks_printed(state: SchedulerState, worker: WorkerRecord, message: TasksPrinted) -> None:
    """Pass on what tasks have written; of tasks that nobody wants any more it is dropped."""
    audiences: dict[str, tuple[ClientRecord, ...]] = {}
    for key, stream, text in zip(message.keys, message.streams, message.texts, strict=True):
        clients = audiences.get(key)
        if clients is None:
            task = state.tasks.get(key)
            clients = audiences[key] = () if task is None else audience(state, task)
        for client in clients:
            tell(state, client, key, stream, text)


def audience(state: SchedulerState, task: TaskRecord) -> tuple[ClientRecord, ...]:
    """The clients that hear of `task`. Cost: bounded by `DEPTH_MAX` and `FAMILY_MAX`."""
    seen = 0
    while task.spec.parent is not None and seen < DEPTH_MAX:
        parent = state.tasks.get(task.spec.parent)
        if parent is None:
            break
        task = parent
        seen += 1
    family = [task]
    for member in family:  # which grows: nearest relatives first
        told = tuple(client for client in member.wanted_by or () if client.is_told)
        if told:
            return told
        room = FAMILY_MAX - len(family)
        family.extend([other for other in tuple(member.dependents or ())[:room] if other not in family])
    return ()


def tell(state: SchedulerState, client: ClientRecord, key: str, stream: str, text: str) -> None:
    """Tell `client`, or count what it is not told."""
    printing = state.printing
    allowance = printing.allowances.get(client)
    if allowance is None:
        allowance = printing.allowances[client] = Allowance(BURST_NBYTES, RATE_NBYTES)
    if not allowance.take(len(text) + ENTRY_NBYTES, state.now):
        omitted = printing.omitted.get(client)
        if omitted is None:
            omitted = printing.omitted[client] = Omitted(key)
            if printing.tell_at is None:
                printing.tell_at = state.now + OMITTED_S
        omitted.lines += text.count("\n")
        omitted.nbytes += len(text)
        return
    state.outbox.tell_printed(client, key, stream, text)


def tell_omitted(state: SchedulerState) -> None:
    """If it is time, tell every client what it was not told."""
    printing = state.printing
    if printing.tell_at is None or printing.tell_at > state.now:
        return
    for client, omitted in printing.omitted.items():
        text = f"... {omitted.lines:,} lines ({omitted.nbytes:,} bytes) of this and other tasks left out\n"
        state.outbox.tell_printed(client, omitted.key, "stderr", text)
    printing.omitted.clear()
    printing.tell_at = None


def forget_client(state: SchedulerState, client: ClientRecord) -> None:
    """A client is gone."""
    state.printing.allowances.pop(client, None)
    state.printing.omitted.pop(client, None)
    if not state.printing.omitted:
        state.printing.tell_at = None
