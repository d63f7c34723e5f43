"""Futures of results that others made, known by key only; and waiting until what was let go is gone."""

from __future__ import annotations

from collections.abc import Sequence

from distributed.client.futures import Future
from distributed.client.records import KeyRecord
from distributed.client.session import Session
from distributed.ids import unique_id
from distributed.messages import WantKeys
from distributed.worker.context import sheltered

__all__ = ["adopt", "settle_releases"]


def adopt(session: Session, keys: Sequence[str]) -> list[Future]:
    """A future for each key, which holds its result from now on; those that nobody holds become cancelled.

    Raises:
        CommClosedError: the client or the scheduler is closed.
    """
    session._drop_released()  # so that the scheduler hears of it in the right order
    with sheltered(), session.table.lock:
        session.check_open()
        records: list[KeyRecord] = []
        news: list[str] = []
        for key in keys:
            record, is_news = session.table.admit(key)
            records.append(record)
            if is_news:
                news.append(key)
        if news:
            session.link.outbox.append(WantKeys(news))
    session.link.wake()
    return [Future(session, record) for record in records]


def settle_releases(session: Session, timeout_s: float) -> None:
    """Return when the scheduler has heard of everything that was released before.

    Raises:
        TimeoutError: it did not answer. CommClosedError: the client or the scheduler is closed.
    """
    (nothing,) = adopt(session, [unique_id("nothing")])  # which it says it does not know, after all that came before
    session.wait_settled([nothing._record], timeout_s)
    session.check_open()
