"""`setup` and `teardown`: when a Main is made, of which settings, and what a second one would be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distributed import distributed, setup, teardown
from distributed.crews import main as crews_main
from distributed.crews import processes as crews_processes
from distributed.crews.options import MainSettings
from distributed.errors import ConfigError, SetupError
from distributed.faces.decorator import starting


@pytest.fixture
def made(near_main: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[MainSettings]]:
    """The settings of each Main that was made, in order."""
    told: list[MainSettings] = []

    def make(settings: MainSettings, processes: str | None) -> Any:
        told.append(settings)
        near_main.processes = processes
        return near_main

    monkeypatch.setattr(crews_main, "Main", make)
    monkeypatch.setattr(crews_processes, "Processes", lambda settings: "started")
    for variable in ("DISTRIBUTED_CONFIG", "DISTRIBUTED_WORKERS", "DISTRIBUTED_SCHEDULER_ADDRESS"):
        monkeypatch.delenv(variable, raising=False)
    yield told
    teardown()


@distributed
def double(value: int) -> int:
    return 2 * value


@distributed
def set_up_again() -> None:
    setup(ident="nobody")


def test_a_file_a_dict_or_keywords_make_the_main(made: list[MainSettings], tmp_path: Path) -> None:
    """D05: setup("config.json"), setup(dict), setup(**keywords), and the environment."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"ident": "awoo", "main": {"workers": ["a:1"]}, "worker": {}}))
    setup(str(path))
    teardown()
    setup({"ident": "awoo", "workers": ["a:1"]})
    teardown()
    setup(ident="awoo", workers=["a:1"])
    assert made == [MainSettings(ident="awoo", workers=("a:1",))] * 3
    assert double(4).unwrap() == 8
    assert len(made) == 3


def test_the_environment_names_a_configuration(
    made: list[MainSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.json").write_text('{"ident": "from a file", "threads": 2}')
    monkeypatch.setenv("DISTRIBUTED_CONFIG", str(tmp_path / "c.json"))
    monkeypatch.setenv("DISTRIBUTED_WORKERS", "a:1,b:2")
    assert double(1).unwrap() == 2
    assert made == [MainSettings(ident="from a file", threads=2, workers=("a:1", "b:2"))]


def test_the_first_call_makes_the_main_and_later_ones_use_it(made: list[MainSettings]) -> None:
    assert [double(value).unwrap() for value in range(3)] == [0, 2, 4]
    assert made == [MainSettings()]


def test_a_first_call_starts_processes_at_once_and_setup_does_not(made: list[MainSettings], near_main: Any) -> None:
    setup(ident="awoo")
    assert near_main.processes is None
    teardown()
    assert double(1).unwrap() == 2
    assert near_main.processes == "started"


def test_the_same_settings_again_are_no_news_and_others_come_too_late(made: list[MainSettings]) -> None:
    setup(ident="one")
    setup(ident="one")
    with pytest.raises(SetupError, match="another ident"):
        setup(ident="two")
    teardown()
    setup(ident="two")
    assert [settings.ident for settings in made] == ["one", "two"]


def test_settings_after_the_first_call_come_too_late(made: list[MainSettings]) -> None:
    double(1).unwrap()
    with pytest.raises(SetupError, match=r"call setup\(\) once, before the first call"):
        setup(workers=["a:1"])
    assert double(2).unwrap() == 4


def test_a_refused_configuration_changes_nothing(made: list[MainSettings], tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    for config, text in (
        (bad, "is not JSON"),
        (tmp_path / "none.json", "cannot be read"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=text):
            setup(config)
    assert made == []


def test_a_worker_does_not_set_up(made: list[MainSettings]) -> None:
    setup(ident="main")
    assert set_up_again().unwrap() is None
    assert [settings.ident for settings in made] == ["main"]


def test_teardown_may_be_called_at_any_time(made: list[MainSettings]) -> None:
    teardown()
    setup()
    teardown()
    teardown()
    assert len(made) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_no_main_of_its_parents(made: list[MainSettings]) -> None:
    setup(ident="parent")
    pid = os.fork()
    if pid == 0:
        os._exit(0 if starting._main is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert starting._main is not None
