"""Fairness among workers that fetch from each other: how many are served at once, and how long silence is borne."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from distributed.calls import rpc
from distributed.errors import CommClosedError
from distributed.units import MiB

__all__ = ["BigAnswers", "unless_silent"]

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
    """Big answers with data that are being made or sent, at most `BIG_ANSWERS_MAX` for those who can come again."""

    _answers: list[_Answer] = field(default_factory=list)

    def begin(self, stream: Any, or_busy: bool, now: float) -> _Answer | None:
        """Count one more; None: there are too many already, and `or_busy` says that this asker can come again."""
        self._answers = [answer for answer in self._answers if answer.is_under_way(now)]
        if or_busy and len(self._answers) >= BIG_ANSWERS_MAX:
            return None
        answer = _Answer(stream)
        self._answers.append(answer)
        return answer


async def unless_silent(peer: rpc, call: asyncio.Future[Any], silence_s: float) -> Any:
    """The answer to a call, however long it takes, as long as bytes come from the peer.

    Raises:
        CommClosedError: none came for `silence_s` seconds; the connections are closed, since they may be half open.
        What the call raises.
    """
    received = peer.receives
    while True:
        done, _ = await asyncio.wait([call], timeout=silence_s)
        if done:
            return call.result()
        if peer.receives == received:
            call.cancel()
            peer.close_streams()
            raise CommClosedError(peer.address, f"nothing came for {silence_s:g} s")
        received = peer.receives
