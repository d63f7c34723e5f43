"""When dcluster ends by itself: with its scheduler, or when no worker is left; time is played."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from distributed.cli import dcluster


class Played:
    """A cluster of two hosts whose servers end at times of our choice; also the clock."""

    center_name = "scheduler"
    hosts = (("a", None), ("b", None))

    def __init__(self, ends: dict[str, tuple[float, int]]) -> None:
        self.now = 0.0
        self._ends = ends

    def ended(self) -> dict[str, int]:
        return {name: code for name, (at, code) in self._ends.items() if self.now >= at}

    def sleep(self, seconds: float) -> None:
        assert self.now < 1000, "it never ends"
        self.now += seconds


@pytest.mark.parametrize(
    ("ends", "code", "lasts_s"),
    [
        ({"scheduler": (5, 0)}, 0, 5),
        ({"scheduler": (5, 1)}, 1, 5),
        ({"a": (1, 0), "b": (1, 0), "scheduler": (3, 0)}, 0, 3),
        ({"a": (1, 0), "b": (1, 0)}, 1, 11),
        ({"a": (1, -9), "b": (7, 1), "scheduler": (500, 0)}, 1, 17),
        ({"a": (1, -9), "scheduler": (500, 0)}, 0, 500),
    ],
)
def test_it_ends_with_its_scheduler_or_some_time_after_the_last_worker(
    monkeypatch: pytest.MonkeyPatch, ends: dict[str, Any], code: int, lasts_s: float
) -> None:
    played: Any = Played(ends)
    monkeypatch.setattr(dcluster, "time", SimpleNamespace(sleep=played.sleep, monotonic=lambda: played.now))
    assert dcluster._watch(played) == code
    assert lasts_s <= played.now < lasts_s + 1
