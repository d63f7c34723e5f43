"""Stories in tests/scenarios/scheduler_*.txt; run with REWRITE=1 to write what happens now, and read the diff."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distributed.testing.scenarios import Stage, run_scenario

SCENARIOS = sorted((Path(__file__).parents[2] / "scenarios").glob("scheduler_*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_story_goes_as_it_is_told(path: Path) -> None:
    told = path.read_text()
    happened = run_scenario(told)
    if os.environ.get("REWRITE"):
        path.write_text(happened)
    else:
        assert happened == told


def test_there_are_stories() -> None:
    assert SCENARIOS


def test_a_wrong_line_is_replaced_by_what_happens() -> None:
    assert run_scenario("# note\n\nclient c\nstates\n----\nwrong\n") == "# note\n\nclient c\nstates\n----\nnothing\n"


def test_comments_may_stand_between_commands(stage: Stage) -> None:
    assert stage("client c\n# nothing yet\n\nstates") == ["nothing"]


def test_an_unknown_command_is_named(stage: Stage) -> None:
    with pytest.raises(ValueError, match=r"no such command: 'dance w1'; there are added, "):
        stage("dance w1")
