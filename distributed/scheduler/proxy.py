"""Ops by which a client that cannot reach the workers does so through the scheduler. Payloads stay opaque."""

from __future__ import annotations

import asyncio
from typing import Any

from distributed.calls import rpc
from distributed.errors import AuthenticationError, BadRequestError, CommClosedError, ConnectTimeoutError
from distributed.protocol.serialize import Serialized
from distributed.scheduler import snapshot
from distributed.scheduler.state import SchedulerState
from distributed.security.permissions import WORKER

__all__ = ["DataProxy"]

CONNECT_S = 3.0


class DataProxy:
    """Fetches from workers, puts onto them, and has functions run there, for others.

    Slower than going to the workers directly, since everything passes through this one process.
    """

    def __init__(self, state: SchedulerState) -> None:
        self._state = state
        self._workers: dict[str, rpc] = {}

    async def gather(self, stream: Any, keys: list[str]) -> dict[str, Serialized]:
        """Results by key, pickled; keys that nobody could give are left out."""
        found: dict[str, Serialized] = {}
        holders = snapshot.who_has(self._state, keys)
        for turn in range(max(map(len, holders.values()), default=0)):  # every holder of a key is asked once
            wanted: dict[str, list[str]] = {}
            for key, workers in holders.items():
                if key not in found and turn < len(workers):
                    wanted.setdefault(workers[turn], []).append(key)
            for answer in await asyncio.gather(*(self._get(worker, asked) for worker, asked in wanted.items())):
                found.update(answer)
        return found

    async def scatter(
        self, stream: Any, data: dict[str, Serialized], client: str, workers: list[str] | None = None
    ) -> dict[str, list[str]]:
        """Put values onto workers, in turn by their threads; ``{key: [worker]}``.

        Raises:
            BadRequestError: there is no worker, or none of those named; a value is not wrapped.
            CommClosedError, ConnectTimeoutError: a worker is gone.
        """
        if not all(isinstance(value, Serialized) for value in data.values()):
            raise BadRequestError("scatter: wrap every value, to_serialize(value)")
        nthreads = snapshot.ncores(self._state, workers)
        turns = [worker for worker, count in nthreads.items() for _ in range(count)]
        if not turns:
            raise BadRequestError("no worker is there to keep the data")
        batches: dict[str, dict[str, Serialized]] = {}
        for number, (key, value) in enumerate(data.items()):
            batches.setdefault(turns[number % len(turns)], {})[key] = value
        await asyncio.gather(
            *(self.worker(worker).put_data(client=client, data=batch) for worker, batch in batches.items())
        )
        return {key: [worker] for worker, batch in batches.items() for key in batch}

    async def run_on(self, stream: Any, worker: str, call: Serialized, wait: bool = True) -> Serialized | None:
        """Have the worker there run a function, see its op ``run``; what it raises arrives without its pickle.

        Raises:
            BadRequestError: no such worker, or the call is not wrapped.
            CommClosedError, ConnectTimeoutError: it is gone.
        """
        if worker not in self._state.workers or not isinstance(call, Serialized):
            raise BadRequestError(f"run_on: {worker!r} is no worker, or the call is not wrapped")
        answer: Serialized | None = await self.worker(worker).call("run", call=call, wait=wait)
        return answer

    async def close(self) -> None:
        """Close the connections with workers."""
        for worker in self._workers.values():
            await worker.close()

    async def _get(self, worker: str, keys: list[str]) -> dict[str, Serialized]:
        try:
            answer: dict[str, Serialized] = await self.worker(worker).get_data(keys=keys)
        except (CommClosedError, ConnectTimeoutError, AuthenticationError):
            self._workers.pop(worker, None)
            return {}
        return answer

    def worker(self, worker: str) -> rpc:
        """The connection with the worker at an address, kept for the next time."""
        if worker not in self._workers:
            self._workers[worker] = rpc(worker, timeout=CONNECT_S, role=WORKER, may_unpickle=False, patient=False)
        return self._workers[worker]
