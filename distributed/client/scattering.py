"""Putting a client's data onto workers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from distributed.errors import AuthenticationError, ConnectTimeoutError, WorkerStartError
from distributed.protocol.serialize import to_serialize

__all__ = ["place", "put"]


def place(count: int, nthreads_by_worker: dict[str, int], workers: Sequence[str] | None) -> list[str]:
    """A worker for each of `count` values: in turn, each as often as it has threads.

    Raises:
        WorkerStartError: there is no worker, or none of those named.
    """
    turns = [
        worker
        for worker, nthreads in nthreads_by_worker.items()
        if workers is None or worker in workers
        for _ in range(nthreads)
    ]
    if not turns:
        named = f" (only {', '.join(workers)} allowed)" if workers is not None else ""
        raise WorkerStartError(f"no worker is there to keep the data{named}; start one with `dworker ADDRESS`")
    return [turns[number % len(turns)] for number in range(count)]


async def put(session: Any, values: dict[str, Any], holders: Sequence[str]) -> None:
    """Send each value to its holder, all workers at once, through the scheduler to those out of our reach.

    Returns when all have them.

    Raises:
        UnpicklableError: a value cannot be sent; none is kept then.
        CommClosedError, ConnectTimeoutError: a worker is gone.
    """
    batches: dict[str, dict[str, Any]] = {}
    for (key, value), holder in zip(values.items(), holders, strict=True):
        batches.setdefault(holder, {})[key] = to_serialize(value)
    puts = [_put(session, holder, batch) for holder, batch in batches.items()]
    for answer in await asyncio.gather(*puts, return_exceptions=True):
        if isinstance(answer, BaseException):
            raise answer


async def _put(session: Any, holder: str, batch: dict[str, Any]) -> None:
    try:
        await session.workers.to(holder).put_data(client=session.client.id, data=batch)
    except (ConnectTimeoutError, AuthenticationError):
        session.workers.forget(holder)
        await session.ask("scatter", data=batch, client=session.client.id, workers=[holder])
