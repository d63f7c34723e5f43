"""The line that tells how far a master is."""

from __future__ import annotations

import pytest

from distributed.recipes import progress
from distributed.recipes.progress import ProgressLine, line_of, say


@pytest.mark.parametrize(
    ("state", "seconds", "line"),
    [
        ({"total": 3, "finished": 0}, 5.0, "[........................] 0 of 3 files, 0:05"),
        (
            {"total": 4000, "finished": 1000, "failed": 1000},
            61.0,
            "[############............] 2,000 of 4,000 files, 1,000 failed, 1:01, 33 files/s, 1:01 left",
        ),
        ({"total": 2, "finished": 2}, 3700.0, "[########################] 2 of 2 files, 1:01:40"),
        ({"total": 0, "finished": 0}, 0.0, "[........................] 0 of 0 files, 0:00"),
    ],
)
def test_a_line_tells_counts_speed_and_what_is_left(state: dict[str, int], seconds: float, line: str) -> None:
    assert line_of(state, seconds) == line


def test_nothing_is_drawn_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    ProgressLine().draw({"total": 1, "finished": 0})
    say("told")
    ProgressLine().erase()
    assert capsys.readouterr() == ("told\n", "")


def test_what_is_said_replaces_the_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "is_terminal", lambda: True)
    ProgressLine().draw({"total": 1, "finished": 0})
    say("told")
    said = capsys.readouterr()
    assert said.out == "told\n"
    assert said.err == f"{progress.ERASE}[........................] 0 of 1 files, 0:00{progress.ERASE}"
