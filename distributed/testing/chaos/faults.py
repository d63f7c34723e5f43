"""What goes wrong: a thread that kills and stops workers and cuts connections, as a seed draws it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from random import Random

from distributed.testing.cutting import ProxyThread

__all__ = ["Faults"]

STOP_EVERY_S = 5.0
STOPPED_S_MAX = 8.0  # longer than the scheduler's patience with a silent worker, see `run`
CUT_EVERY_S = 2.0
SILENCE_EVERY_S = 7.0
SILENT_S = 6.0


class Faults:
    """Runs until `stop`.

    Args:
        worker_pids: the worker processes that live now.
        kill_every_s: between two kills.
        seconds: how long things go wrong; then there is peace, whatever the rest of the run is doing.
    Attributes:
        counts: faults so far, by kind.
    """

    def __init__(
        self, worker_pids: Callable[[], list[int]], proxy: ProxyThread, kill_every_s: float, seconds: float, seed: int
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._worker_pids = worker_pids
        self._proxy = proxy
        self._kill_every_s = kill_every_s
        self._seconds = seconds
        self._random = Random(seed)
        self._stopped: list[tuple[float, int]] = []  # (seconds left, pid)
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="faults")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and let every stopped process go on. Raises what went wrong in the thread."""
        self._over.set()
        self._thread.join()
        self._end()
        if self._error is not None:
            raise self._error

    def _main(self) -> None:
        step, end = 0, time.monotonic() + self._seconds
        try:
            while not self._over.wait(self._kill_every_s) and time.monotonic() < end:
                step += 1
                self._step(step)
            self._end()
        except BaseException as error:
            self._error = error

    def _step(self, step: int) -> None:
        self._let_go_on()
        pids = self._worker_pids()
        if pids and self._send(self._random.choice(pids), signal.SIGKILL):
            self.counts["kill -9"] += 1
        if self._is_time(step, STOP_EVERY_S) and pids:
            pid = self._random.choice(pids)
            if self._send(pid, signal.SIGSTOP):
                self.counts["SIGSTOP"] += 1
                self._stopped.append((self._random.uniform(1.0, STOPPED_S_MAX), pid))
        if self._is_time(step, CUT_EVERY_S) and self._proxy.cut(self._random):
            self.counts["cut connection"] += 1
        if self._is_time(step, SILENCE_EVERY_S) and self._proxy.silence(self._random, SILENT_S):
            self.counts["silent connection"] += 1

    def _end(self) -> None:
        for _, pid in self._stopped:
            self._send(pid, signal.SIGCONT)
        self._stopped.clear()

    def _is_time(self, step: int, every_s: float) -> bool:
        return step % max(1, round(every_s / self._kill_every_s)) == 0

    def _let_go_on(self) -> None:
        left = [(seconds - self._kill_every_s, pid) for seconds, pid in self._stopped]
        self._stopped = [entry for entry in left if entry[0] > 0]
        for _, pid in set(left) - set(self._stopped):
            self._send(pid, signal.SIGCONT)

    @staticmethod
    def _send(pid: int, number: int) -> bool:
        with contextlib.suppress(ProcessLookupError):  # it died of something else
            os.kill(pid, number)
            return True
        return False
