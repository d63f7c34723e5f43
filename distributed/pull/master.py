"""``python -m distributed.pull.master``: serve the files of a folder to workers that ask for them, and keep digests."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click
from tornado.httpserver import HTTPServer

from distributed import config as default_config
from distributed import constants
from distributed.pull.handing import reading_threads
from distributed.pull.handlers import GetFile, GetFiles, UpdateFileHash, UpdateFileHashes, WorkerRegister
from distributed.pull.lending import Master
from distributed.recipes.naming import shown
from distributed.recipes.options import home_options, once_option, server_options
from distributed.recipes.page import HomeStatus, Root
from distributed.recipes.progress import ProgressLine
from distributed.recipes.results import write_output
from distributed.recipes.running import close, run, signal_event
from distributed.recipes.running import serve as listen_at
from distributed.units import format_nbytes, format_seconds
from distributed.web.guard import Guard, GuardedApplication

__all__ = ["Master", "init", "main", "serve", "wait_end"]

LOOK_S = 0.2  # between two looks whether all is settled
HOW_TO_GET_TOKEN = "python -m distributed key --http --role readonly"


def init(
    home_dir: str | os.PathLike[str], config: Any = None, guard: Guard | None = None, output: Path | None = None
) -> GuardedApplication:
    """The application, its files found; ``app["master"]`` is the `Master`.

    Args:
        config: an object with the settings as attributes; None: the module `distributed.config`.
        guard: who is let in; None: whoever has this user's token.
        output: where the digests will be written; it is left out.
    Raises:
        HomeError: there is no such folder.
    """
    master = Master(home_dir, config)
    master.load(output)
    handlers = [
        ("/", Root),
        (constants.MASTER_PATH_WORKER_REGISTER, WorkerRegister),
        (constants.MASTER_PATH_GET_FILE, GetFile),
        (constants.MASTER_PATH_GET_FILES, GetFiles),
        (constants.MASTER_PATH_UPDATE_FILE_HASH, UpdateFileHash),
        (constants.MASTER_PATH_UPDATE_FILE_HASHES, UpdateFileHashes),
        (constants.MASTER_PATH_HOME_STATUS, HomeStatus),
    ]
    return GuardedApplication(handlers, {"master": master, "threads": reading_threads()}, guard)


async def serve(
    app: GuardedApplication, server: HTTPServer, output: Path | None, once: bool, stopped: asyncio.Event | None = None
) -> int:
    """Answer workers until a signal, or until all is settled if it is only to be done once; the exit code.

    Args:
        output: written whenever all files are settled.
        stopped: what signals set; None: `signal_event`.
    """
    code = await wait_end(app["master"], output, once, signal_event() if stopped is None else stopped)
    await close(server)
    app["threads"].shutdown(wait=False, cancel_futures=True)
    return code


async def wait_end(master: Master, output: Path | None, once: bool, stopped: asyncio.Event) -> int:
    """Wait for the end, and say it when all is settled; see `serve`, of which this is all that is not HTTP."""
    began = time.monotonic()
    is_told, is_fine = False, True
    line = ProgressLine()
    while not stopped.is_set() and not (once and is_told and master.is_over):
        if not master.home.finished:
            line.draw(master.home.state)
        elif not is_told:
            is_told = True
            line.erase()
            is_fine = _tell(master, time.monotonic() - began, output)
        try:
            await asyncio.wait_for(stopped.wait(), LOOK_S)
        except TimeoutError:
            continue  # look again
    line.erase()
    return 1 if once and (master.home.errors or not is_fine) else 0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@home_options
@server_options(default_config.MASTER[1])
@once_option
def main(
    home: str, output: Path | None, port: int | None, host: str, path: str | None, insecure: bool, once: bool
) -> None:
    """Serve the files below a folder to workers (python -m distributed.pull.worker), which hash them.

    How far it is: /home_status, for programs and, in a browser, for people. It serves until SIGINT or SIGTERM.
    """

    async def start() -> int:
        print(f"loading home files of {shown(home)} ...", flush=True)
        app = init(home, output=output)
        print(f"{len(app['master'].home.files):,} files", flush=True)
        server, place, stopped = await listen_at("pull master", app, port, host, path, insecure)
        if port is not None:
            print(f"start workers: python -m distributed.pull.worker --master {place.partition('//')[2]}", flush=True)
            print(f"page: {place}/home_status?token=TOKEN; `{HOW_TO_GET_TOKEN}` prints one", flush=True)
        return await serve(app, server, output, once, stopped)

    run(start)


def _tell(master: Master, seconds: float, output: Path | None) -> bool:
    """All is settled: say so, and write what was asked for; whether that could be written."""
    for path, reason in sorted(master.home.errors.items()):
        print(f"error: {shown(path)}: {shown(reason)}", file=sys.stderr)
    for path, (name, digest) in sorted(master.disputed.items()):
        print(f"error: {shown(path)}: {name} told another digest: {digest}", file=sys.stderr)
    nbytes = format_nbytes(master.details()["bytes"]["finished"])
    print(f"state: {json.dumps(master.home.state)}, {nbytes} in {format_seconds(seconds)}", flush=True)
    try:
        if output is not None:
            print(shown(write_output(master.home, output, master.config)), flush=True)
    except OSError as error:  # what was found out must not be lost with the process
        reason = f"{shown(str(output))}: {error.strerror}; the digests are at /home_status?include_files=1"
        print(f"error: {reason}", file=sys.stderr, flush=True)
        return False
    return True


if __name__ == "__main__":
    main()
