"""How the programs of the recipes run: their common options, serving until a signal comes, and how they end."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import click

from distributed.errors import ConfigError, DistributedError
from distributed.process.running import on_signals, run_loop
from distributed.web.guard import GuardedApplication
from distributed.web.listening import listen, url_of

__all__ = ["home_options", "overridden", "pair_of", "run", "serve", "server_options", "wait_signal", "writable"]

EXIT_INTERRUPTED = 130  # as shells expect after Ctrl-C


def server_options(port: int | None) -> Callable[[Any], Any]:
    """The options ``--port --host --path --insecure`` of a program that serves; `port`: which one by default."""
    told = "" if port is None else f" [default: {port}; with --path alone none]"
    options = (
        click.option("--port", type=click.IntRange(0, 65535), help=f"TCP port to listen on; 0: any free.{told}"),
        click.option("--host", default="127.0.0.1", show_default=True, help="Interface to listen on."),
        click.option("--path", type=click.Path(), help="Unix socket to listen on, instead of a port or beside one."),
        click.option("--insecure", is_flag=True, help="Encrypt nothing, even if others can reach --host."),
    )

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def home_options(command: Any) -> Any:
    """The options ``--home --output`` of a master."""
    home = click.Path(exists=True, file_okay=False)
    command = click.option(
        "--output", type=click.Path(dir_okay=False, path_type=Path), callback=writable,
        help="Write the digests here, for `sha1sum -c`.",
    )(command)  # fmt: skip
    return click.option("--home", type=home, default=".", help="The folder. [default: the current one]")(command)


def writable(context: click.Context, option: click.Parameter, output: Path | None) -> Path | None:
    """The value of ``--output``, if its folder takes a file: told now, not when all is done."""
    if output is not None:
        folder = output.absolute().parent
        if not folder.is_dir():
            raise click.BadParameter(f"there is no folder {str(folder)!r}")
        if not os.access(folder, os.W_OK):
            raise click.BadParameter(f"you may not write to the folder {str(folder)!r}")
    return output


def overridden(config: Any, **values: Any) -> Any:
    """The settings of `config`, but for some."""
    given = {name: getattr(config, name) for name in dir(config) if name.isupper()}
    return SimpleNamespace(**{**given, **values})


async def serve(
    role: str, app: GuardedApplication, port: int | None, host: str, path: str | None, insecure: bool
) -> tuple[Any, str]:
    """Listen, and say where; the server and its address."""
    server = listen(app, port, host, path, insecure)
    places = ([url_of(server, host)] if port is not None else []) + ([f"unix://{path}"] if path is not None else [])
    print(f"{role} at {' and '.join(places)}", flush=True)
    return server, places[0]


async def wait_signal() -> None:
    """Until SIGINT or SIGTERM."""
    stopped: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    on_signals(stopped.set_result)  # called once
    await stopped


def run(make: Callable[[], Coroutine[Any, Any, int]]) -> NoReturn:
    """Run a program to its end: its exit code, or one readable line about what is wrong and 1."""
    try:
        code = run_loop(make())
    except (DistributedError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    raise SystemExit(code)


def pair_of(text: str) -> tuple[str, int]:
    """``HOST:PORT`` as a pair.

    Raises:
        ConfigError: it is none.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError("worker", text, "write HOST:PORT, or unix:///PATH")
    return host.strip("[]"), int(port)
