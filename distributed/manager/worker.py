"""``python -m distributed.manager.worker``: processes that ask a master for files and hash them, until none is left."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from multiprocessing.context import ForkProcess
from types import FrameType
from typing import Any

import click

from distributed import config as default_config
from distributed.comm.addresses import parse_address
from distributed.deploy.machine import cores_available
from distributed.errors import BadRequestError, ConnectTimeoutError, DistributedError, ProtocolError
from distributed.manager.asking import Master, NoMoreFiles, Pieces, WaitForTimeoutFile
from distributed.recipes.digesting import DigestFunction, digest_function

__all__ = ["Worker", "command", "main"]

WAIT_S = 30.0  # that the master may think, when others have all files that are left
REPORT_S = 1.0  # what a batch has given so far is told that often, so that its files do not time out
PATIENCE_S = 30.0  # a master that cannot be reached for so long is given up
PAUSE_S = 0.2  # before a connection is made anew
ERROR_LENGTH_MAX = 500  # characters of the reason why there is no digest
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130  # as shells expect after Ctrl-C


class Worker(ForkProcess):
    """One process that works until nothing is left; exit code 0, or 1 after a line about what is wrong.

    Args:
        worker_name: shared by the processes of one worker; masters see it with the process id behind it.
        config: an object with the settings as attributes; None: the module `distributed.config`.
        address: of the master; None: the setting ``MASTER``.
        insecure: without TLS, although the master is on another machine.
    Attributes:
        is_talkative: whether it says that it waits for the master; one of many processes is enough.
    """

    def __init__(
        self, worker_name: str = "worker", config: Any = None, address: Any = None, insecure: bool = False
    ) -> None:
        super().__init__(name=worker_name)
        self.config = default_config if config is None else config
        self._address = address
        self._insecure = insecure
        self.is_talkative = True
        self._parent = os.getpid()

    def run(self) -> None:
        """Work; ends the process."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            self.work()
        except (DistributedError, OSError) as error:
            print(f"error: {self.name}: {error}", file=sys.stderr, flush=True)
            sys.exit(EXIT_FAILED)

    def work(self) -> None:
        """Ask, hash and tell, in this process, until nothing is left.

        Raises:
            OSError: the master cannot be reached, or is gone for too long. AuthenticationError: it has another key.
            ConfigError: ``HASH_ALGORITHM`` names nothing that can be used.
        """
        digest = digest_function(self.config)
        failing_since: float | None = None
        while self._is_wanted():
            with self._connected() as master:
                try:
                    name = self._register(master)
                    while self._is_wanted():
                        self._batch(master, name, digest)
                        failing_since = None
                    return
                except NoMoreFiles:
                    return
                except (OSError, ProtocolError, BadRequestError):  # it went away, was started anew, or a file changed
                    failing_since = failing_since or time.monotonic()
                    if time.monotonic() - failing_since > PATIENCE_S:
                        raise
            time.sleep(PAUSE_S)

    def _connected(self) -> Master:
        """A connection with the master, which may not be there yet."""
        deadline = time.monotonic() + PATIENCE_S
        is_told = False
        while True:
            try:
                return Master(self._address, self.config, self._insecure)
            except ConnectTimeoutError as error:
                if time.monotonic() > deadline or not self._is_wanted():
                    raise
                if not is_told and self.is_talkative:
                    line = f"master at {error.address}: {error.reason}; trying again, for {PATIENCE_S:.0f} s in all"
                    print(line, file=sys.stderr, flush=True)
                is_told = True

    def _register(self, master: Master) -> str:
        name = f"{self.name}:{os.getpid()}"
        while not master.register(name):
            name = f"{self.name}:{os.getpid()}:{random.randrange(16**6):06x}"
        return name

    def _batch(self, master: Master, name: str, digest: DigestFunction) -> None:
        """Some files; what is known is told now and then, and in any case at the end."""
        results: dict[str, Any] = {}
        told = time.monotonic()
        try:
            files = master.get_files(name, wait_s=WAIT_S)
        except WaitForTimeoutFile:
            return
        for path, pieces in files:
            results[path] = _result(digest, pieces)
            if time.monotonic() - told > REPORT_S:
                ready, results = results, {}
                self._report(master, name, ready)
                told = time.monotonic()
        if results:
            self._report(master, name, results)

    def _report(self, master: Master, name: str, results: dict[str, Any]) -> None:
        for path, reason in master.update_file_hashes(name, results).items():
            print(f"{name}: {path!a}: refused: {reason}", file=sys.stderr, flush=True)

    def _is_wanted(self) -> bool:
        """Whether whoever started this process is still there."""
        return self._parent in (os.getpid(), os.getppid())


def main(
    worker_name: str, processes_number: int, config: Any = None, address: Any = None, insecure: bool = False
) -> int:
    """Run so many processes until nothing is left, and print ``done``; the exit code, 1 if any of them failed.

    Args:
        config, address, insecure: see `Worker`.
    """
    workers = [Worker(worker_name, config, address, insecure) for _ in range(processes_number)]

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        for worker in workers:
            worker.is_talkative = worker is workers[0]
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


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--name", default="worker", show_default=True, help="By which the master knows these processes.")
@click.option("--processes", type=click.IntRange(1), help="How many. [default: one per core]")
@click.option("--master", "address", metavar="ADDRESS", help="HOST:PORT or unix:///path. [default: 127.0.0.1:8000]")
@click.option("--insecure", is_flag=True, help="Encrypt nothing, even if the master is on another machine.")
def command(name: str, processes: int | None, address: str | None, insecure: bool) -> None:
    """Hash files of a master (python -m distributed.manager.master) until none is left.

    Exit codes: 0 when all is done, 1 if a process failed.
    """
    try:
        place = None if address is None else parse_address(address, default_config.MASTER[1])
        code = main(name, processes or cores_available(), None, place, insecure)
    except (DistributedError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        code = EXIT_FAILED
    raise SystemExit(code)


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


if __name__ == "__main__":
    command()
