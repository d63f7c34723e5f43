"""The log of transitions: what it remembers, and that it stays small."""

from __future__ import annotations

from typing import Any

from distributed.scheduler.history import ENTRIES_MAX, KEYS_MAX, History
from distributed.scheduler.records import TaskState

READY, PROCESSING = TaskState.READY, TaskState.PROCESSING


def test_single_steps_and_batches_are_told_alike() -> None:
    history = History()
    history.append_batch(["a", "b"], READY, PROCESSING, "w", 1.0)
    history.append(("b", PROCESSING, READY, "because", 2.0))
    assert history.of("b") == [("b", READY, PROCESSING, "w", 1.0), ("b", PROCESSING, READY, "because", 2.0)]
    assert [step[0] for step in history.after(0)] == ["a", "b", "b"]
    assert [step[0] for step in history.after(1)] == ["b"] and len(history) == 2


def test_a_key_is_no_part_of_another() -> None:
    history = History()
    history.append(("abc", READY, PROCESSING, "w", 1.0))
    assert history.of("b") == []


def test_one_that_is_watched_is_bounded_too() -> None:
    history, news = History(), []
    history.watch(lambda: news.extend(history.take_news()))
    for number in range(ENTRIES_MAX + 10):
        history.append((f"k{number}", READY, PROCESSING, "w", 1.0))
    assert len(history) == ENTRIES_MAX and history.of("k9") == [] and history.of("k10")
    assert len(news) == ENTRIES_MAX + 10 and history.take_news() == []


def test_both_kinds_are_bounded() -> None:
    history: Any = History()
    for number in range(ENTRIES_MAX + 10):
        history.append((f"k{number}", READY, PROCESSING, "w", 1.0))
    assert history.is_full and history.of("k9") == [] and history.of("k10")
    for number in range(50):
        history.append_batch([f"b{number}-{index}" for index in range(KEYS_MAX // 10)], READY, PROCESSING, "w", 1.0)
    assert sum(1 for step in history.after(0)) <= 2 * KEYS_MAX + ENTRIES_MAX
    assert history.of("b49-0") and not history.of("b0-0")
    history.append_batch(["big"] * (5 * KEYS_MAX), READY, PROCESSING, "w", 1.0)
    assert history.of("big") and len(history) == 1
    history.clear()
    assert len(history) == 0
