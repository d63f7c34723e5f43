"""A few seconds of chaos; a minute of it is ``make chaos``."""

from __future__ import annotations

import subprocess
import sys


def test_a_short_chaos_gives_right_results_and_leaves_nothing() -> None:
    command = [sys.executable, "-m", "distributed.testing.chaos", "--workers", "3", "--seconds", "3", "--tasks", "1500"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1,500 of 1,500 results right" in done.stdout
    assert "kill -9" in done.stdout
    assert done.stderr == ""
