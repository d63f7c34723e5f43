"""Work that several threads ask for is done once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from distributed.worker.once import Once


def test_who_asks_meanwhile_gets_the_same_result() -> None:
    once: Once[list[str]] = Once()
    begun, may_end = threading.Event(), threading.Event()

    def make(key: str) -> list[str]:
        begun.set()
        assert may_end.wait(10)
        return [key]

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(once.get, "k", make)
        assert begun.wait(10)
        second = threads.submit(once.get, "k", lambda key: ["made again"])
        assert once.get("other", lambda key: [key]) == ["other"]  # which waits for nobody
        while not _waits(once, "k"):
            assert not second.done()
        may_end.set()
        assert first.result(10) is second.result(10)


def test_an_error_is_everybodys_and_nothing_is_kept() -> None:
    once: Once[int] = Once()

    def fail(key: str) -> int:
        raise KeyError(key)

    with pytest.raises(KeyError):
        once.get("k", fail)
    assert once.get("k", lambda key: 5) == 5


def _waits(once: Once[list[str]], key: str) -> bool:
    """Whether a second thread waits for the one that makes `key`."""
    future = once._underway[key]
    return bool(future._condition._waiters)  # type: ignore[attr-defined]
