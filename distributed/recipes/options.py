"""Options that programs of the recipes have in common, and what is made of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click

from distributed.comm.addresses import parse_address
from distributed.errors import AddressError

__all__ = ["home_options", "once_option", "server_options", "with_options", "with_workers", "worker_option", "writable"]


def with_options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Click's options as one decorator, which keeps their order."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def server_options(port: int, is_port_needed: bool = False) -> Callable[[Any], Any]:
    """The options ``--port --host --path --insecure`` of a program that serves.

    Args:
        port: which one by default.
        is_port_needed: also beside a ``--path``.
    """
    told = f" [default: {port}{'' if is_port_needed else '; with --path alone none'}]"

    def default(context: click.Context, option: click.Parameter, value: int | None) -> int | None:
        is_wanted = is_port_needed or context.params.get("path") is None
        return port if value is None and is_wanted else value

    return with_options(
        click.option(
            "--port", type=click.IntRange(0, 65535), callback=default, help=f"TCP port to listen on; 0: any free.{told}"
        ),
        click.option("--host", default="127.0.0.1", show_default=True, help="Interface to listen on."),
        click.option(
            "--path",
            type=click.Path(),
            is_eager=True,  # it decides about the port
            help="Unix socket to listen on, instead of a port or beside one.",
        ),
        click.option("--insecure", is_flag=True, help="Encrypt nothing, even if others can reach --host."),
    )


def home_options(command: Any) -> Any:
    """The options ``--home --output`` of a master."""
    home = click.Path(exists=True, file_okay=False)
    command = click.option(
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=writable,
        help="Write the digests here, for `sha1sum -c`.",
    )(command)
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


def _place_of(text: str) -> str | tuple[str, int]:
    """As ``WORKERS`` has it."""
    place = parse_address(text)
    if place.scheme == "unix":
        return str(place)
    if place.scheme != "tcp" or place.port == 0:
        raise AddressError(text, "write HOST:PORT, or unix:///PATH")
    return place.host, place.port
