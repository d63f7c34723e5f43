"""The console script ``dcenter``: a center until SIGINT or SIGTERM. Its options are those of ``dscheduler``."""

from __future__ import annotations

import re
from typing import Any

import click

from distributed.cli import dscheduler
from distributed.config import CENTER_PORT
from distributed.faces.center.server import Center

__all__ = ["main", "parse_place"]

LOOPBACK = "127.0.0.1"
_PLACE = re.compile(r"(?P<alone>\d{1,5})|(?P<host>\[[0-9a-fA-F:.]+\]|[^:\[\]\s]*)(?::(?P<port>\d{1,5}))?", re.ASCII)


def parse_place(text: str) -> tuple[str | None, int | None]:
    """Host and port of ``[[IP:]PORT]``: ``8787``, ``127.0.0.1:8787``, ``[::1]:8787``; also ``127.0.0.1`` alone.

    Raises:
        click.UsageError: none of these.
    """
    found = _PLACE.fullmatch(text)
    if not found or int(found["port"] or found["alone"] or 0) > 65_535:
        raise click.UsageError(f"{text!r}: write PORT or IP:PORT, such as {LOOPBACK}:{CENTER_PORT}, or [::1]:0")
    port = found["port"] or found["alone"]
    return (found["host"] or "").strip("[]") or None, int(port) if port else None


def _options() -> list[click.Parameter]:
    """Those of dscheduler; the place has no default, so that what is given twice can be told."""
    bare = {
        "port": click.Option(["--port"], type=click.IntRange(0, 65535), help=f"0: any free.  [default: {CENTER_PORT}]"),
        "host": click.Option(["--host"], help=f"Interface to listen on.  [default: {LOOPBACK}]"),
    }
    place = click.Argument(["place"], required=False, metavar="[[IP:]PORT]")
    return [place, *(bare.get(str(option.name), option) for option in dscheduler.main.params)]


@click.command(params=_options(), context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def main(context: click.Context, /, place: str | None, port: int | None, host: str | None, **options: Any) -> None:
    """Start a center. Workers join it with `dworker ADDRESS`, programs with `Pool(ADDRESS)` or `Client(ADDRESS)`.

    Exit codes: 0 after SIGINT or SIGTERM, 1 if it cannot start, 3 if the key file cannot be used.
    """
    place_host, place_port = parse_place(place) if place else (None, None)
    for name, first, second in (("--host", place_host, host), ("--port", place_port, port)):
        if first is not None and second is not None and first != second:
            raise click.UsageError(f"{place} and {name} {second} contradict each other")
    port = next((number for number in (place_port, port) if number is not None), CENTER_PORT)
    context.obj = Center
    context.invoke(dscheduler.main, port=port, host=place_host or host or LOOPBACK, **options)


if __name__ == "__main__":
    main()
