"""The bound on calls that wait: who comes too many waits until some have left."""

from __future__ import annotations

import threading

from distributed.crews.backlog import Backlog


def enters(backlog: Backlog, nbytes: int) -> threading.Thread:
    thread = threading.Thread(target=backlog.enter, args=(nbytes,), daemon=True)
    thread.start()
    return thread


def test_a_call_too_many_waits_until_another_one_is_decided(caplog) -> None:
    """D16: the Main's queue is bounded by calls and by bytes; then whoever calls waits."""
    backlog = Backlog(2, 100)
    backlog.enter(1)
    backlog.enter(1)
    waiting = enters(backlog, 1)
    while not backlog.waiting:
        threading.Event().wait(0.001)
    assert backlog.calls == 2
    backlog.leave(1)
    waiting.join(5)
    assert backlog.calls == 2
    assert [record.getMessage() for record in caplog.records if "wait for workers" in record.getMessage()]


def test_bytes_count_too_and_one_call_is_always_let_in() -> None:
    backlog = Backlog(10, 100)
    backlog.enter(1000)
    waiting = enters(backlog, 1)
    while not backlog.waiting:
        threading.Event().wait(0.001)
    backlog.leave(1000)
    waiting.join(5)
    assert (backlog.calls, backlog.nbytes) == (1, 1)
