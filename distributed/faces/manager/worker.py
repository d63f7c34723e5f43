"""`DistributedWorker`: the worker that users write, and the loop that runs it.

What is not here: how it reaches its manager, which is `remote` and `local`, and the thread that talks, `wiring`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from distributed.faces.manager.pace import ROUND, Pace
from distributed.faces.manager.wiring import WorkerPipe

__all__ = ["DistributedWorker", "create_worker", "run_worker"]


class DistributedWorker:
    """A process that does what its `loop` says, a slice at a time, and hears from its manager in between.

    Args:
        pipe: to the manager; subclasses with a constructor of their own hand it on, ``super().__init__(pipe)``.

    Methods run one at a time, in the main thread of the process. The manager is told that this process lives by a
    thread beside it, so a slice may take hours. It has to let go of the interpreter now and then, as Python code and
    most libraries do.
    """

    def __init__(self, pipe: WorkerPipe, *args: Any, **kwargs: Any) -> None:
        self.pipe = pipe
        self._done = False
        pipe.register()

    def loop(self) -> bool | None:
        """A slice of work; called again and again.

        Returns:
            False: there is nothing to do until a message comes. True: there is more. None (no ``return`` at all) leaves
            it to us: it is called again at once while it takes time or messages come and go, and rests in between when
            it does nothing, see `distributed.faces.manager.pace`.
        """
        return False

    def handle_msg(self, msg: Any) -> None:
        """A message from the manager, any object that can be pickled."""

    def send(self, msg: Any) -> None:
        """Send the manager any object that can be pickled; waits while it collects nothing and much is on the way.

        Raises:
            UnpicklableError: it cannot be pickled.
            CommClosedError: the manager is gone.
        """
        self.pipe.send(msg)


def create_worker(pipe: WorkerPipe, wclass: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Make a worker and run it until its manager stops it. Errors as `run_worker`, and those of its constructor."""
    run_worker(wclass(pipe, *args, **kwargs))


def run_worker(worker: Any) -> None:
    """Run a worker until its manager stops it, or it sets ``_done``.

    Raises:
        TypeError: it is no `DistributedWorker`.
        CommClosedError: the manager is gone.
        Anything its methods raise.
    """
    if not isinstance(worker, DistributedWorker):
        raise TypeError(f"a worker is an instance of a subclass of DistributedWorker, not a {type(worker).__name__}")
    pipe = getattr(worker, "pipe", None)
    if not isinstance(pipe, WorkerPipe):
        raise TypeError("the constructor of a worker has to call super().__init__(pipe)")
    clock, has_words, slice_ = time.perf_counter, pipe.has_words, worker.loop
    pace = Pace(clock())
    count = 0
    while not worker._done:
        while has_words() and not worker._done:
            _hear(worker, pipe, None)
        if worker._done:
            return
        more = slice_()
        if more is None:
            count += 1
            if count < ROUND:
                continue
            rest_s = pace.rest_s(clock(), pipe.traffic)
            if rest_s:
                _hear(worker, pipe, rest_s)
                pace.begin(clock(), pipe.traffic)
        elif not more:
            _hear(worker, pipe, WAIT_S)
        count = 0


WAIT_S = 3600.0  # for a message, when `loop` said that it has nothing to do; then it is asked again


def _hear(worker: DistributedWorker, pipe: WorkerPipe, timeout_s: float | None) -> None:
    """Take one word of the manager, if there is one within the time; None: there is."""
    word = pipe.next_word(timeout_s)
    if word is None:
        return
    if word.is_stop:
        worker._done = True
    else:
        worker.handle_msg(word.load())
