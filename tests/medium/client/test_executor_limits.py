"""Executor: limits of time of its calls."""

from __future__ import annotations

from typing import Any

import pytest

from distributed import Client
from distributed.errors import TaskTimeoutError

PATIENCE_S = 20.0


def turn_for_ever() -> None:
    turns = 0
    while True:
        turns += 1


def test_a_call_that_runs_longer_than_the_executor_allows_fails(background: Any) -> None:
    with Client(background.address) as client, client.get_executor(timeout=0.1) as executor:
        with pytest.raises(TaskTimeoutError, match=r"limit of 0\.1 s"):
            executor.submit(turn_for_ever).result(PATIENCE_S)
        assert executor.submit(abs, -7).result(PATIENCE_S) == 7
