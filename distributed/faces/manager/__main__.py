"""``python -m distributed.faces.manager``: workers of this machine for a manager on another one."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from distributed.errors import ConfigError
from distributed.faces.manager.credentials import load_authkey, read_client_args
from distributed.faces.manager.importing import importing
from distributed.faces.manager.remote import WorkerProcess, create_remote_worker
from distributed.lazy import object_at
from distributed.process.ending import EXIT_FAILED, EXIT_INTERRUPTED, guarded

__all__ = ["main"]

END_S = 5.0  # for them to end after Ctrl-C


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--connect", "address", required=True, metavar="HOST:PORT", help="Where the manager listens.")
@click.option(
    "--authkey-file", required=True, type=click.Path(dir_okay=False), help="What manager.save_authkey(path) wrote."
)
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Workers to run here.")
@click.argument("wclass", metavar="PACKAGE.MODULE:CLASS")
@click.argument("arguments", nargs=-1)
def main(address: str, authkey_file: str, processes: int, wclass: str, arguments: tuple[str, ...]) -> None:
    """Run workers of the class PACKAGE.MODULE:CLASS until their manager stops them; further ARGUMENTS are texts for it.

    Modules are looked for in the current folder, too. Hosts beyond this machine are reached with TLS; write
    tcp://HOST:PORT for a manager that was told to be insecure.
    """

    def work() -> int:
        client_args = (address, "AF_INET", load_authkey(authkey_file))
        place, _ = read_client_args(client_args)
        made = _class_of(wclass)
        started = [create_remote_worker(made, client_args, *arguments) for _ in range(processes)]
        print(f"{processes} workers of {wclass} for {place}", file=sys.stderr)
        return _wait(started)

    guarded(work)


def _class_of(text: str) -> Any:
    module, _, name = text.partition(":")
    if not module or not name:
        raise ConfigError("PACKAGE.MODULE:CLASS", text, "write the module, a colon, and the class in it")
    sys.path.insert(0, os.getcwd())
    try:
        with importing(text):
            return object_at(text)
    except (ImportError, AttributeError) as error:
        raise ConfigError("PACKAGE.MODULE:CLASS", text, f"{error}; is it here, or installed?") from None


def _wait(processes: list[WorkerProcess]) -> int:
    """Wait for all of them; 0 if every one ended well."""
    try:
        for process in processes:
            process.join()
    except KeyboardInterrupt:  # they have it, too
        for process in processes:
            process.join(END_S)
            process.kill()
        return EXIT_INTERRUPTED
    return 0 if all(process.exitcode == 0 for process in processes) else EXIT_FAILED


if __name__ == "__main__":
    main()
