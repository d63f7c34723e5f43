"""What commands share that ask a running scheduler: where it is, one question, and errors in a line."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import click

from distributed.calls import rpc
from distributed.client.connecting import find_scheduler
from distributed.comm.addresses import parse_address
from distributed.config import SCHEDULER_PORT
from distributed.errors import ConnectTimeoutError
from distributed.process.ending import guarded

__all__ = ["ANSWER_S", "ask", "print_answer", "scheduler_of"]

ANSWER_S = 10.0  # for one answer


def scheduler_of(address: str | None, scheduler_file: str | None) -> str:
    """Canonical address of the scheduler that is named, or of the one that the environment names.

    Raises:
        click.UsageError: both are given.
        ConfigError, SchedulerFileError: it cannot be used.
    """
    if address is not None and scheduler_file is not None:
        raise click.UsageError("name the scheduler once: either ADDRESS or --scheduler-file")
    found = find_scheduler(address, scheduler_file)
    return str(parse_address(found or f"127.0.0.1:{SCHEDULER_PORT}", SCHEDULER_PORT))


async def ask(server: rpc, op: str, **keywords: Any) -> Any:
    """The answer to one call. Raises ConnectTimeoutError: none within `ANSWER_S` seconds; and as `rpc`."""
    try:
        async with asyncio.timeout(ANSWER_S):
            return await server.call(op, **keywords)
    except TimeoutError:
        raise ConnectTimeoutError(server.address, math.ceil(ANSWER_S), "it does not answer") from None


def print_answer(
    address: str | None, scheduler_file: str | None, op: str, text_of: Callable[[Any], str], **keywords: Any
) -> None:
    """Ask the scheduler, print what `text_of` makes of the answer, and end."""

    async def run() -> int:
        async with rpc(scheduler_of(address, scheduler_file)) as server:
            print(text_of(await ask(server, op, **keywords)))
        return 0

    guarded(lambda: asyncio.run(run()))
