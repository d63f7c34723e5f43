"""What tasks have written, in lines and bounded."""

from __future__ import annotations

from distributed.worker.printing import (
    KEY_BURST,
    KEY_RATE,
    KEYS_MAX,
    LINE_COST,
    LINE_LENGTH_MAX,
    WORKER_BURST,
    Lines,
)


def test_a_line_is_told_when_it_ends():
    lines = Lines()
    assert lines.write("k", "stdout", "a", 0.0) == []
    assert lines.write("k", "stdout", "b\nc", 0.0) == ["ab\n"]
    assert lines.take(0.0) == [("k", "stdout", "ab\n")]
    assert lines.take(0.0) == []
    lines.write("k", "stdout", "\n", 0.0)
    assert lines.take(0.0) == [("k", "stdout", "c\n")]


def test_lines_of_streams_and_tasks_are_told_apart_and_in_order():
    lines = Lines()
    lines.write("k", "stdout", "1", 0.0)
    lines.write("other", "stdout", "2\n", 0.0)
    lines.write("k", "stderr", "3\n", 0.0)
    lines.write("k", "stderr", "4\n", 0.0)
    lines.write("k", "stdout", "5\n", 0.0)
    assert lines.take(0.0) == [("other", "stdout", "2\n"), ("k", "stderr", "3\n4\n"), ("k", "stdout", "15\n")]


def test_what_a_task_has_begun_is_complete_when_it_ends():
    lines = Lines()
    lines.write("k", "stdout", "a", 0.0)
    lines.write("other", "stdout", "b", 0.0)
    lines.end(["k"], 0.0)
    assert lines.take(0.0) == [("k", "stdout", "a\n")]
    assert lines.take(0.0, is_last=True) == [("other", "stdout", "b\n")]
    assert not lines.has_any


def test_a_line_without_end_is_told_in_pieces():
    lines = Lines()
    told = [piece for _ in range(100) for piece in lines.write("k", "stdout", "x" * 1000, 0.0)]
    assert max(map(len, told)) <= LINE_LENGTH_MAX + 1_001
    assert sum(map(len, lines.begun.values())) <= LINE_LENGTH_MAX
    (piece, *_) = lines.write("j", "stdout", "y" * (3 * LINE_LENGTH_MAX) + "\n", 0.0)
    assert len(piece) == LINE_LENGTH_MAX + 1


def test_a_task_without_end_is_held_to_its_own_bound_and_others_are_not():
    lines = Lines()
    for _ in range(5_000):
        lines.write("endless", "stdout", "x" * 99 + "\n", 0.0)
    assert lines.write("innocent", "stdout", "here\n", 0.0) == ["here\n"]
    (told, innocent, left_out) = lines.take(0.0)
    assert len(told[2]) == -(-KEY_BURST // 100) * 100
    assert innocent == ("innocent", "stdout", "here\n")
    omitted = 5_000 - len(told[2]) // 100
    assert left_out == ("endless", "stderr", f"... {omitted:,} lines ({omitted * 100:,} bytes) of endless left out\n")


def test_what_was_left_out_is_told_once_a_second():
    lines = Lines()
    for _ in range(3_000):
        lines.write("k", "stdout", "x" * 99 + "\n", 0.0)
    assert lines.take(0.0)[-1][1] == "stderr"
    for _ in range(3_000):
        lines.write("k", "stdout", "x" * 99 + "\n", 0.5)
    assert [stream for _, stream, _ in lines.take(0.5)] == ["stdout"]  # what has come back meanwhile
    assert lines.omitted
    assert [stream for _, stream, _ in lines.take(1.0)] == ["stderr"]
    assert not lines.omitted


def test_a_task_goes_on_at_its_rate():
    lines = Lines()
    while lines.write("k", "stdout", "x" * 999 + "\n", 0.0):
        assert lines.has_any
    lines.take(0.0)
    written = sum(len(lines.write("k", "stdout", "x" * 999 + "\n", 4.0)) for _ in range(1_000))
    assert abs(written - 4 * KEY_RATE / 1000) <= 2


def test_all_tasks_of_a_worker_are_held_to_one_bound():
    lines = Lines()
    told = sum(bool(lines.write(f"k{n}", "stdout", "x" * 999 + "\n", 0.0)) for n in range(5_000))
    assert told == -(-WORKER_BURST // 1000)


def test_short_lines_count_for_what_they_cost():
    lines = Lines()
    told = sum(len(lines.write("k", "stdout", "\n", 0.0)) for _ in range(10_000))
    assert told == KEY_BURST // LINE_COST


def test_nothing_grows_with_the_number_of_noisy_tasks():
    lines = Lines()
    for number in range(3 * KEYS_MAX):
        lines.write(f"k{number}", "stdout", "x" * 2_000 + "\n", 0.0)
        lines.write(f"k{number}", "stdout", "begun", 0.0)
    assert len(lines.omitted) <= KEYS_MAX
    assert len(lines.begun) <= KEYS_MAX
    assert len(lines._by_key) <= KEYS_MAX


def test_of_a_progress_bar_the_last_state_is_told():
    lines = Lines()
    for number in range(10_000):
        assert lines.write("k", "stderr", f"\r{number:>50}", 0.0) == []
    lines.write("k", "stderr", "\n", 0.0)
    assert lines.take(0.0) == [("k", "stderr", f"{9_999:>50}\n")]
    lines.write("k", "stderr", "a\rb\nc\r\nd\re", 0.0)
    assert lines.take(0.0, is_last=True) == [("k", "stderr", "b\nc\r\ne\n")]
