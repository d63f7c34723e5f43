"""What the recipes leave behind on the screen."""

from __future__ import annotations

from types import SimpleNamespace

from distributed.recipes.results import lines


def test_a_reason_that_a_worker_made_up_stays_on_its_line_and_can_be_printed() -> None:
    reason = "no\nforged -> 0123\x1b[2J\ud800"
    home = SimpleNamespace(files={"a": None}, errors={"a": reason, "folder": reason}, home_dir="/h", state={})
    shown = list(lines(home))
    assert shown == [r"a -> None (no\nforged -> 0123\x1b[2J\ud800)", r"folder: no\nforged -> 0123\x1b[2J\ud800"]
