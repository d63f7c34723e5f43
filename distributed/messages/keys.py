"""What clients hold, and what they hear of it."""

from __future__ import annotations

from typing import ClassVar

from distributed.messages.base import (
    CLIENT,
    SCHEDULER,
    Failure,
    Message,
    Payload,
    message,
)

__all__ = [
    "CancelKeys",
    "KeysCancelled",
    "KeysDone",
    "KeysFailed",
    "KeysLost",
    "ReleaseKeys",
    "WantKeys",
]


@message
class WantKeys(Message):
    """The sender holds these existing keys too and wants to hear what becomes of them."""

    op: ClassVar[str] = "want-keys"
    sender: ClassVar[str] = CLIENT
    keys: list[str]


@message
class ReleaseKeys(Message):
    """The sender no longer holds these keys; what nobody holds and nothing needs is forgotten."""

    op: ClassVar[str] = "release-keys"
    sender: ClassVar[str] = CLIENT
    keys: list[str]


@message
class CancelKeys(Message):
    """Stop these tasks and all that depend on them; ``force`` may replace the process that runs one."""

    op: ClassVar[str] = "cancel-keys"
    sender: ClassVar[str] = CLIENT
    keys: list[str]
    force: bool
    reason: str | None


@message
class KeysDone(Message):
    """Results exist; ``results[i]`` is the small payload itself, or None when it stays on a worker."""

    op: ClassVar[str] = "keys-done"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]
    results: list[Payload]
    nbytes: list[int]


@message
class KeysFailed(Message):
    """Tasks raised, or depend on one that did; ``failures[i]`` is opaque, see `distributed.protocol.failure`."""

    op: ClassVar[str] = "keys-failed"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]
    failures: list[Failure]


@message
class KeysCancelled(Message):
    """Tasks that somebody cancelled, or that the scheduler does not know."""

    op: ClassVar[str] = "keys-cancelled"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]
    reason: str


@message
class KeysLost(Message):
    """Results that were done are so no more: they are computed again (a KeysDone follows) or, scattered, gone."""

    op: ClassVar[str] = "keys-lost"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]
    recomputing: bool
