"""Fairness among workers that fetch from each other: how many are served at once, and how long silence is borne."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distributed.calls import rpc
from distributed.config import settings
from distributed.dataclass import dataclass, field
from distributed.errors import CommClosedError, ConnectTimeoutError, PeerBusyError
from distributed.protocol.serialize import Serialized
from distributed.security.permissions import WORKER
from distributed.units import MiB

__all__ = ["BigAnswers", "Peers", "unless_silent"]

BIG_ANSWER_NBYTES = 32 * MiB  # smaller ones are through sooner than a refusal would take to be told and slept over
BIG_ANSWERS_MAX = 4  # enough to fill a network card; those refused soon find copies at those who were not
WRITTEN_S = 0.05  # an answer that was made so long ago has been written; then what counts is whether it is sent


@dataclass(slots=True)
class _Answer:
    stream: Any
    made_at: float | None = None  # None: still in the making

    def is_under_way(self, now: float) -> bool:
        if self.stream.closed():
            return False
        return self.made_at is None or now - self.made_at < WRITTEN_S or self.stream.nbytes_unsent > 0


@dataclass(slots=True)
class BigAnswers:
    """Big answers with data that are being made or sent, at most `BIG_ANSWERS_MAX` for those who can come again.

    Attributes:
        own_address: who we are, for the refusal; asked late, as it is not known before we listen.
        clock: monotonic seconds.
    """

    own_address: Callable[[], str]
    clock: Callable[[], float] = time.monotonic
    _answers: list[_Answer] = field(default_factory=list)

    @contextmanager
    def place(self, stream: Any, nbytes: int, or_busy: bool) -> Iterator[None]:
        """While an answer of `nbytes` is made for the peer at `stream`; it counts until it is sent, if it is big.

        Raises:
            PeerBusyError: there are too many already, and `or_busy` says that this asker can come again.
        """
        if nbytes < BIG_ANSWER_NBYTES:
            yield
            return
        now = self.clock()
        self._answers = [answer for answer in self._answers if answer.is_under_way(now)]
        if or_busy and len(self._answers) >= BIG_ANSWERS_MAX:
            raise PeerBusyError(self.own_address())
        answer = _Answer(stream)
        self._answers.append(answer)
        try:
            yield
        finally:
            answer.made_at = self.clock()


async def unless_silent(peer: rpc, call: asyncio.Future[Any], silence_s: float) -> Any:
    """The answer to a call, however long it takes, as long as bytes come from the peer.

    Raises:
        CommClosedError: none came for `silence_s` seconds; the connections are closed, since they may be half open.
        What the call raises.
    """
    received = peer.receives
    try:
        while True:
            done, _ = await asyncio.wait([call], timeout=silence_s)
            if done:
                return call.result()
            if peer.receives == received:
                call.cancel()  # first, so that it does not fail of what we do next
                peer.close_streams()
                raise CommClosedError(peer.address, f"nothing came for {silence_s:g} s")
            received = peer.receives
    finally:
        call.cancel()  # when who waits here is cancelled, nobody is left to see how it ends


class Peers:
    """The workers that this one fetches from."""

    def __init__(self) -> None:
        self._links: dict[str, rpc] = {}

    async def ask(self, address: str, keys: list[str], or_busy: bool = False) -> dict[str, Serialized]:
        """Those of `keys` that the worker at `address` has. PeerBusyError: it has no time, with ``or_busy``."""
        if address not in self._links:
            self._links[address] = rpc(address, role=WORKER, patient=False)
        peer = self._links[address]
        found: dict[str, Serialized] = {}
        left = keys
        while left:
            try:
                call = peer.call("get_data", keys=left, or_busy=or_busy and not found)
                answer: dict[str, Serialized] = await unless_silent(peer, call, settings().fetch_silence_s)
            except (CommClosedError, ConnectTimeoutError):
                self._links.pop(address, None)  # gone, perhaps for good
                raise
            found.update((key, answer[key]) for key in left if key in answer)
            if not any(key in answer for key in left):
                break
            left = [key for key in left if key not in answer]  # what did not fit into one message, or is not there
        return found

    async def close(self) -> None:
        """End all connections."""
        for link in self._links.values():
            await link.close()
