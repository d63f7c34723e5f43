"""Processes that run users' code end with whoever started them, even when that one is killed and the code hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

PUSH = """
import subprocess, sys, time
from distributed.push.process import END, frame
child = subprocess.Popen([sys.executable, "-m", "distributed.push.process", "distributed.testing.recipes:hang"],
                         stdin=subprocess.PIPE)
child.stdin.write(frame(b"x") + b"x" + END)
child.stdin.flush()
time.sleep(60)
"""
PULL = """
from distributed.pull.worker import Worker
from distributed.testing.recipes import hang
class Hanging(Worker):
    def work(self):
        hang(iter([b"x"]))
Hanging().start()
"""
MANAGER = PULL.replace("pull", "manager")


@pytest.mark.parametrize("program", [PUSH, PULL, MANAGER])
def test_a_process_whose_task_hangs_ends_when_its_parent_is_killed(program: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert parent.stderr is not None
    assert parent.stderr.readline() == b"hangs\n"
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert parent.stderr.read() == b"", "the pipe ends with the last process that has it"
    parent.stderr.close()
    assert parent.stdout is not None
    parent.stdout.close()
