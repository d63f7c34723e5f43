"""Ops for programs that use a worker without a scheduler's plan: compute, fetch, keep and drop data here.

What is kept by these ops is this worker's alone: the scheduler does not know it, so whoever put it here deletes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from distributed.errors import AuthenticationError, BadRequestError, CommClosedError, ConnectTimeoutError
from distributed.ids import counter
from distributed.protocol.failure import exception_from_failure
from distributed.protocol.serialize import (
    Serialized,
    TaskRef,
    dumps_function,
    dumps_payload,
    loads_payload,
    payload_nbytes,
)
from distributed.worker.calling import replace_refs
from distributed.worker.effects import ReadyTask
from distributed.worker.events import Outcome
from distributed.worker.execute import Executor
from distributed.worker.store import Packed, Store

__all__ = ["DirectOps"]

Fetch = Callable[[str, list[str]], Awaitable[dict[str, Serialized]]]


class DirectOps:
    """See the module.

    Args:
        fetch: asks a peer for keys.
    Its runs share the executor with the scheduler's tasks; their tickets are negative, which tells them apart.
    """

    def __init__(self, store: Store, executor: Executor, fetch: Fetch) -> None:
        self._store = store
        self._executor = executor
        self._fetch = fetch
        self._runs: dict[int, asyncio.Future[Outcome]] = {}

    async def compute(
        self,
        stream: Any,
        key: str,
        function: Serialized,
        args: Serialized | None = None,
        kwargs: Serialized | None = None,
        who_has: dict[str, list[str]] | None = None,
    ) -> dict[str, Any]:
        """Call ``function(*args, **kwargs)`` and keep the result under `key`.

        Args:
            function, args, kwargs: wrapped by ``to_serialize``; `TaskRef` objects in them become the values of keys.
            who_has: where the keys are that it needs; those not here are fetched first.
        Returns:
            ``{'status': 'OK', 'key', 'nbytes', 'duration_s'}`` or
            ``{'status': 'missing-data', 'key', 'keys'}``.
        Raises:
            BadRequestError: something is not wrapped. Else whatever the function raised.
        """
        for name, part in (("function", function), ("args", args), ("kwargs", kwargs)):
            if not isinstance(part, Serialized) and (part is not None or name == "function"):
                raise BadRequestError(f"compute: wrap {name}, to_serialize({name})")
        needs = list(who_has or {})
        missing = await self._bring(who_has or {})
        if missing:
            return {"status": "missing-data", "key": key, "keys": missing}
        ticket = -counter()
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._runs[ticket] = done
        values = {need: TaskRef(need) for need in needs}
        arguments = dumps_payload(((function, args, kwargs, values), {}))
        name = f"{key} (direct)"  # so that the scheduler's cancelling of a task of that key is not for this one
        self._executor.submit([ReadyTask(name, ticket, _CALL_DIGEST, _CALL, arguments, False, needs or None)])
        outcome = await done
        if outcome.failure is not None:
            raise exception_from_failure(outcome.failure, "the worker")
        value, nbytes = outcome.value, outcome.nbytes
        self._store.put(key, value, nbytes)
        return {"status": "OK", "key": key, "nbytes": nbytes, "duration_s": outcome.duration_s}

    async def gather(self, stream: Any, who_has: dict[str, list[str]]) -> dict[str, Any]:
        """Fetch keys from peers into this worker: ``{'status': 'OK'}`` or ``{'status': 'missing-data', 'keys'}``."""
        missing = await self._bring(who_has)
        return {"status": "missing-data", "keys": missing} if missing else {"status": "OK"}

    def update_data(self, stream: Any, data: dict[str, Serialized], report: bool = True) -> dict[str, Any]:
        """Keep values by key."""
        if not all(isinstance(value, Serialized) for value in data.values()):
            raise BadRequestError("update_data: wrap every value, to_serialize(value)")
        for key, value in data.items():
            self._store.put(key, Packed(value), value.nbytes)
        return {"status": "OK", "nbytes": {key: value.nbytes for key, value in data.items()}}

    def delete_data(self, stream: Any, keys: list[str], report: bool = True) -> str:
        """Drop values by key; unknown ones are no error."""
        self._store.drop(keys)
        return "OK"

    def take(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Settle the runs that are ours; the rest belongs to the scheduler's tasks."""
        if not self._runs:
            return outcomes
        others = []
        for outcome in outcomes:
            if outcome.ticket >= 0:
                others.append(outcome)
            elif not (run := self._runs.pop(outcome.ticket)).done():
                run.set_result(outcome)
        return others

    async def _bring(self, who_has: dict[str, list[str]]) -> list[str]:
        """Fetch what is not here; the answer is what nobody named could give."""
        missing = []
        for key, holders in who_has.items():
            for holder in holders if key not in self._store else ():
                try:
                    answer = await self._fetch(holder, [key])
                except (CommClosedError, ConnectTimeoutError, AuthenticationError):
                    continue  # gone, or out of our reach: the next one may have it
                if key in answer:
                    self._store.put(key, Packed(answer[key]), payload_nbytes(answer[key]))
                    break
            if key not in self._store:
                missing.append(key)
        return missing


def call(function: Serialized, args: Serialized | None, kwargs: Serialized | None, values: dict[str, Any]) -> Any:
    """In the executor: load, put `values` in the place of references, and call."""
    positional = replace_refs(() if args is None else loads_payload(args), values)
    named = replace_refs({} if kwargs is None else loads_payload(kwargs), values)
    return loads_payload(function)(*positional, **named)


_CALL = dumps_function(call)
_CALL_DIGEST = b"distributed.worker.direct.call"
