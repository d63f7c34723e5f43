"""``python -m distributed.pull.worker``: processes that ask a master for files and hash them, until none is left."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from distributed import config as default_config
from distributed.comm.addresses import parse_address
from distributed.deploy.machine import cores_available
from distributed.errors import AddressError, NoMoreFiles, WaitForTimeoutFile
from distributed.process.ending import guarded
from distributed.pull.asking import TROUBLE, Master
from distributed.pull.processes import WorkerProcess, run_processes, worker_options
from distributed.recipes.digesting import digest_function

__all__ = ["Worker", "command", "main"]


class Worker(WorkerProcess):
    """One process of a worker over HTTP.

    Args:
        worker_name, config: see `WorkerProcess`.
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
        super().__init__(worker_name, config)
        self._address = address
        self._insecure = insecure
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
            while self.is_wanted():
                try:
                    self.hash_files(digest, master.get_files(), master.report, lambda: not master.is_streaming)
                except WaitForTimeoutFile as wait:
                    if not wait.has_waited:
                        time.sleep(self.config.WORKER_WAIT_FOR_TIMEOUT_FILE_SECONDS)
                except NoMoreFiles:
                    return
                except TROUBLE as trouble:
                    master.recover(trouble)
        finally:
            master.close()


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
    return run_processes(worker_name, workers)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@worker_options("HOST:PORT")
def command(name: str, processes: int | None, address: str | None, insecure: bool) -> None:
    """Hash files of a master (python -m distributed.pull.master) until none is left.

    Exit codes: 0 when all is done, 1 if a process failed.
    """

    def work() -> int:
        place = None if address is None else parse_address(address, default_config.MASTER[1])
        if place is not None and place.scheme != "tcp":
            raise AddressError(address, "write HOST:PORT")
        pair = None if place is None else (place.host, place.port)
        return main(name, processes or cores_available(), None, pair, insecure)

    guarded(work)


if __name__ == "__main__":
    command()
