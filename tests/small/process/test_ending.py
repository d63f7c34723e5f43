"""How a process ended, for people."""

from __future__ import annotations

import pytest

from distributed.process.zygote import Ending


@pytest.mark.parametrize(
    ("exitcode", "signal", "cause"),
    [
        (0, None, "exit code 0"),
        (3, None, "exit code 3"),
        (None, 9, "signal SIGKILL"),
        (None, 11, "signal SIGSEGV"),
        (None, 40, "signal 40"),
    ],
)
def test_the_cause_is_readable(exitcode: int | None, signal: int | None, cause: str) -> None:
    assert Ending(exitcode, signal, 0).cause == cause
