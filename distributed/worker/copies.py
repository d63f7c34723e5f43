"""Copies of results of other workers: which holder to ask, how many at once, what when one fails.

Every copy is asked from one holder at a time, every peer has one fetch under way at a time. A holder that fails is not
asked again for that copy; when none is left the tasks that wait for it are given back to the scheduler.
"""

from __future__ import annotations

from collections.abc import Iterable

from distributed.worker.effects import Fetch
from distributed.worker.records import (
    CopyRecord,
    CopyState,
    TaskRecord,
    WorkerState,
    add_waiter,
    move_copy,
    queue_copy,
    remove_waiter,
    unqueue_copy,
)

__all__ = [
    "FETCHES_MAX",
    "FETCH_KEYS_MAX",
    "FETCH_NBYTES_MAX",
    "copy_failed",
    "finish_fetch",
    "forget_copies",
    "hold_copy",
    "ignore_copy",
    "start_fetches",
    "stop_waiting",
    "take_waiters",
    "wait_for_copy",
]

FETCHES_MAX = 8  # peers asked at once: enough to fill one network card, few enough that each gets a fair part of it
FETCH_NBYTES_MAX = 64 * 1024 * 1024  # one answer, unless a single key is bigger: bounds what arrives before we can act
FETCH_KEYS_MAX = 1_000  # so that many small copies neither delay each other nor make one long step of the loop


def wait_for_copy(state: WorkerState, record: TaskRecord, key: str, nbytes: int, holders: Iterable[str]) -> bool:
    """Let a task wait for a copy that is not here, joining those that wait for it already.

    Args:
        holders: addresses that may have it, the scheduler's order. Ones that failed for this copy are not tried again.
    Returns:
        False if no holder is left to ask: the caller gives the copy up (`take_waiters`) before the event ends.
    """
    copy = state.copies.get(key)
    if copy is None:
        copy = state.copies[key] = CopyRecord(key, nbytes, [])
    add_waiter(record, copy)
    known = {copy.peer, *copy.holders, *(address for _, address in copy.gone)}
    for address in holders:
        if address in known:
            continue
        known.add(address)
        if address == state.address:  # the scheduler thinks that we have it; the pair tells it otherwise
            copy.gone.append([key, address])
        else:
            copy.holders.append(address)
    return copy.state is not CopyState.NEW or _ask_next(state, copy)


def start_fetches(state: WorkerState) -> list[Fetch]:
    """Begin as many fetches as the limits allow, the peers that waited longest first."""
    started = []
    while state.waiting_peers and state.fetches < FETCHES_MAX:
        address = next(iter(state.waiting_peers))
        del state.waiting_peers[address]
        peer = state.peers[address]
        nbytes = 0
        for copy in peer.queue.values():
            if peer.fetching and (nbytes + copy.nbytes > FETCH_NBYTES_MAX or len(peer.fetching) >= FETCH_KEYS_MAX):
                break
            nbytes += copy.nbytes
            move_copy(copy, CopyState.FETCHING)
            peer.fetching[copy.key] = copy
        for key in peer.fetching:
            del peer.queue[key]
        state.fetches += 1
        started.append(Fetch(address, list(peer.fetching)))
    return started


def finish_fetch(state: WorkerState, address: str) -> list[CopyRecord]:
    """End the fetch from a peer.

    Returns:
        The copies it was to bring that are still FETCHING, in the order asked; they no longer have a peer. Empty when
        no fetch is under way there. The caller moves each of them on.
    """
    peer = state.peers.get(address)
    if peer is None or not peer.fetching:
        return []
    asked, peer.fetching = peer.fetching, {}
    peer.nbytes -= sum(copy.nbytes for copy in asked.values())
    state.fetches -= 1
    if peer.queue:
        state.waiting_peers[address] = None
    else:
        del state.peers[address]
    # Others arrived another way, or the scheduler was lost: what comes now does not concern them.
    copies = [copy for copy in asked.values() if copy.state is CopyState.FETCHING]
    for copy in copies:
        copy.peer = None
    return copies


def hold_copy(state: WorkerState, copy: CopyRecord) -> list[TaskRecord]:
    """The data of `copy` is here now.

    Returns:
        The tasks that waited for nothing else, by ticket.
    """
    if copy.state is CopyState.WANTED:
        unqueue_copy(state, copy)
    move_copy(copy, CopyState.HELD)
    copy.peer = None
    del state.copies[copy.key]
    waiters = list(copy.waiters.values())
    for record in waiters:
        remove_waiter(record, copy)
    return [record for record in waiters if record.missing is None]


def ignore_copy(state: WorkerState, copy: CopyRecord) -> None:
    """Forget a copy that was FETCHING and has no waiters."""
    assert not copy.waiters
    move_copy(copy, CopyState.FORGOTTEN)
    del state.copies[copy.key]


def copy_failed(state: WorkerState, copy: CopyRecord, address: str) -> bool:
    """The holder at `address` did not give a copy that has waiters; the next one is asked.

    Returns:
        False if no holder is left: the caller gives the copy up (`take_waiters`) before the event ends.
    """
    copy.gone.append([copy.key, address])
    return _ask_next(state, copy)


def take_waiters(state: WorkerState, lost: Iterable[CopyRecord]) -> list[tuple[TaskRecord, list[str], list[list[str]]]]:
    """Give these copies up.

    Returns:
        ``(task, missing keys, gone pairs)`` of every task that waited for one of them, by ticket. The tasks no longer
        wait for any copy; the caller forgets them.
    """
    answers: dict[int, tuple[TaskRecord, list[str], list[list[str]]]] = {}
    for copy in lost:
        move_copy(copy, CopyState.FORGOTTEN)
        del state.copies[copy.key]
        for ticket, record in copy.waiters.items():
            _, missing, gone = answers.setdefault(ticket, (record, [], []))
            missing.append(copy.key)
            gone.extend(copy.gone)
    ordered = [answers[ticket] for ticket in sorted(answers)]
    for record, _, _ in ordered:
        stop_waiting(state, record)
    return ordered


def stop_waiting(state: WorkerState, record: TaskRecord) -> None:
    """A task in WAITING no longer waits for any copy; copies nobody waits for leave their queues."""
    assert record.missing is not None
    for copy in list(record.missing.values()):
        remove_waiter(record, copy)
        if copy.state is CopyState.WANTED and not copy.waiters:
            unqueue_copy(state, copy)
            move_copy(copy, CopyState.FORGOTTEN)
            del state.copies[copy.key]


def forget_copies(state: WorkerState) -> None:
    """Forget all copies; no task waits any more, so all are FETCHING.

    Their peers remember them, in order not to be asked twice at once.
    """
    for copy in state.copies.values():
        move_copy(copy, CopyState.FORGOTTEN)
        copy.peer = None
    state.copies.clear()


def _ask_next(state: WorkerState, copy: CopyRecord) -> bool:
    """Queue `copy` at the holder with the fewest bytes to give us before; ties: the one named first."""
    if not copy.holders:
        return False
    peers = state.peers
    queue_copy(state, copy, min(copy.holders, key=lambda address: peers[address].nbytes if address in peers else 0))
    return True
