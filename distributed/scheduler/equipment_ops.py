"""Ops about equipment and about beginning anew: each becomes events of the machine; nothing is unpickled here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from distributed.calls import rpc
from distributed.driver import Driver
from distributed.errors import BadRequestError, DistributedError
from distributed.ids import is_key
from distributed.messages.equipment import FILE, PLUGIN, UNPLUG
from distributed.protocol.serialize import Serialized
from distributed.scheduler.events import Equip, ForgetTasks
from distributed.scheduler.ops import REASON_LENGTH_MAX, OrderOps
from distributed.scheduler.state import SchedulerState
from distributed.security.permissions import WORKER
from distributed.uploads import check_file_name

__all__ = ["EquipmentOps"]

POLL_S = 0.02  # between two looks whether workers are back
TIMEOUT_S_MAX = 3600.0
NANNIES_MAX = 64  # asked at once


class EquipmentOps:
    """The handlers."""

    def __init__(self, driver: Driver, orders: OrderOps, state: SchedulerState) -> None:
        self._driver = driver
        self._orders = orders
        self._state = state

    async def add_equipment(self, stream: Any, kind: str, name: str, payload: Serialized) -> dict[str, Any]:
        """Give every worker a file or a plugin, and those that join later.

        Args:
            kind: ``file``: of ``{'content': bytes, 'load': bool}``; or ``plugin``.
            payload: wrapped by ``to_serialize``; opaque here.
        Returns:
            ``failures``, by address of the workers that go on without, when all others have it.
        Raises:
            BadRequestError: too big, too many, or no name for a file.
        """
        if kind not in (FILE, PLUGIN) or not is_key(name) or not isinstance(payload, Serialized):
            raise BadRequestError("add_equipment: kind is file or plugin, name a text, payload wrapped")
        if kind == FILE:
            check_file_name(name)
        digest, nbytes = _digest(payload.frames), payload.nbytes
        return await self._orders.order(lambda order: Equip(order, kind, name, digest, payload, nbytes))

    async def remove_equipment(self, stream: Any, name: str) -> dict[str, Any]:
        """Take the plugin `name` from every worker.

        Returns:
            ``failures``, by address, of those on which its teardown raised.
        Raises:
            BadRequestError: no such plugin.
        """
        if not is_key(name):
            raise BadRequestError("remove_equipment: name is a text")
        return await self._orders.order(lambda order: Equip(order, UNPLUG, name, b"", None, 0))

    async def restart(self, stream: Any, reason: str | None = None, timeout_s: float = 30.0) -> dict[str, list[str]]:
        """Cancel all tasks, drop all data, and have every nanny replace its worker's process.

        Returns:
            ``restarted``: addresses of the new workers; ``kept``: of those without a nanny.
        Raises:
            TimeoutError: some are not back within `timeout_s`; the text names them.
        """
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not 0 < timeout_s <= TIMEOUT_S_MAX:
            raise BadRequestError(f"timeout_s={timeout_s!r}: seconds, > 0 and at most {TIMEOUT_S_MAX:g}")
        workers = list(self._state.workers.values())
        guarded = {worker.nanny: worker.address for worker in workers if worker.nanny is not None}
        old = {worker.incarnation for worker in workers}
        self._driver.handle(ForgetTasks(str(reason or "the cluster was restarted")[:REASON_LENGTH_MAX]))
        troubles: dict[str, str] = {}
        missing = list(guarded)
        try:
            async with asyncio.timeout(timeout_s) as bound:
                turns = asyncio.Semaphore(NANNIES_MAX)
                await asyncio.gather(*(_renew(nanny, turns, troubles) for nanny in guarded))
                while missing := [nanny for nanny in guarded if not self._is_back(nanny, old)]:
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            if not bound.expired():
                raise
            named = "; ".join(f"{guarded[n]}: {troubles.get(n, 'not back yet')}" for n in missing[:5])
            raise TimeoutError(f"{len(missing)} workers are not back after {timeout_s:g} s: {named}") from None
        restarted = [worker.address for worker in self._state.workers.values() if worker.nanny in guarded]
        return {"restarted": restarted, "kept": [worker.address for worker in workers if worker.nanny is None]}

    def _is_back(self, nanny: str, old: set[str]) -> bool:
        return any(w.nanny == nanny and w.incarnation not in old for w in self._state.workers.values())


async def _renew(nanny: str, turns: asyncio.Semaphore, troubles: dict[str, str]) -> None:
    """Have a nanny replace its worker; what is in the way is noted, and the worker may come back all the same."""
    async with turns, rpc(nanny, role=WORKER, may_unpickle=False, patient=False) as server:
        try:
            await server.renew()
        except (DistributedError, ValueError) as error:
            troubles[nanny] = str(error)


def _digest(frames: Iterable[Any]) -> bytes:
    digest = blake2b(digest_size=16)
    for frame in frames:
        digest.update(frame)
    return digest.digest()
