"""A client's requests for locks, queues and their like that the scheduler has not answered.

Pure: it counts requests and tells who waits. The session's lock guards it together with the order of the outbox.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from distributed.messages import RequestAnswered, RequestWaits

__all__ = ["OnAnswer", "RequestTable"]

logger = logging.getLogger(__name__)

OnAnswer = Callable[[RequestAnswered | None], object]


class RequestTable:
    """See the module. Answers come on the loop.

    Attributes:
        pending: whom to tell, by number of the request.
        life: how many sessions there were before: what was granted in an earlier one is held no more.
        reason: why the last one ended.
    """

    def __init__(self) -> None:
        self.pending: dict[int, OnAnswer] = {}
        self.life = 0
        self.reason = ""
        self._last = 0

    def handlers(self) -> dict[type, Callable[[Any], None]]:
        """What to do with each type of message."""
        return {RequestAnswered: self.on_answered, RequestWaits: self.on_waits}

    def begin(self, on_answer: OnAnswer) -> int:
        """The number of a new request; its message is to be queued under the same lock.

        Args:
            on_answer: called once with the answer; with None if the session ends before.
        """
        self._last += 1
        self.pending[self._last] = on_answer
        return self._last

    def forget(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        self.pending.pop(number, None)

    def on_answered(self, message: RequestAnswered) -> None:
        """The scheduler has answered; what was forgotten, or has been answered before, is ignored."""
        on_answer = self.pending.pop(message.request, None)
        if on_answer is not None:
            on_answer(message)

    def on_waits(self, message: RequestWaits) -> None:
        """The scheduler says for whom a request has been waiting for long."""
        if message.request in self.pending:
            logger.warning("%s", message.text)

    def lose(self, reason: str) -> None:
        """The session has ended: nothing is answered, and what was held is not."""
        self.life += 1
        self.reason = reason
        pending, self.pending = self.pending, {}
        for on_answer in pending.values():
            on_answer(None)
