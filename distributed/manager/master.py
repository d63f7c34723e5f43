"""``python -m distributed.manager.master``: lend the files of a folder to workers, without HTTP, and keep digests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from distributed import config as default_config
from distributed.manager.server import HomeServer
from distributed.pull.handing import reading_threads
from distributed.pull.lending import Master
from distributed.pull.master import wait_end
from distributed.recipes.naming import shown
from distributed.recipes.options import home_options, once_option, server_options
from distributed.recipes.running import run, signal_event
from distributed.security.keys import Keyring

__all__ = ["HomeServer", "Master", "init", "main"]


def init(
    home_dir: str | os.PathLike[str], config: Any = None, keys: Keyring | None = None, output: Path | None = None
) -> HomeServer:
    """The server, its files found; call ``listen``. ``server.master`` is the `Master`.

    Args:
        config: an object with the settings as attributes; None: the module `distributed.config`.
        keys: whom to let in; None: who has this user's key.
        output: where the digests will be written; it is left out.
    Raises:
        HomeError: there is no such folder.
    """
    master = Master(home_dir, config)
    master.load(output)
    return HomeServer(master, reading_threads(), keys=keys)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@home_options
@server_options(default_config.MASTER[1])
@once_option
def main(
    home: str, output: Path | None, port: int | None, host: str, path: str | None, insecure: bool, once: bool
) -> None:
    """Lend the files below a folder to workers (python -m distributed.manager.worker), which hash them.

    It serves until SIGINT or SIGTERM.
    """

    async def start() -> int:
        print(f"loading home files of {shown(home)} ...", flush=True)
        server = init(home, output=output)
        stopped = signal_event()
        places: list[str] = []
        if port is not None:
            server.listen(port, host, insecure)
            places.append(server.address)
        if path is not None:
            places.append(f"unix://{os.path.abspath(path)}")
            server.listen(places[-1])
        print(f"{len(server.master.home.files):,} files, at {' and '.join(places)}", flush=True)
        code = await wait_end(server.master, output, once, stopped)
        server.stop()
        server.threads.shutdown(wait=False, cancel_futures=True)
        return code

    run(start)


if __name__ == "__main__":
    main()
