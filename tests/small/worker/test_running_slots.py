"""Which task runs, kept in memory; the file that outlives its process: tests/medium/worker/test_running.py."""

from __future__ import annotations

from distributed.worker.running import Running


def test_the_slots_say_what_runs() -> None:
    running = Running(None, 3)
    running.begin(2, "b")
    running.begin(0, "a")
    assert running.keys() == ["a", "b"]
    running.begin(0, "c")
    running.end(2)
    assert running.keys() == ["c"]


def test_a_long_key_is_cut_between_characters() -> None:
    running = Running(None, 2)
    running.begin(0, "€" * 500)
    running.begin(1, "b")
    assert running.keys() == ["€" * 166, "b"]


def test_a_key_that_is_no_text_of_unicode_does_no_harm() -> None:
    running = Running(None, 1)
    running.begin(0, "a\ud800")
    assert running.keys() == ["a?"]


def test_closing_without_a_file_changes_nothing() -> None:
    running = Running(None, 1)
    running.begin(0, "a")
    running.close()
    assert running.keys() == ["a"]
