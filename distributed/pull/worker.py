"""``python -m distributed.pull.worker``: processes that ask a master for files and hash them, until none is left."""

from __future__ import annotations

import os
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
from distributed.errors import DistributedError
from distributed.process.parents import end_with_parent
from distributed.pull.asking import TROUBLE, Master, NoMoreFiles, Pieces, Report, WaitForTimeoutFile
from distributed.recipes.digesting import DigestFunction, digest_function
from distributed.recipes.naming import shown

__all__ = ["Worker", "command", "main"]

REPORT_S = 1.0  # what a batch has given so far is told that often, so that its files do not time out
ERROR_LENGTH_MAX = 500  # characters of the reason why there is no digest
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130  # as shells expect after Ctrl-C


class Worker(ForkProcess):
    """One process that works until nothing is left; exit code 0, or 1 after a line about what is wrong.

    Args:
        worker_name: shared by the processes of one worker; masters see it with a process id behind it.
        config: an object with the settings as attributes; None: the module `distributed.config`.
        address: host and port of the master; None: the setting ``MASTER``.
        insecure: over HTTP without TLS, although the master is on another machine.
    """

    def __init__(
        self,
        worker_name: str = "worker",
        config: Any = None,
        address: tuple[str, int] | None = None,
        insecure: bool = False,
    ) -> None:
        super().__init__(name=worker_name)
        self.config = default_config if config is None else config
        self._address = address
        self._insecure = insecure
        self._parent = os.getpid()
        self._registered: str | None = None

    def register(self, identity: str) -> None:
        """Become known to the master already in this process, so that it waits for the one that will be started.

        Raises:
            MasterError: the master cannot be reached, or refuses us.
        """
        master = Master(identity, self.config, self._address, self._insecure)
        try:
            master.register()
        finally:
            master.close()
        self._registered = master.name

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

    def work(self) -> None:
        """Ask, hash and tell, in this process, until nothing is left.

        Raises:
            MasterError: the master cannot be reached, or refuses us.
            ConfigError: ``HASH_ALGORITHM`` names nothing that can be used.
        """
        digest = digest_function(self.config)
        identity = self._registered or f"{self.name}:{os.getpid()}"
        master = Master(identity, self.config, self._address, self._insecure)
        try:
            if self._registered is None:
                master.register()
            while self._is_wanted():
                try:
                    self._batch(master, digest)
                except WaitForTimeoutFile as wait:
                    if not wait.has_waited:
                        time.sleep(self.config.WORKER_WAIT_FOR_TIMEOUT_FILE_SECONDS)
                except NoMoreFiles:
                    return
                except TROUBLE as trouble:
                    master.recover(trouble)
        finally:
            master.close()

    def _batch(self, master: Master, digest: DigestFunction) -> None:
        """Some files; what is known is told now and then, and in any case at the end."""
        results: Report = {}
        told = time.monotonic()
        try:
            for path, pieces in master.get_files():
                results[path] = _result(digest, pieces)
                if time.monotonic() - told > REPORT_S and not master.is_streaming:
                    ready, results = results, {}
                    self._report(master, ready)
                    told = time.monotonic()
        finally:
            if results:
                self._report(master, results)

    def _report(self, master: Master, results: Report) -> None:
        for path, reason in master.report(results).items():
            print(f"{master.name}: {shown(path)}: refused: {shown(reason)}", file=sys.stderr, flush=True)

    def _is_wanted(self) -> bool:
        """Whether whoever started this process is still there."""
        return self._parent in (os.getpid(), os.getppid())


def main(
    worker_name: str,
    processes_number: int,
    config: Any = None,
    address: tuple[str, int] | None = None,
    insecure: bool = False,
) -> int:
    """Run so many processes until nothing is left, and print ``done``; the exit code, 1 if any of them failed.

    Args:
        config, address, insecure: see `Worker`.
    Raises:
        MasterError: the master cannot be reached, or refuses us.
        ConfigError: a setting cannot be used.
    """
    workers = [Worker(worker_name, config, address, insecure) for _ in range(processes_number)]

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


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--name", default="worker", show_default=True, help="By which the master knows these processes.")
@click.option("--processes", type=click.IntRange(1), help="How many. [default: one per core]")
@click.option("--master", "address", metavar="HOST:PORT", help="[default: 127.0.0.1:8000]")
@click.option("--insecure", is_flag=True, help="Encrypt nothing, even if the master is on another machine.")
def command(name: str, processes: int | None, address: str | None, insecure: bool) -> None:
    """Hash files of a master (python -m distributed.pull.master) until none is left.

    Exit codes: 0 when all is done, 1 if a process failed.
    """
    try:
        pair = None
        if address is not None:
            parsed = parse_address(address, default_config.MASTER[1])
            pair = (parsed.host, parsed.port)
        code = main(name, processes or cores_available(), None, pair, insecure)
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
