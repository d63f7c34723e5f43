"""Locks, events, semaphores, queues, variables, topics and datasets: what is asked of the scheduler, and its answers.

A request has a number, counted by its client. It is answered once, however long that takes, unless it is withdrawn.
"""

from __future__ import annotations

from typing import ClassVar

from distributed.messages.base import (
    CLIENT,
    SCHEDULER,
    Message,
    Payload,
    message,
)

__all__ = ["ITEM_NBYTES_MAX", "Coordinate", "RequestAnswered", "RequestWaits", "TakeItems", "WithdrawRequests"]

ITEM_NBYTES_MAX = 1024 * 1024  # of a payload; bigger data belongs on workers: scatter it, and send the future


@message
class Coordinate(Message):
    """Do ``verb`` with the ``kind`` (lock, queue, ...) of these ``names``; `RequestAnswered` follows.

    ``waits``: an answer "no" will not do, so it waits until it can be done. ``number`` is what the verb says. An item
    is a payload with the keys of the futures in it. ``task`` is the key of the task that asks, None: a program does.
    """

    is_whole: ClassVar[bool] = True
    op: ClassVar[str] = "coordinate"
    sender: ClassVar[str] = CLIENT
    request: int
    kind: str
    names: list[str]
    verb: str
    task: str | None
    waits: bool
    number: int
    items: list[Payload]
    item_keys: list[list[str]]


@message
class WithdrawRequests(Message):
    """Undo what these requests wait for, hold or got: the sender does not want, or did not take, the answer."""

    op: ClassVar[str] = "withdraw-requests"
    sender: ClassVar[str] = CLIENT
    requests: list[int]


@message
class TakeItems(Message):
    """The items that these requests were answered with have come, and the sender holds the keys in them itself."""

    op: ClassVar[str] = "take-items"
    sender: ClassVar[str] = CLIENT
    requests: list[int]


@message
class RequestAnswered(Message):
    """What became of a request; ``outcome`` and ``text`` as `distributed.scheduler.coordination.answering` has them."""

    is_whole: ClassVar[bool] = True  # a request has one answer
    op: ClassVar[str] = "request-answered"
    sender: ClassVar[str] = SCHEDULER
    request: int
    outcome: str
    text: str
    number: int
    names: list[str]
    items: list[Payload]
    item_keys: list[list[str]]


@message
class RequestWaits(Message):
    """A request has waited for long; ``text`` says for whom."""

    op: ClassVar[str] = "request-waits"
    sender: ClassVar[str] = SCHEDULER
    request: int
    text: str
