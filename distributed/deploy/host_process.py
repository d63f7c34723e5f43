"""The program's side of `distributed.deploy.host`: starts that process, talks to it, ends it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from typing import Any

from distributed.comm.same_host import prepare
from distributed.errors import WorkerStartError

__all__ = ["HostProcess"]

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
# Instead of -m: the module `runpy` takes 3 ms, and looking for garbage while importing 7 ms (`run_loop` looks again).
PROGRAM = "import gc; gc.disable(); from distributed.deploy.host import main; main()"


class HostProcess:
    """A scheduler and workers in processes of their own. Starts at once; ends at the latest with this program.

    Args:
        options: see `distributed.deploy.host`.
    Raises:
        WorkerStartError: a process did not come up.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        answer, answer_there = os.pipe()
        try:
            self._process = _start_host(answer_there)
        except BaseException:
            os.close(answer)
            raise
        finally:
            os.close(answer_there)
        self._finalizer = weakref.finalize(self, _stop_host, self._process)  # at the end of the program too
        given = {**options, "answer": answer_there, "PYTHONPATH": os.environ.get("PYTHONPATH")}
        assert self._process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it ended at once; the answer that does not come tells more
                self._process.stdin.write(json.dumps(given).encode() + b"\n")
                self._process.stdin.flush()
            prepare()  # what our own first connection will need, while it starts
            hello = json.loads(_read_line(self._process, answer, START_TIMEOUT_S))
            if "error" in hello:
                raise WorkerStartError(f"the cluster did not start: {hello['error']}")
        except BaseException:
            self.close()
            os.close(answer)
            raise
        self._answer = answer
        self._closing_answer = weakref.finalize(self, os.close, answer)
        self._asking = threading.Lock()
        self.scheduler_address: str = hello["address"]
        self.worker_addresses: list[str] = hello["workers"]

    def start_workers(self, workers: list[dict[str, Any]]) -> None:
        """Start workers with these options, and wait until the scheduler knows them.

        Raises:
            WorkerStartError: one did not come up.
        """
        assert self._process.stdin is not None
        with self._asking:
            try:
                self._process.stdin.write(json.dumps(workers).encode() + b"\n")
                self._process.stdin.flush()
            except (BrokenPipeError, ValueError):
                raise WorkerStartError("the cluster has ended") from None
            answer = json.loads(_read_line(self._process, self._answer, START_TIMEOUT_S))
        if "error" in answer:
            raise WorkerStartError(f"workers did not start: {answer['error']}")

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def close(self) -> None:
        """End all processes and wait for them. May be called twice."""
        self._finalizer()
        if hasattr(self, "_closing_answer"):
            self._closing_answer()


def _start_host(answer: int) -> subprocess.Popen[bytes]:
    """Start `distributed.deploy.host`, which finds the modules that this program finds, in the same order."""
    folders = [os.path.abspath(entry or os.curdir) for entry in sys.path]
    return subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM],
        stdin=subprocess.PIPE, pass_fds=(answer,), start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(folders))},
    )  # fmt: skip


def _stop_host(process: subprocess.Popen[bytes]) -> None:
    """End the processes of a cluster and wait for them."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended
        process.stdin.close()  # which tells it to end
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read_line(process: subprocess.Popen[bytes], descriptor: int, timeout_s: float) -> bytes:
    deadline = time.monotonic() + timeout_s
    line = b""
    poll = select.poll()  # select() takes no descriptors from 1024 on
    poll.register(descriptor, select.POLLIN)
    while not line.endswith(b"\n"):
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise WorkerStartError(f"the cluster did not start within {timeout_s:g} s")
        chunk = os.read(descriptor, 65536)
        if not chunk:
            code = process.wait()
            raise WorkerStartError(f"the process of the cluster ended, exit code {code}; see its output above")
        line += chunk
    return line
