"""Ops that take their time: moving data and letting workers go. Each becomes an order to the machine, and waits for it.

An order goes on when its caller has left; it cannot be taken back. Not here: what orders do (`movement`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from distributed.driver import Driver
from distributed.errors import BadRequestError
from distributed.ids import is_key, unique_id
from distributed.scheduler.effects import OrderDone
from distributed.scheduler.events import Equip, Rebalance, Replicate, Retire, WorkerAlive, WorkerReplacing

__all__ = ["OrderOps"]

REASON_LENGTH_MAX = 500


class OrderOps:
    """The handlers, and who waits for which order. The machine bounds how many there are (`movement.ORDERS_MAX`)."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def replicate(
        self, stream: Any, keys: list[str], copies: int | None = None, workers: list[str] | None = None
    ) -> dict[str, int]:
        """Copy data until `copies` of the workers named hold each key; None: all of them, in a tree.

        Args:
            keys: of results or scattered data that exist now.
            copies: more than there are workers is as good as all.
            workers: addresses or names; None: any.
        Returns:
            ``copied``: copies made; ``nbytes``: their size together.
        Raises:
            UncopiedDataError: some keys could not be copied, the text names them; the others were.
            BadRequestError: no such worker, or too many orders under way.
        """
        if copies is not None and (type(copies) is not int or copies < 1):
            raise BadRequestError(f"replicate: copies={copies!r} is no number >= 1")
        return await self.order(lambda order: Replicate(order, _names("keys", keys), copies, _some(workers)))

    async def rebalance(
        self, stream: Any, keys: list[str] | None = None, workers: list[str] | None = None
    ) -> dict[str, int]:
        """Even out the bytes that workers hold by moving data from the fullest to the emptiest.

        Args:
            keys: what may be moved; None: everything. What cannot be moved stays where it is, which is no error.
            workers: addresses or names between which; None: all.
        Returns:
            As `replicate`. Raises BadRequestError likewise.
        """
        names = None if keys is None else _names("keys", keys)
        return await self.order(lambda order: Rebalance(order, names, _some(workers)))

    async def retire_workers(self, stream: Any, workers: list[str], reason: str | None = None) -> dict[str, list[str]]:
        """Let workers go once their tasks have ended or moved and their data lies elsewhere; answers when they have.

        Args:
            workers: addresses or names. Running tasks end first, however long they take.
            reason: for people.
        Returns:
            ``retired``: their addresses, in the order in which they left.
        Raises:
            BadRequestError: no such worker.
        """
        text = str(reason or "retired on request")[:REASON_LENGTH_MAX]
        return await self.order(lambda order: Retire(order, _names("workers", workers), text))

    def worker_alive(self, stream: Any, address: str, incarnation: str, running: list[str] | None = None) -> str:
        """A nanny vouches for its worker: it lives, however silent it is; these keys run there, as it has them."""
        if not is_key(address) or not is_key(incarnation):
            raise BadRequestError("address and incarnation are texts")
        keys = [str(key) for key in running] if isinstance(running, list) else None  # some may be half written
        self._driver.handle(WorkerAlive(address, incarnation, keys))
        return "OK"

    def worker_replacing(self, stream: Any, address: str, incarnation: str, rescued: list[str]) -> str:
        """A nanny is about to replace its worker's process, and has taken the data of `rescued` out of it."""
        if not is_key(address) or not is_key(incarnation):
            raise BadRequestError("address and incarnation are texts")
        self._driver.handle(WorkerReplacing(address, incarnation, list(_names("rescued", rescued))))
        return "OK"

    def order_done(self, effect: OrderDone) -> None:
        """Perform the effect: whoever waits has the answer."""
        waiting = self._waiting.pop(effect.order, None)
        if waiting is None or waiting.done():
            return
        if effect.error is None:
            waiting.set_result(effect.result)
        else:
            waiting.set_exception(effect.error)

    async def order(self, make: Callable[[str], Replicate | Rebalance | Retire | Equip]) -> dict[str, Any]:
        """Give the machine the event that `make` makes of a new id; what `OrderDone` brings, or raises."""
        order = unique_id("order")
        event = make(order)
        waiting: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[order] = waiting
        self._driver.handle(event)
        try:
            return await waiting
        finally:
            self._waiting.pop(order, None)


def _names(what: str, names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(is_key(name) for name in names):
        raise BadRequestError(f"{what} is a list of texts")
    return tuple(names)


def _some(workers: Any) -> tuple[str, ...] | None:
    return None if workers is None else _names("workers", workers)
