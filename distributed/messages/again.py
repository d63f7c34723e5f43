"""What clients ask of tasks that exist: to run once more, or not to begin."""

from __future__ import annotations

from typing import ClassVar

from distributed.messages.base import CLIENT, Message, message

__all__ = ["CancelQueued", "RetryKeys"]


@message
class RetryKeys(Message):
    """Run these tasks, which failed, and whatever failed before them, once more; the sender holds them.

    It hears of each again: KeysDone or KeysFailed, or KeysCancelled for one that is not known.
    """

    op: ClassVar[str] = "retry-keys"
    sender: ClassVar[str] = CLIENT
    keys: list[str]


@message
class CancelQueued(Message):
    """Cancel those of these tasks that no worker has, no other client holds and nothing depends on."""

    op: ClassVar[str] = "cancel-queued"
    sender: ClassVar[str] = CLIENT
    keys: list[str]
