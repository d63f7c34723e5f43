"""How the programs of the recipes run: their common options, serving until a signal comes, and how they end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import click
from tornado.httpserver import HTTPServer

from distributed.comm.addresses import parse_address
from distributed.errors import AddressError
from distributed.process.ending import guarded
from distributed.process.running import on_signals, run_loop
from distributed.web.guard import GuardedApplication
from distributed.web.listening import listen, url_of

__all__ = [
    "close",
    "home_options",
    "once_option",
    "run",
    "serve",
    "server_options",
    "signal_event",
    "with_workers",
    "worker_option",
]

STOP_S = 5.0  # for requests that are under way when a server stops


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
        "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the digests here, for `sha1sum -c`."
    )(command)
    return click.option("--home", type=home, default=".", help="The folder. [default: the current one]")(command)


def once_option(command: Any) -> Any:
    """The option ``--once`` of a master that is asked for files."""
    told = "End when all is done and the workers know; exit code 1 if a file failed."
    return click.option("--once", is_flag=True, help=told)(command)


def worker_option(command: Any) -> Any:
    """The option ``--worker`` of a master that sends files, see `with_workers`."""
    told = "HOST:PORT or unix:///PATH, instead of the settings'; repeatable."
    return click.option("--worker", "workers", multiple=True, metavar="ADDRESS", help=told)(command)


def with_workers(config: Any, workers: Sequence[str]) -> Any:
    """The settings of `config`, with these as its ``WORKERS``, if there are any.

    Raises:
        AddressError: one is no place that HTTP can reach.
    """
    if not workers:
        return config
    given = {name: getattr(config, name) for name in dir(config) if name.isupper()}
    return SimpleNamespace(**{**given, "WORKERS": [_place_of(text) for text in workers]})


async def serve(
    role: str, app: GuardedApplication, port: int | None, host: str, path: str | None, insecure: bool
) -> tuple[HTTPServer, str, asyncio.Event]:
    """Listen, and say where; the server, its address, and `signal_event`."""
    server = listen(app, port, host, path, insecure)
    stopped = signal_event()  # before anybody is told that we are there
    places = ([url_of(server, host)] if port is not None else []) + ([f"unix://{path}"] if path is not None else [])
    print(f"{role} at {' and '.join(places)}", flush=True)
    return server, places[0], stopped


def signal_event() -> asyncio.Event:
    """What SIGINT or SIGTERM sets from now on, instead of ending the process."""
    stopped = asyncio.Event()
    on_signals(lambda reason: stopped.set())
    return stopped


async def close(server: HTTPServer) -> None:
    """Listen no more, and end all connections; requests that are under way have `STOP_S`."""
    server.stop()
    try:
        await asyncio.wait_for(server.close_all_connections(), STOP_S)
    except TimeoutError:
        print(f"requests were still under way after {STOP_S:.0f} s; stopped all the same", file=sys.stderr)


def run(make: Callable[[], Coroutine[Any, Any, int]]) -> NoReturn:
    """Run a program's coroutine on a loop to its end, which is as `guarded` has it."""
    guarded(lambda: run_loop(make()))


def _place_of(text: str) -> str | tuple[str, int]:
    """As ``WORKERS`` has it."""
    place = parse_address(text)
    if place.scheme == "unix":
        return str(place)
    if place.scheme != "tcp" or place.port == 0:
        raise AddressError(text, "write HOST:PORT, or unix:///PATH")
    return place.host, place.port
