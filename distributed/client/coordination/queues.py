"""Queue: values and futures from whoever puts to whoever gets, each once, first in first out."""

from __future__ import annotations

import time
from typing import Any

from distributed.client.client import Client
from distributed.client.coordination.base import Named, is_done, seconds
from distributed.client.coordination.errand import Errand
from distributed.messages import RequestAnswered

__all__ = ["Queue"]


class Queue(Named):
    """A queue for programs and tasks; its items outlive the clients that put them, until somebody gets them.

    An item is given to one client. If that client ends before it has the item, or is interrupted while it waits, the
    item is in the queue again.

    Args:
        maxsize: items at most, more wait to be put; 0: no such bound. The first who says one sets it.
    """

    kind = "queue"

    def __init__(self, name: str | None = None, client: Client | None = None, maxsize: int = 0) -> None:
        super().__init__(name, client)
        if not isinstance(maxsize, int) or maxsize < 0:
            raise ValueError(f"maxsize={maxsize!r}: a number of items, 0: no bound")
        self.maxsize = maxsize

    def put(self, value: Any, timeout: str | float | None = None) -> Any:
        """Append an item, when there is room.

        Args:
            value: a future, or anything that can be pickled, with futures in its lists, tuples, dicts and sets. Their
                results stay on the cluster. At most 1 MiB: bigger data is scattered.
            timeout: seconds, or such as ``"10s"``; 0: do not wait; None: as long as it takes.
        Raises:
            TimeoutError: it was full all the time. CoordinationLimitError: the item is too big, or all items together.
        """
        timeout_s = seconds(timeout)
        waits = timeout_s is None or timeout_s > 0
        errand = self._errand(
            "put", count=self.maxsize, waits=waits, timeout_s=timeout_s if waits else None, item=value
        )

        def finish(answer: RequestAnswered | None) -> None:
            errand.settle()
            if not is_done(answer):
                raise TimeoutError(f"queue {self.name!r}: it was full for {timeout_s or 0:g} s")

        return errand.run(finish)

    def get(self, timeout: str | float | None = None, batch: bool | int = False) -> Any:
        """The next item, when there is one.

        Args:
            timeout: seconds, or such as ``"10s"``; 0: do not wait; None: as long as it takes.
            batch: True: a list of all items that are there now, also none; a number: a list of so many, when they
                have come.
        Raises:
            TimeoutError: there were too few all the time. None is lost: they stay in the queue.
        """
        if batch is True:
            return self._run(None, 0)
        if batch is not False and batch < 1:
            raise ValueError(f"batch={batch!r}: True, or a number of items, 1 or more")
        return self._run(seconds(timeout), 1 if batch is False else batch, is_list=batch is not False)

    def qsize(self) -> Any:
        """How many items there are now."""
        return self._errand("look").run(lambda answer: answer.number if answer is not None else 0)

    def close(self) -> Any:
        """Drop all items that are there now."""
        return self._errand("close").run(_nothing)

    def __reduce__(self) -> tuple[Any, ...]:
        return _queue, (self.name, self.maxsize)

    # ------------------------------------------------------------ private

    def _run(self, timeout_s: float | None, count: int, is_list: bool = True) -> Any:
        getting = _Getting(self, timeout_s, count)

        def values() -> Any:
            items = getting.take()
            return items if is_list else items[0]

        def now() -> Any:
            with getting:
                while not getting.is_enough:
                    errand = getting.next_errand()
                    errand.now(getting.add)
                return values()

        async def later() -> Any:
            with getting:
                while not getting.is_enough:
                    errand = getting.next_errand()
                    await errand.later(getting.add)
                return values()

        return self._session().run_or_await(now, later)


class _Getting:
    """One `Queue.get`: as many requests as are needed, since an answer is bounded; nothing is taken before all came.

    Args:
        count: items; 0: those that are there.
    """

    def __init__(self, queue: Queue, timeout_s: float | None, count: int) -> None:
        self._queue, self._timeout_s, self._count = queue, timeout_s, count
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._errands: list[Errand] = []
        self._answers: list[RequestAnswered] = []
        self._got = self._there = 0
        self.is_enough = False

    def __enter__(self) -> None:
        """Until the end whatever came can go back."""

    def __exit__(self, *exception: object) -> None:
        for errand in self._errands:
            errand.withdraw()  # if it was not taken

    def next_errand(self) -> Errand:
        """Ask for the rest."""
        left_s = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        waits = left_s is None or left_s > 0
        count = self._count - self._got if self._count else 0
        errand = self._queue._errand("get", count=count, waits=waits, timeout_s=left_s if waits else None)
        self._errands.append(errand)
        return errand

    def add(self, answer: RequestAnswered | None) -> None:
        """Something came, or time is up."""
        if answer is None or not is_done(answer):
            name, waited_s = self._queue.name, self._timeout_s or 0.0
            raise TimeoutError(f"queue {name!r}: too few items came within {waited_s:g} s")
        if not self._count and not self._answers:
            self._there = len(answer.items) + answer.number  # others may go on putting for ever
        self._answers.append(answer)
        self._got += len(answer.items)
        self.is_enough = self._got >= (self._count or self._there) or not (self._count or answer.number)

    def take(self) -> list[Any]:
        """All items, in order."""
        pairs = zip(self._errands, self._answers, strict=True)
        return [value for errand, answer in pairs for value in errand.take(answer)]


def _queue(name: str, maxsize: int) -> Queue:
    return Queue(name, maxsize=maxsize)


def _nothing(answer: RequestAnswered | None) -> None:
    """It was done, and there is nothing to say about it."""
