"""Counting, bars and times of progress; what notebooks get."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from distributed.client.progress import NAMES_MAX, Progress, is_notebook
from distributed.client.records import KeyRecord, Status


def records(*keys: str) -> list[KeyRecord]:
    return [KeyRecord(key) for key in keys]


def test_tasks_are_counted_by_function() -> None:
    found = records("load-0", "load-1", "load-2", "sum-5f3a09b1c2d4e5f6", "mine")
    state = Progress(found)
    found[0].status, found[1].status, found[3].status = Status.FINISHED, Status.ERROR, Status.CANCELLED
    state.look()
    assert [(line.name, line.total, line.done, line.failed, line.gone) for line in state.lines.values()] == [
        ("load", 3, 1, 1, 0),
        ("sum", 1, 0, 0, 1),
        ("mine", 1, 0, 0, 0),
    ]
    assert not state.is_over and state.decided == 3 and state.last is found[4]
    found[2].status = found[4].status = Status.FINISHED
    state.look()
    assert state.is_over and state.text()[0] == f"load  {'█' * 30}  3/3  100%  (1 failed)"
    assert state.text()[1] == f"sum   {'█' * 30}  1/1  100%  (1 cancelled)"


def test_many_functions_share_a_line() -> None:
    state = Progress(records(*[f"{chr(97 + number % 26)}{chr(97 + number // 26)}-1" for number in range(100)]))
    assert len(state.lines) == NAMES_MAX + 1 and state.lines["others"].total == 100 - NAMES_MAX


def test_the_time_left_follows_from_what_is_done() -> None:
    found = records(*[f"f-{number}" for number in range(10)])
    state = Progress(found)
    assert state.left_s() is None and "left" not in state.text()[-1]
    for record in found[:5]:
        record.status = Status.FINISHED
    state.look()
    state.elapsed_s = 30.0
    assert state.left_s() == 30.0 and state.text()[-1] == "30 s, about 30 s left"


def test_names_are_escaped_in_notebooks() -> None:
    shown = Progress(records("<img>"))._repr_html_()
    assert "&lt;img&gt;" in shown and "<img>" not in shown


@pytest.mark.parametrize(("prompt", "answer"), [("ZMQInteractiveShell", True), ("TerminalInteractiveShell", False)])
def test_a_notebook_is_told_from_a_prompt(monkeypatch: pytest.MonkeyPatch, prompt: str, answer: bool) -> None:
    module: Any = ModuleType("IPython")
    module.get_ipython = type(prompt, (SimpleNamespace,), {})
    monkeypatch.setitem(sys.modules, "IPython", module)
    assert is_notebook() is answer


def test_a_plain_program_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not is_notebook()
