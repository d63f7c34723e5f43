"""Copies of results of other workers: which holder to ask, how many at once, what when one fails.

Every copy is asked from one holder at a time, every peer has one fetch under way at a time. A holder that fails is not
asked again for that copy; when none is left the tasks that wait for it are given back to the scheduler. One that is
busy rests for a while, longer each time: meanwhile another one is asked, and when all are busy, the scheduler, who may
know of new ones. So data that everybody wants spreads like a tree, though nobody plans it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from distributed.worker.effects import Fetch
from distributed.worker.records import (
    CopyRecord,
    CopyState,
    PeerRecord,
    TaskRecord,
    WorkerState,
    add_waiter,
    move_copy,
    queue_copy,
    remove_waiter,
    rest_peer,
    unqueue_copy,
    update_peer,
)

__all__ = [
    "BIG_NBYTES",
    "FETCHES_MAX",
    "FETCH_KEYS_MAX",
    "FETCH_NBYTES_MAX",
    "REFUSALS_MAX",
    "add_holders",
    "cancel_order",
    "copy_failed",
    "end_rests",
    "finish_fetch",
    "forget_copies",
    "hold_copy",
    "next_wakeup",
    "order_copy",
    "peer_is_busy",
    "start_fetches",
    "stop_waiting",
    "take_waiters",
    "wait_for_copy",
]

FETCHES_MAX = 8  # peers asked at once: enough to fill one network card, few enough that each gets a fair part of it
FETCH_NBYTES_MAX = 64 * 1024 * 1024  # one answer, unless a single key is bigger: bounds what arrives before we can act
BIG_NBYTES = 1024 * 1024  # data whose way matters more than the question for it
PAUSE_S, PAUSE_S_MAX = 0.05, 2.0  # a busy peer is asked again after the first, twice that, ... the second
REFUSALS_MAX = 40  # over a minute: its holder is as good as none
FETCH_KEYS_MAX = 1_000  # so that many small copies neither delay each other nor make one long step of the loop


def wait_for_copy(state: WorkerState, record: TaskRecord, key: str, nbytes: int, holders: Iterable[str]) -> bool:
    """Let a task wait for a copy that is not here, joining those that wait for it already.

    Args:
        holders: addresses that may have it, the scheduler's order. Ones that failed for this copy are not tried again.
    Returns:
        False if no holder is left to ask: the caller gives the copy up (`take_waiters`) before the event ends.
    """
    copy = _copy_of(state, key, nbytes)
    add_waiter(record, copy)
    _name_holders(state, copy, holders)
    return copy.state is not CopyState.NEW or _ask_next(state, copy)


def order_copy(state: WorkerState, key: str, nbytes: int, holders: Iterable[str]) -> bool:
    """The scheduler wants a copy here that is not here. Arguments and answer as for `wait_for_copy`."""
    copy = _copy_of(state, key, nbytes)
    copy.ordered = True
    _name_holders(state, copy, holders)
    return copy.state is not CopyState.NEW or _ask_next(state, copy)


def cancel_order(state: WorkerState, key: str) -> bool:
    """The scheduler does not wait for this copy any more; whether it did."""
    copy = state.copies.get(key)
    if copy is None or not copy.ordered:
        return False
    copy.ordered = False
    _forget_unwanted(state, copy)
    return True


def add_holders(state: WorkerState, key: str, holders: Iterable[str]) -> None:
    """These hold `key` too: one of them is asked if the one that would be asked next is busy. Unknown keys are none."""
    copy = state.copies.get(key)
    if copy is None:
        return
    _name_holders(state, copy, holders)
    if copy.state is CopyState.WANTED and copy.peer in state.resting_peers:
        copy.holders.append(copy.peer)
        unqueue_copy(state, copy)
        _ask_next(state, copy)


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
    if peer.resume_at is None:
        peer.refusals = 0
    update_peer(state, peer)
    # Others arrived another way, or nobody waits for them any more: what comes now does not concern them.
    copies = [copy for copy in asked.values() if copy.state is CopyState.FETCHING]
    for copy in copies:
        copy.peer = None
    return copies


def peer_is_busy(state: WorkerState, address: str, now: float) -> tuple[list[CopyRecord], list[str]]:
    """The peer at `address` refused the fetch that runs there: it rests, and others are asked.

    Returns:
        Copies without a holder left to ask, to be given up; and keys all of whose holders rest.
    """
    peer = state.peers.get(address)
    if peer is None or not peer.fetching:
        return [], []
    peer.refusals += 1
    rest_peer(state, peer, now + _pause_s(state, peer))
    lost, all_busy = [], []
    for copy in finish_fetch(state, address):
        (copy.holders if peer.refusals < REFUSALS_MAX else copy.refused).append(address)
        if not _ask_next(state, copy):
            lost.append(copy)
        elif copy.peer in state.resting_peers:
            all_busy.append(copy.key)
    return lost, all_busy


def end_rests(state: WorkerState, now: float) -> None:
    """Peers that have rested long enough may be asked again."""
    for address in list(state.resting_peers):
        peer = state.peers[address]
        if peer.resume_at is not None and peer.resume_at <= now:
            rest_peer(state, peer, None)


def next_wakeup(state: WorkerState) -> float | None:
    """When `end_rests` has something to do."""
    if not state.resting_peers:
        return None
    return min(state.peers[address].resume_at or 0.0 for address in state.resting_peers)


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


def copy_failed(state: WorkerState, copy: CopyRecord, address: str) -> bool:
    """The holder at `address` did not give a copy that is wanted; the next one is asked.

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
        _forget_unwanted(state, copy)


