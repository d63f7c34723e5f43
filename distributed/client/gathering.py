"""Fetching results from the workers that hold them, several workers at once, again elsewhere when one is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from distributed.client.records import KeyRecord, Status
from distributed.errors import AuthenticationError, CommClosedError, ConnectTimeoutError, LostDataError
from distributed.messages import Payload

__all__ = ["fetch"]

ATTEMPTS_MAX = 8
PAUSE_S = 0.05  # after the first attempt that brought nothing; doubled each time, so 6 s in all


async def fetch(session: Any, records: Sequence[KeyRecord], skip_errors: bool = False) -> dict[str, Any]:
    """Results of `records`, by key.

    Args:
        skip_errors: leave out what has no result instead of raising.
    Raises:
        What a task raised, if it is so by now; LostDataError: nobody could give it, several times; what loading raises.
    """
    values: dict[str, Any] = {}
    missing = {record.key: record for record in records}
    attempt = 0
    while True:
        await session.wait_settled_async(list(missing.values()), None)
        for key, record in list(missing.items()):
            if record.status is not Status.FINISHED and not skip_errors:
                session.raise_error(record)
            if record.status is Status.FINISHED and record.payload is not None:
                _load(session, key, record.payload, values, skip_errors)
            elif record.status in (Status.FINISHED, Status.PENDING):
                continue  # with a worker; or lost again just now
            del missing[key]
        if not missing:
            return values
        fetched = await _fetch_once(session, list(missing), attempt)
        for key, payload in fetched.items():
            if missing.pop(key, None) is not None:
                _load(session, key, payload, values, skip_errors)
        if not missing:
            return values
        if fetched:
            continue  # an answer holds what fits in one message; the rest is asked for again
        attempt += 1
        if attempt == ATTEMPTS_MAX:
            if skip_errors:
                return values
            raise LostDataError(next(iter(missing)))
        await asyncio.sleep(PAUSE_S * 2 ** (attempt - 1))


def _load(session: Any, key: str, payload: Payload, values: dict[str, Any], skip_errors: bool) -> None:
    try:
        values[key] = session.actors.loads(payload)
    except Exception:  # a result that could not be pickled there, or cannot be rebuilt here
        if not skip_errors:
            raise


async def _fetch_once(session: Any, keys: list[str], turn: int) -> dict[str, Any]:
    holders = await session.ask("who_has", keys=keys)
    keys_by_worker: dict[str, list[str]] = {}
    for number, key in enumerate(keys):
        workers = holders.get(key)
        if workers:  # of several holders, each gives its share
            keys_by_worker.setdefault(workers[(number + turn) % len(workers)], []).append(key)
    answers = await asyncio.gather(*(_fetch_from(session, worker, wanted) for worker, wanted in keys_by_worker.items()))
    return {key: payload for answer in answers for key, payload in answer.items()}


async def _fetch_from(session: Any, worker: str, keys: list[str]) -> dict[str, Any]:
    """Asks until all of `keys` are here, or the worker has no more of them: an answer holds what fits in a message."""
    found: dict[str, Any] = {}
    left = keys
    while left:
        try:
            answer = await session.workers.to(worker).get_data(keys=left)
        except (CommClosedError, ConnectTimeoutError, AuthenticationError):
            # Gone, or out of our reach: the scheduler may reach it. If not, the next attempt asks who else has them.
            session.workers.forget(worker)
            return {**found, **await session.ask("gather", keys=left)}
        if not answer:
            break
        found.update(answer)
        left = [key for key in left if key not in answer]
    return found
