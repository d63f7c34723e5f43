"""Functions that a client will not use for a while."""

from __future__ import annotations

from typing import ClassVar

from distributed.messages.base import CLIENT, Message, message

__all__ = ["ReleaseFunctions"]


@message
class ReleaseFunctions(Message):
    """The sender names these functions no more without sending them again; tasks that were submitted keep theirs."""

    op: ClassVar[str] = "release-functions"
    sender: ClassVar[str] = CLIENT
    digests: list[bytes]