def forget_copies(state: WorkerState) -> None:
    """Forget all copies; no task waits any more.

    Peers remember those that are FETCHING, in order not to be asked twice at once.
    """
    for copy in state.copies.values():
        copy.ordered = False
        if copy.state is CopyState.WANTED:
            unqueue_copy(state, copy)
        move_copy(copy, CopyState.FORGOTTEN)
        copy.peer = None
    state.copies.clear()


def _copy_of(state: WorkerState, key: str, nbytes: int) -> CopyRecord:
    copy = state.copies.get(key)
    if copy is None:
        copy = state.copies[key] = CopyRecord(key, nbytes, [])
    return copy


def _name_holders(state: WorkerState, copy: CopyRecord, holders: Iterable[str]) -> None:
    known = {copy.peer, *copy.holders, *copy.refused, *(address for _, address in copy.gone)}
    for address in holders:
        if address in known:
            continue
        known.add(address)
        if address == state.address:  # the scheduler thinks that we have it; the pair tells it otherwise
            copy.gone.append([copy.key, address])
        else:
            copy.holders.append(address)


def _forget_unwanted(state: WorkerState, copy: CopyRecord) -> None:
    """What nobody waits for leaves its queue; if it is under way it is ignored when it comes.

    Whoever wants its key later asks anew: by then it may name other data.
    """
    if copy.is_wanted or copy.state not in (CopyState.WANTED, CopyState.FETCHING):
        return
    if copy.state is CopyState.WANTED:
        unqueue_copy(state, copy)
    copy.peer = None
    move_copy(copy, CopyState.FORGOTTEN)
    del state.copies[copy.key]


def _ask_next(state: WorkerState, copy: CopyRecord) -> bool:
    """Queue `copy` at the holder that can give it soonest.

    That is one that does not rest, or else rests the shortest; then the one with the fewest bytes to give us before;
    then, if the copy is big, by a hash of both addresses, so that those who want it at the same time ask different
    holders; then the one named first.
    """
    if not copy.holders:
        return False

    def delay(address: str) -> tuple[float, int, int]:
        peer = state.peers.get(address)
        spread = _hash(state.address, address) if copy.nbytes >= BIG_NBYTES else 0
        return (0.0, 0, spread) if peer is None else (peer.resume_at or 0.0, peer.nbytes, spread)

    queue_copy(state, copy, min(copy.holders, key=delay))
    return True


def _pause_s(state: WorkerState, peer: PeerRecord) -> float:
    """Longer with every refusal, and up to half as long again by a hash: those refused do not all return at once."""
    pause_s = min(PAUSE_S_MAX, PAUSE_S * 2.0 ** min(peer.refusals - 1, 10))
    return pause_s * (1 + _hash(state.address, peer.address, str(peer.refusals)) / 2**33)


def _hash(*names: str) -> int:
    """32 bits, the same in every process."""
    return zlib.crc32(" ".join(names).encode())
