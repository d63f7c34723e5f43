"""When people are told of what keeps their first calls waiting."""

from __future__ import annotations

import pytest

from distributed.crews import telling
from distributed.crews.telling import NEW_S, PAUSE_S, QUIET_S, Pace


def test_what_is_over_in_a_second_is_not_told() -> None:
    pace = Pace()
    assert not any(pace.is_due(now) for now in (10.0, 10.3, 10.0 + QUIET_S - 0.01))
    assert not pace.has_told


def test_what_takes_longer_is_told_now_and_then() -> None:
    pace = Pace()
    due = [now / 10 for now in range(0, 100) if pace.is_due(now / 10)]
    assert due == [QUIET_S, QUIET_S + PAUSE_S, QUIET_S + 2 * PAUSE_S]
    assert pace.has_told


def test_after_a_long_silence_it_is_another_thing() -> None:
    pace = Pace()
    assert not pace.is_due(0.0)
    assert pace.is_due(5.0)
    assert not pace.is_due(5.1 + NEW_S)
    assert not pace.has_told


def test_a_line_names_the_offer_and_how_much_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(telling.time, "monotonic", lambda: now)
    tell = telling.shipping("tcp://h:1")
    tell(0, 4 * 2**20)
    now = 2.0
    tell(2**20, 4 * 2**20)
    tell(2 * 2**20, 4 * 2**20)
    tell(4 * 2**20, 4 * 2**20)
    telling.building("tcp://h:2", "Collecting numpy")
    now = 4.0
    telling.building("tcp://h:2", " Installing numpy ")
    assert capsys.readouterr().err.splitlines() == [
        "distributed: the workspace goes to tcp://h:1: 1 MiB of 4 MiB",
        "distributed: the workspace goes to tcp://h:1: 4 MiB of 4 MiB",
        "distributed: tcp://h:2 makes the environment: Installing numpy",
    ]
