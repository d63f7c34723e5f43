"""One request to the scheduler, from asking to having what it was answered with, for threads and for coroutines.

However a wait ends, by its time, by Ctrl-C, by the cancellation of a coroutine, the request is withdrawn unless what
it was answered with has been taken; so nothing is held by a program that does not know of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from distributed.client.coordination.table import OnAnswer
from distributed.client.futures import Future
from distributed.client.lent import run_lent
from distributed.client.packing import replace_futures
from distributed.client.records import KeyRecord
from distributed.client.session import Session
from distributed.errors import BadRequestError, CoordinationLimitError, RequestLostError
from distributed.ids import KEY_LENGTH_MAX, is_key
from distributed.messages import ITEM_NBYTES_MAX, Coordinate, RequestAnswered, TakeItems, WantKeys, WithdrawRequests
from distributed.protocol.serialize import TaskRef, dumps_payload, loads_payload, payload_nbytes
from distributed.worker.context import await_lent, current_key

__all__ = ["NOTHING", "Errand"]

NOTHING = object()  # no item
COUNT_MAX = 2**31 - 1

T = TypeVar("T")


class Errand:
    """See the module.

    Args:
        kind, names, verb, number, waits: as `Coordinate` has them.
        timeout_s: None: as long as it takes.
        item: what is brought, with futures anywhere in its lists, tuples, dicts and sets.
        frees: this one is asked to release what that one has; should that fail, it is withdrawn.
    Raises:
        ValueError: a name is no text of 1 to 1,000 characters, or a number is out of range.
        CoordinationLimitError: the item is too big. UnpicklableError: it cannot be pickled.

    Attributes:
        number: of the request in its session, 0 before it is asked; life: of the session.
    """

    def __init__(
        self,
        session: Session,
        kind: str,
        names: list[str],
        verb: str,
        *,
        count: int = 0,
        waits: bool = False,
        timeout_s: float | None = None,
        item: Any = NOTHING,
        frees: Errand | None = None,
    ) -> None:
        for name in names:
            if not is_key(name):
                raise ValueError(f"{name!r} is no name of a {kind}: a text of 1 to {KEY_LENGTH_MAX:,} characters")
        if not 0 <= count <= COUNT_MAX:
            raise ValueError(f"{count!r} is out of range for a {kind}: 0 to {COUNT_MAX:,}")
        self.session = session
        self._frees = frees
        self.what = f"{kind} {', '.join(map(repr, names))}"
        self.number = 0
        self.life = 0
        self._timeout_s = timeout_s
        self._is_settled = False  # there is nothing to withdraw
        keys: dict[str, None] = {}
        self._items: list[Any] = []
        if item is not NOTHING:
            self._items.append(dumps_payload(replace_futures(item, keys), "an item"))
            nbytes = payload_nbytes(self._items[0])
            if nbytes > ITEM_NBYTES_MAX:
                text = f"an item of {nbytes:,} bytes, {ITEM_NBYTES_MAX:,} at most: scatter it, and use the future"
                raise CoordinationLimitError(self.what, text)
        self._futures = item  # its futures must live until the scheduler holds their keys
        item_keys = [list(keys)] if self._items else []
        number = count if frees is None else frees.number
        self._message = Coordinate(0, kind, names, verb, current_key(), waits, number, self._items, item_keys)

    def run(self, finish: Callable[[RequestAnswered | None], T]) -> Any:
        """What `finish` makes of the answer (None: its time was up); for an asynchronous client, an awaitable of it."""
        return self.session.run_or_await(lambda: self.now(finish), lambda: self.later(finish))

    def now(self, finish: Callable[[RequestAnswered | None], T]) -> T:
        """Ask, wait in this thread, and finish."""
        try:
            session = self.session
            session.refuse_on_loop()
            if not self._message.waits:
                return finish(self._checked(session.run(self._ask())))
            return finish(self._checked(run_lent(session.loop, self._ask())))
        except BaseException:
            self.withdraw()
            raise

    async def later(self, finish: Callable[[RequestAnswered | None], T]) -> T:
        """Ask, await on any loop, and finish."""
        try:
            asked = self._on_session_loop(self._ask())
            return finish(self._checked(await (await_lent(asked) if self._message.waits else asked)))
        except BaseException:
            self.withdraw()
            raise

    def settle(self) -> None:
        """What was granted is in good hands."""
        self._is_settled = True

    def take(self, answer: RequestAnswered) -> list[Any]:
        """The items of the answer; this client holds the futures in them from here on.

        Raises:
            Whatever loading an item raises; then all of them are lost.
        """
        session = self.session
        keys = dict.fromkeys(key for entry in answer.item_keys for key in entry)
        records: dict[str, KeyRecord] = {}
        with session.table.lock:
            self.settle()
            news: list[str] = []
            for key in keys:
                records[key], is_news = session.table.admit(key)
                if is_news:
                    news.append(key)
            if news:
                session.link.outbox.append(WantKeys(news))
            session.link.outbox.append(TakeItems([answer.request]))
        session.link.wake()
        futures = {key: Future(session, record) for key, record in records.items()}
        values = [loads_payload(payload) for payload in answer.items]
        return [_with_futures(value, futures) for value in values] if futures else values

    def send(self) -> None:
        """Ask, and do not care for the answer; on the session's loop."""
        self._queue(lambda answer: None)

    def withdraw(self) -> None:
        """Undo the request, whatever became of it, unless that is settled; from any thread."""
        if self._frees is not None and not self._is_settled:
            self._frees._is_settled = False
            self._frees.withdraw()  # which frees it too, if it was not
        if self._is_settled or not self.number:
            return
        self._is_settled = True
        session = self.session
        with session.table.lock:
            session.requests.forget(self.number)
            if session.link.end is None and session.requests.life == self.life:
                session.link.outbox.append(WithdrawRequests([self.number]))
        session.link.wake()

    # ------------------------------------------------------------ private

    async def _on_session_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        loop = self.session.loop
        if asyncio.get_running_loop() is loop:
            return await coroutine
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))

    async def _ask(self) -> RequestAnswered | None:
        """On the session's loop: the answer, None when time is up."""
        session = self.session
        answered: asyncio.Future[RequestAnswered | None] = session.loop.create_future()

        def on_answer(message: RequestAnswered | None) -> None:
            if not answered.done():
                answered.set_result(message)

        self._queue(on_answer)
        try:
            async with asyncio.timeout(self._timeout_s):
                message = await answered
        except TimeoutError:
            self.withdraw()
            return None
        except BaseException:  # cancelled, perhaps before whoever waits knew the number
            self.withdraw()
            raise
        if message is None:
            session.check_open()
            raise RequestLostError(session.scheduler_address, session.requests.reason, self.what)
        return message

    def _queue(self, on_answer: OnAnswer) -> None:
        session = self.session
        with session.table.lock:
            session.check_open()
            self.life = session.requests.life
            self.number = self._message.request = session.requests.begin(on_answer)
            session.link.outbox.append(self._message)
        session.link.wake()

    def _checked(self, answer: RequestAnswered | None) -> RequestAnswered | None:
        if answer is not None and answer.outcome == "limit":
            raise CoordinationLimitError(self.what, answer.text)
        if answer is not None and answer.outcome == "refused":
            raise BadRequestError(f"{self.what}: {answer.text}")
        if answer is not None and answer.outcome != "done":
            self.settle()
        return answer


def _with_futures(value: Any, futures: dict[str, Future]) -> Any:
    """`value` with the future for every `TaskRef` in it: the opposite of `replace_futures`."""
    kind = type(value)
    if kind is TaskRef:
        return futures[value.key]
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return kind(_with_futures(entry, futures) for entry in value)
    if kind is dict:
        return {name: _with_futures(entry, futures) for name, entry in value.items()}
    return value
