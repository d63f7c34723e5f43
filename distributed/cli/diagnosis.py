"""``distributed why KEY`` and ``distributed story KEY``: about one task of a running cluster."""

from __future__ import annotations

from typing import Any

import click

from distributed.cli.asking import print_answer
from distributed.client.diagnosis import Story, StoryStep

__all__ = ["story", "why"]

_FILE = click.option("--scheduler-file", type=click.Path(dir_okay=False), help="Read the scheduler's address from it.")
_ADDRESS = click.option("--address", help="Scheduler of the cluster. [default: DISTRIBUTED_SCHEDULER_ADDRESS, or here]")


@click.command()
@click.argument("key")
@_ADDRESS
@_FILE
def why(key: str, address: str | None, scheduler_file: str | None) -> None:
    """Say in one sentence why the task KEY is not done yet. A key of role readonly is enough."""
    print_answer(address, scheduler_file, "why", lambda answer: str(answer["text"]), key=key)


@click.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@_ADDRESS
@_FILE
def story(keys: tuple[str, ...], address: str | None, scheduler_file: str | None) -> None:
    """Tell what happened to the tasks KEY..., as far as the scheduler remembers. A key of role readonly is enough."""
    print_answer(address, scheduler_file, "story", _text_of, keys=list(keys))


def _text_of(steps: list[dict[str, Any]]) -> str:
    names = [name for name in StoryStep._fields if name != "time"]
    return str(Story(StoryStep(time=step["at"], **{name: step[name] for name in names}) for step in steps))
