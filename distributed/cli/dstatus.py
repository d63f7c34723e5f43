"""The console script ``dstatus``, also ``distributed status``: one screen of what a cluster does."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from typing import Any

import click

from distributed.calls import rpc
from distributed.cli.asking import ask, scheduler_of
from distributed.cli.offer_screen import offer_screen
from distributed.cli.screen import screen
from distributed.errors import UnknownOpError
from distributed.process.ending import guarded
from distributed.units import parse_seconds

__all__ = ["main", "status"]

WATCH_S = "1s"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("address", required=False)
@click.option("--scheduler-file", type=click.Path(dir_okay=False), help="Read the scheduler's address from this file.")
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option("--interval", default=WATCH_S, show_default=True, help="How often, with --watch.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object (with --watch: a line each) for programs.")
@click.version_option(package_name="distributed")
def status(address: str | None, scheduler_file: str | None, watch: bool, interval: str, as_json: bool) -> None:
    """Show what the cluster of the scheduler at ADDRESS does: workers, tasks, and what cannot run and why.

    At the ADDRESS of an offer (dworker --offer): what it lends, to whom, and the rooms of its tenants.

    \b
    ADDRESS is host:port; without it, what DISTRIBUTED_SCHEDULER_ADDRESS names, else 127.0.0.1:8786.
    A key of role readonly is enough: distributed key --role readonly. Exit code 1: no scheduler answers.
    """

    async def show() -> int:
        interval_s = max(0.1, parse_seconds(interval, "--interval"))
        async with rpc(scheduler_of(address, scheduler_file)) as server:
            while True:
                overview = await _overview(server)
                _show({"address": server.address, **overview}, as_json, watch)
                if not watch:
                    return 0
                await asyncio.sleep(interval_s)

    guarded(lambda: asyncio.run(show()))


async def _overview(server: rpc) -> dict[str, Any]:
    """What a scheduler, or an offer, tells of itself."""
    try:
        return dict(await ask(server, "overview"))
    except UnknownOpError as error:
        if "offer_status" not in str(error):
            raise
        return dict(await ask(server, "offer_status"))


def _show(overview: dict[str, Any], as_json: bool, is_watched: bool) -> None:
    if as_json:
        print(json.dumps(overview, indent=None if is_watched else 2), flush=True)
        return
    size = shutil.get_terminal_size((100, 40))
    is_terminal = sys.stdout.isatty()
    height = size.lines - 1 if is_terminal and is_watched else None
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    if "offer" in overview:
        text = offer_screen(overview, size.columns if is_terminal else 100, height)
    else:
        columns = size.columns if is_terminal else 100
        text = screen(overview, columns, height, is_unicode, has_colors=is_terminal)
    clear = "\x1b[H\x1b[2J" if is_terminal and is_watched else ""
    print(f"{clear}{text}", flush=True)


main = status

if __name__ == "__main__":
    main()
