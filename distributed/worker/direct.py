"""Ops for programs that use a worker without a scheduler's plan: compute, fetch, keep and drop data here.

What is kept by these ops is this worker's alone: the scheduler has no recipe for it and never deletes it, so whoever
put it here does. A scheduler that is a `Center` is told which keys lie here, for those who ask it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from distributed.calls import rpc
from distributed.errors import (
    AuthenticationError,
    BadRequestError,
    CommClosedError,
    ConnectTimeoutError,
    CoordinationLimitError,
    UnknownOpError,
)
from distributed.ids import counter, is_key
from distributed.protocol.failure import exception_from_failure
from distributed.protocol.serialize import (
    Serialized,
    TaskRef,
    dumps_function,
    dumps_payload,
    loads_payload,
    payload_nbytes,
)
from distributed.security.permissions import WORKER
from distributed.worker.calling import replace_refs
from distributed.worker.effects import ReadyTask
from distributed.worker.events import Outcome
from distributed.worker.execute import Executor
from distributed.worker.store import Packed, Store

__all__ = ["CenterLink", "DirectOps"]

logger = logging.getLogger(__name__)

ASK_S = 10.0  # for the scheduler's answer

Fetch = Callable[[str, list[str]], Awaitable[dict[str, Serialized]]]


class CenterLink:
    """How a worker asks its scheduler where keys are, and tells it, should it be a `Center`, which are here.

    Args:
        scheduler, address: of the scheduler and of the worker.
    """

    def __init__(self, scheduler: str, address: str) -> None:
        self._address = address
        self._scheduler = rpc(scheduler, timeout=ASK_S, role=WORKER, may_unpickle=False)
        self._is_center = True  # until it says that it does not know what we tell it

    async def who_has(self, keys: list[str]) -> dict[str, list[str]]:
        """Holders by key. Raises CommClosedError, ConnectTimeoutError, TimeoutError."""
        async with asyncio.timeout(ASK_S):
            holders: dict[str, list[str]] = await self._scheduler.call("who_has", keys=keys)
        return holders

    async def tell(self, op: str, keys: list[str]) -> None:
        """Have it ``add_keys`` or ``remove_keys``; returns when it knows. One that cannot be told is only logged."""
        if not self._is_center or not keys:
            return
        try:
            async with asyncio.timeout(ASK_S):
                await self._scheduler.call(op, address=self._address, keys=keys)
        except UnknownOpError:
            self._is_center = False  # a scheduler that keeps no such book
        except (CommClosedError, ConnectTimeoutError, CoordinationLimitError, TimeoutError) as error:
            logger.warning("the center was not told to %s %d keys: %s", op, len(keys), error)

    async def close(self) -> None:
        """End the connection."""
        await self._scheduler.close()


class DirectOps:
    """See the module.

    Args:
        fetch: asks a peer for keys.
        center: asks and tells the scheduler.
    Its runs share the executor with the scheduler's tasks; their tickets are negative, which tells them apart.
    """

    def __init__(self, store: Store, executor: Executor, fetch: Fetch, center: CenterLink) -> None:
        self._store = store
        self._executor = executor
        self._fetch = fetch
        self._center = center
        self._runs: dict[int, asyncio.Future[Outcome]] = {}

    async def compute(
        self,
        stream: Any,
        key: str,
        function: Serialized,
        args: Serialized | None = None,
        kwargs: Serialized | None = None,
        who_has: dict[str, list[str]] | None = None,
        needed: list[str] | None = None,
        report: bool = True,
    ) -> dict[str, Any]:
        """Call ``function(*args, **kwargs)`` and keep the result under `key`.

        Args:
            function, args, kwargs: wrapped by ``to_serialize``; `TaskRef` objects in them become the values of keys.
            who_has: where the keys are that it needs; those not here are fetched first.
            needed: more keys that it needs; the scheduler is asked where they are.
            report: tell the scheduler, if it is a center, that the result is here.
        Returns:
            ``{'status': 'OK', 'key', 'nbytes', 'duration_s'}`` or
            ``{'status': 'missing-data', 'key', 'keys'}``.
        Raises:
            BadRequestError: something is not wrapped. Else whatever the function raised.
        """
        for name, part in (("function", function), ("args", args), ("kwargs", kwargs)):
            if not isinstance(part, Serialized) and (part is not None or name == "function"):
                raise BadRequestError(f"compute: wrap {name}, to_serialize({name})")
        known = await self._located(needed, who_has or {})
        needs = list(known)
        missing = await self._bring(known)
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
        if report:
            await self._center.tell("add_keys", [key])
        return {"status": "OK", "key": key, "nbytes": nbytes, "duration_s": outcome.duration_s}

    async def gather(self, stream: Any, who_has: dict[str, list[str]]) -> dict[str, Any]:
        """Fetch keys from peers into this worker: ``{'status': 'OK'}`` or ``{'status': 'missing-data', 'keys'}``."""
        missing = await self._bring(who_has)
        return {"status": "missing-data", "keys": missing} if missing else {"status": "OK"}

    async def update_data(self, stream: Any, data: dict[str, Serialized], report: bool = True) -> dict[str, Any]:
        """Keep values by key; `report`: tell the scheduler, if it is a center."""
        if not all(isinstance(value, Serialized) for value in data.values()):
            raise BadRequestError("update_data: wrap every value, to_serialize(value)")
        for key, value in data.items():
            self._store.put(key, Packed(value), value.nbytes)
        if report:
            await self._center.tell("add_keys", list(data))
        return {"status": "OK", "nbytes": {key: value.nbytes for key, value in data.items()}}

    async def delete_data(self, stream: Any, keys: list[str], report: bool = True) -> str:
        """Drop values by key; unknown ones are no error. `report`: tell the scheduler, if it is a center."""
        self._store.drop(keys)
        if report:
            await self._center.tell("remove_keys", list(keys))
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

    async def _located(self, needed: list[str] | None, who_has: dict[str, list[str]]) -> dict[str, list[str]]:
        """`who_has`, and the holders of what is `needed` and not here, as the scheduler knows them."""
        if needed is not None and (not isinstance(needed, list) or not all(is_key(key) for key in needed)):
            raise BadRequestError(f"needed={needed!r:.200}: a list of keys")
        unknown = [key for key in needed or () if key not in who_has]
        asked = [key for key in unknown if key not in self._store]
        told = await self._center.who_has(asked) if asked else {}
        return {**who_has, **{key: list(told.get(key, ())) for key in unknown}}

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
