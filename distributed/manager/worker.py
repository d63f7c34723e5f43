"""``python -m distributed.manager.worker``: processes that ask a master for files and hash them, until none is left."""

from __future__ import annotations

import os
import random
import sys
import time
from typing import Any

import click

from distributed import config as default_config
from distributed.comm.addresses import parse_address
from distributed.deploy.machine import cores_available
from distributed.errors import BadRequestError, ConnectTimeoutError, NoMoreFiles, ProtocolError, WaitForTimeoutFile
from distributed.manager.asking import Master
from distributed.process.ending import guarded
from distributed.pull.asking import Report
from distributed.pull.processes import WorkerProcess, run_processes, worker_options
from distributed.recipes.digesting import DigestFunction, digest_function

__all__ = ["Worker", "command", "main"]

WAIT_S = 30.0  # that the master may think, when others have all files that are left
PATIENCE_S = 30.0  # a master that cannot be reached for so long is given up
PAUSE_S = 0.2  # before a connection is made anew


class Worker(WorkerProcess):
    """One process of a worker over our own wire.

    Args:
        worker_name, config: see `WorkerProcess`.
        address: of the master; None: the setting ``MASTER``.
        insecure: without TLS, although the master is on another machine.
    Attributes:
        is_talkative: whether it says that it waits for the master; one of many processes is enough.
    """

    def __init__(
        self, worker_name: str = "worker", config: Any = None, address: Any = None, insecure: bool = False
    ) -> None:
        super().__init__(worker_name, config)
        self._address = address
        self._insecure = insecure
        self.is_talkative = True

    def work(self) -> None:
        """Ask, hash and tell, in this process, until nothing is left.

        Raises:
            OSError: the master cannot be reached, or is gone for too long. AuthenticationError: it has another key.
            ConfigError: ``HASH_ALGORITHM`` names nothing that can be used.
        """
        digest = digest_function(self.config)
        failing_since: float | None = None
        while self.is_wanted():
            with self._connected() as master:
                try:
                    name = self._register_at(master)
                    while self.is_wanted():
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
                if time.monotonic() > deadline or not self.is_wanted():
                    raise
                if not is_told and self.is_talkative:
                    line = f"master at {error.address}: {error.reason}; trying again, for {PATIENCE_S:.0f} s in all"
                    print(line, file=sys.stderr, flush=True)
                is_told = True

    def _register_at(self, master: Master) -> str:
        name = f"{self.name}:{os.getpid()}"
        while not master.register(name):
            name = f"{self.name}:{os.getpid()}:{random.randrange(16**6):06x}"
        return name

    def _batch(self, master: Master, name: str, digest: DigestFunction) -> None:
        def tell(results: Report) -> dict[str, str]:
            return master.update_file_hashes(name, results)

        try:
            files = master.get_files(name, wait_s=WAIT_S)
        except WaitForTimeoutFile:
            return
        self.hash_files(digest, files, tell)


def main(
    worker_name: str, processes_number: int, config: Any = None, address: Any = None, insecure: bool = False
) -> int:
    """Run so many processes until nothing is left, and print ``done``; the exit code, 1 if any of them failed.

    Args:
        config, address, insecure: see `Worker`.
    """
    workers = [Worker(worker_name, config, address, insecure) for _ in range(processes_number)]
    for worker in workers[1:]:
        worker.is_talkative = False
    return run_processes(worker_name, workers)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@worker_options("HOST:PORT or unix:///path")
def command(name: str, processes: int | None, address: str | None, insecure: bool) -> None:
    """Hash files of a master (python -m distributed.manager.master) until none is left.

    Exit codes: 0 when all is done, 1 if a process failed.
    """

    def work() -> int:
        place = None if address is None else parse_address(address, default_config.MASTER[1])
        return main(name, processes or cores_available(), None, place, insecure)

    guarded(work)


if __name__ == "__main__":
    command()
