"""Fetching results from the workers that hold them, several workers at once, again elsewhere when one is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from distributed.client.records import KeyRecord, Status
from distributed.errors import CommClosedError, ConnectTimeoutError, LostDataError
from distributed.protocol.serialize import loads_payload

__all__ = ["fetch"]

ATTEMPTS_MAX = 8
PAUSE_S = 0.05  # before the second attempt; doubled each time, so 6 s in all


async def fetch(session: Any, records: Sequence[KeyRecord]) -> list[Any]:
    """Results of `records`, in order.

    Raises:
        What a task raised, if it is so by now; LostDataError: nobody could give it, several times.
    """
    values: dict[str, Any] = {}
    for attempt in range(ATTEMPTS_MAX):
        await session.wait_settled_async(records, None)
        missing = []
        for record in records:
            if record.key in values:
                continue
            error = session.error_of(record)
            if error is not None:
                raise error
            if record.status is Status.FINISHED and record.payload is not None:
                values[record.key] = loads_payload(record.payload)
            else:
                missing.append(record.key)
        if missing:
            values.update(await _fetch_once(session, missing, attempt))
        if all(record.key in values for record in records):
            return [values[record.key] for record in records]
        await asyncio.sleep(PAUSE_S * 2**attempt)
    raise LostDataError(next(record.key for record in records if record.key not in values))


async def _fetch_once(session: Any, keys: list[str], turn: int) -> dict[str, Any]:
    holders = await session.scheduler.who_has(keys=keys)
    keys_by_worker: dict[str, list[str]] = {}
    for number, key in enumerate(keys):
        workers = holders.get(key)
        if workers:  # of several holders, each gives its share
            keys_by_worker.setdefault(workers[(number + turn) % len(workers)], []).append(key)
    answers = await asyncio.gather(*(_fetch_from(session, worker, wanted) for worker, wanted in keys_by_worker.items()))
    return {key: value for answer in answers for key, value in answer.items()}


async def _fetch_from(session: Any, worker: str, keys: list[str]) -> dict[str, Any]:
    try:
        answer = await session.worker(worker).get_data(keys=keys)
    except (CommClosedError, ConnectTimeoutError):
        # Gone, or out of our reach: the scheduler may reach it. If not, the next attempt asks who else has them.
        answer = await session.ask("gather", keys=keys)
    return {key: loads_payload(payload) for key, payload in answer.items()}
