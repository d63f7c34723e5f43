"""``python -m distributed.manager.master``: lend the files of a folder to workers, without HTTP, and keep digests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from distributed import config as default_config
from distributed.manager.server import HomeServer
from distributed.pull.lending import Master
from distributed.pull.master import serve
from distributed.pull.reading import threads
from distributed.recipes.running import home_options, run
from distributed.security.keys import Keyring

__all__ = ["HomeServer", "Master", "init", "main"]


def init(home_dir: str | os.PathLike[str], config: Any = None, keys: Keyring | None = None) -> HomeServer:
    """The server, its files found; call ``listen``. ``server.master`` is the `Master`.

    Args:
        config: an object with the settings as attributes; None: the module `distributed.config`.
        keys: whom to let in; None: who has this user's key.
    Raises:
        HomeError: there is no such folder.
    """
    master = Master(home_dir, config)
    master.load()
    return HomeServer(master, threads(), keys=keys)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@home_options
@click.option("--port", type=click.IntRange(0, 65535), help="[default: 8000, or none with --path; 0: any free one]")
@click.option("--path", "socket_path", type=click.Path(dir_okay=False), help="Listen on this unix socket (too).")
@click.option("--host", help="Interface to listen on. [default: 127.0.0.1]")
@click.option("--insecure", is_flag=True, help="Encrypt nothing, even if others can reach --host.")
@click.option("--once", is_flag=True, help="End when all is done and the workers know; exit code 1 if a file failed.")
def main(
    home: str, output: Path | None, port: int | None, socket_path: str | None, host: str | None, insecure: bool,
    once: bool,
) -> None:  # fmt: skip
    """Lend the files below a folder to workers (python -m distributed.manager.worker), which hash them.

    It serves until SIGINT or SIGTERM.
    """
    host = host or default_config.MASTER[0]
    if port is None and socket_path is None:
        port = default_config.MASTER[1]

    async def start() -> int:
        print(f"loading home files of {home} ...", flush=True)
        server = init(home)
        places: list[str] = []
        if port is not None:
            server.listen(port, host, insecure)
            places.append(server.address)
        if socket_path is not None:
            place = f"unix://{os.path.abspath(socket_path)}"
            server.listen(place)
            places.append(place)
        print(f"{len(server.master.home.files):,} files, at {' and '.join(places)}", flush=True)
        print(f"start workers: python -m distributed.manager.worker --master {places[0]}", flush=True)
        app: Any = {"master": server.master, "threads": server.threads}
        return await serve(app, server, output, once)  # type: ignore[arg-type]

    run(start)


if __name__ == "__main__":
    main()
