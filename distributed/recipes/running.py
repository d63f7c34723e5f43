"""How the programs of the recipes run: serving until a signal comes, and how they end. Not here: their `options`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from tornado.httpserver import HTTPServer

from distributed.process.ending import guarded
from distributed.process.running import on_signals, run_loop
from distributed.web.guard import GuardedApplication
from distributed.web.listening import listen, url_of

__all__ = ["close", "run", "serve", "signal_event"]

STOP_S = 5.0  # for requests that are under way when a server stops


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
