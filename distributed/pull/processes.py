"""What a worker that asks its master consists of: processes, each of which works until nothing is left.

Not here: how a process asks and tells, which is up to those who derive from `WorkerProcess`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.context import ForkProcess
from types import FrameType
from typing import Any, Protocol

import click

from distributed import config as default_config
from distributed.errors import DistributedError
from distributed.process.ending import EXIT_FAILED, EXIT_INTERRUPTED
from distributed.process.parents import end_with_parent
from distributed.pull.asking import Report
from distributed.recipes.digesting import DigestFunction
from distributed.recipes.naming import shown
from distributed.recipes.options import with_options

__all__ = ["WorkerProcess", "run_processes", "worker_options"]

REPORT_S = 1.0  # what a batch has given so far is told that often, so that its files do not time out
ERROR_LENGTH_MAX = 500  # characters of the reason why there is no digest


class Pieces(Iterator[bytes], Protocol):
    """The content of a file; `trouble` is why there is no more of it than there was, if it is not the end."""

    trouble: Exception | None


class WorkerProcess(ForkProcess, ABC):
    """One process that works until nothing is left; exit code 0, or 1 after a line about what is wrong.

    Args:
        worker_name: shared by the processes of one worker; masters see it with a process id behind it.
        config: an object with the settings as attributes; None: the module `distributed.config`.
    """

    def __init__(self, worker_name: str, config: Any) -> None:
        super().__init__(name=worker_name)
        self.config = default_config if config is None else config
        self._parent = os.getpid()

    def register(self, identity: str) -> None:
        """Become known to the master already in this process, if there is a way; before any process is started."""

    @abstractmethod
    def work(self) -> None:
        """Ask, hash and tell, in this process, until nothing is left."""

    def run(self) -> None:
        """Work; ends the process."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.getpid() != self._parent:
            end_with_parent(self._parent)
        try:
            self.work()
        except (DistributedError, OSError) as error:
            print(f"error: {self.name}: {error}", file=sys.stderr, flush=True)
            sys.exit(EXIT_FAILED)

    def is_wanted(self) -> bool:
        """Whether whoever started this process is still there."""
        return self._parent in (os.getpid(), os.getppid())

    def hash_files(
        self,
        digest: DigestFunction,
        files: Iterable[tuple[str, Pieces]],
        tell: Callable[[Report], dict[str, str]],
        can_tell: Callable[[], bool] = lambda: True,
    ) -> None:
        """Make the digests of a batch. What is known is told now and then, and in any case at the end.

        Args:
            tell: tells the master; what that refuses, and why.
            can_tell: whether the master can be told anything before the next file has been taken.
        """
        results: Report = {}
        told = time.monotonic()

        def report() -> None:
            nonlocal results, told
            ready, results, told = results, {}, time.monotonic()
            for path, reason in tell(ready).items():
                print(
                    f"{self.name}:{os.getpid()}: {shown(path)}: refused: {shown(reason)}", file=sys.stderr, flush=True
                )

        try:
            for path, pieces in files:
                results[path] = _result(digest, pieces)
                if time.monotonic() - told > REPORT_S and can_tell():
                    report()
        finally:
            if results:
                report()


def run_processes(worker_name: str, workers: Sequence[WorkerProcess]) -> int:
    """Run them until nothing is left, and print ``done``; the exit code: 1 if any of them failed, 130 after a signal.

    Raises what `WorkerProcess.register` raises.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        for number, worker in enumerate(workers, 1):
            worker.register(f"{worker_name}:{os.getpid()}.{number}")
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    except KeyboardInterrupt:
        for worker in workers:
            if worker.pid is not None:
                worker.terminate()
                worker.join()
        return EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    failed = [worker for worker in workers if worker.exitcode != 0]
    for worker in failed:
        print(f"error: process {worker.pid} of {worker_name} ended with {worker.exitcode}", file=sys.stderr)
    if not failed:
        print("done", flush=True)
    return EXIT_FAILED if failed else 0


def worker_options(spelling: str) -> Callable[[Any], Any]:
    """The options ``--name --processes --master --insecure`` of such a worker.

    Args:
        spelling: of the master's address.
    """
    host, port = default_config.MASTER
    return with_options(
        click.option("--name", default="worker", show_default=True, help="By which the master knows these processes."),
        click.option("--processes", type=click.IntRange(1), help="How many. [default: one per core]"),
        click.option("--master", "address", metavar="ADDRESS", help=f"{spelling}. [default: {host}:{port}]"),
        click.option("--insecure", is_flag=True, help="Encrypt nothing, even if the master is on another machine."),
    )


def _result(digest: DigestFunction, pieces: Pieces) -> str | dict[str, str]:
    """The digest; or what the task, which is the user's, has raised: others may try."""
    result: str | dict[str, str]
    try:
        result = digest(pieces)
    except Exception as error:
        result = {"error": f"{type(error).__name__}: {error}"[:ERROR_LENGTH_MAX]}
    if pieces.trouble is not None:  # then it is not the task's, and whatever it made of the beginning is worth nothing
        raise pieces.trouble
    return result
