"""Pub and Sub: messages for all who have subscribed by then; who does not fetch loses the oldest ones."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from typing import Any

from distributed.client.client import Client
from distributed.client.coordination.base import Named, is_done, seconds
from distributed.client.coordination.errand import Errand
from distributed.errors import CommClosedError
from distributed.messages import RequestAnswered

__all__ = ["Pub", "Sub"]


class Pub(Named):
    """Publishes on a topic."""

    kind = "topic"

    def put(self, message: Any) -> Any:
        """Send `message` to all who have subscribed; how many they are.

        Args:
            message: a future, or anything that can be pickled, of at most 1 MiB.
        """
        return self._errand("publish", item=message).run(lambda answer: answer.number if answer is not None else 0)


class Sub(Named):
    """Gets what is published on a topic from now on (of an asynchronous client: from ``await sub.start()`` on).

        for message in Sub('news'): ...          # or: async for

    Args:
        buffer: messages kept for it while it does not fetch them, 10,000 at most; then the oldest are dropped.

    Attributes:
        dropped: how many were, as far as it has been told.
    """

    kind = "topic"

    def __init__(self, name: str | None = None, client: Client | None = None, buffer: int = 1_000) -> None:
        super().__init__(name, client)
        if not isinstance(buffer, int) or not 1 <= buffer <= 10_000:
            raise ValueError(f"buffer={buffer!r}: a number of messages, 1 to 10,000")
        self.buffer = buffer
        self.dropped = 0
        self._here: deque[Any] = deque()
        self._subscription: Errand | None = None
        if not self.client.asynchronous:
            self.start()

    def start(self) -> Any:
        """Subscribe, unless that is done; `get` does it too."""
        session = self._session()

        async def nothing() -> None:
            """It has begun."""

        if self._is_live():
            return session.run_or_await(lambda: None, nothing)
        errand = self._errand("subscribe", count=self.buffer)
        return errand.run(lambda answer: self._begun(errand, answer))

    def get(self, timeout: str | float | None = None) -> Any:
        """The next message.

        Args:
            timeout: seconds, or such as ``"10s"``; 0: do not wait; None: as long as it takes.
        Raises:
            TimeoutError: none came. CommClosedError: it was closed meanwhile.
            RequestLostError: the scheduler has forgotten this client; `get` subscribes anew.
        """
        timeout_s = seconds(timeout)
        return self._session().run_or_await(lambda: self._get_now(timeout_s), lambda: self._get_later(timeout_s))

    def close(self) -> Any:
        """Subscribe no more, and drop what has come."""
        session, errand = self._session(), self._subscription
        self._subscription = None
        self._here.clear()

        async def nothing() -> None:
            """It had not begun."""

        if errand is None:
            return session.run_or_await(lambda: None, nothing)
        return self._errand("unsubscribe", count=errand.number).run(lambda answer: None)

    def __reduce__(self) -> tuple[Any, ...]:
        return _sub, (self.name, self.buffer)

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield self._get_now(None)

    def __aiter__(self) -> Sub:
        return self

    async def __anext__(self) -> Any:
        return await self._get_later(None)

    def __del__(self) -> None:
        errand = getattr(self, "_subscription", None)
        if errand is not None and self._is_live():
            # Collected in whichever thread, perhaps under the session's lock: so the loop says that it is over.
            with contextlib.suppress(RuntimeError):
                errand.session.loop.call_soon_threadsafe(_unsubscribe, errand, self.name)

    # ------------------------------------------------------------ private

    def _is_live(self) -> bool:
        errand = self._subscription
        return errand is not None and errand.life == errand.session.requests.life

    def _begun(self, errand: Errand, answer: RequestAnswered | None) -> None:
        if is_done(answer):
            errand.settle()
            self._subscription = errand

    def _next(self, timeout_s: float | None) -> Errand:
        assert self._subscription is not None
        waits = timeout_s is None or timeout_s > 0
        number = self._subscription.number
        return self._errand("next", count=number, waits=waits, timeout_s=timeout_s if waits else None)

    def _get_now(self, timeout_s: float | None) -> Any:
        if not self._here:
            if not self._is_live():
                errand = self._errand("subscribe", count=self.buffer)
                errand.now(lambda answer: self._begun(errand, answer))
            asked = self._next(timeout_s)
            asked.now(lambda answer: self._came(asked, answer, timeout_s))
        return self._here.popleft()

    async def _get_later(self, timeout_s: float | None) -> Any:
        if not self._here:
            if not self._is_live():
                errand = self._errand("subscribe", count=self.buffer)
                await errand.later(lambda answer: self._begun(errand, answer))
            asked = self._next(timeout_s)
            await asked.later(lambda answer: self._came(asked, answer, timeout_s))
        return self._here.popleft()

    def _came(self, errand: Errand, answer: RequestAnswered | None, timeout_s: float | None) -> None:
        if answer is not None and answer.outcome == "unknown":
            raise CommClosedError(errand.session.scheduler_address, f"the subscription of {self.name!r} was closed")
        if answer is None or not is_done(answer):
            raise TimeoutError(f"topic {self.name!r}: nothing was published within {timeout_s or 0:g} s")
        self.dropped += answer.number
        self._here.extend(errand.take(answer))


def _sub(name: str, buffer: int) -> Sub:
    return Sub(name, buffer=buffer)


def _unsubscribe(errand: Errand, name: str) -> None:
    """On the loop: the handle is gone."""
    session = errand.session
    if session.link.end is None and errand.life == session.requests.life:
        gone = Errand(session, "topic", [name], "unsubscribe", count=errand.number)
        gone.send()
