"""What the scheduler tells clients of its own accord about tasks that get nowhere."""

from __future__ import annotations

from typing import ClassVar

from distributed.messages.base import SCHEDULER, Message, message

__all__ = ["KeysStuck"]


@message
class KeysStuck(Message):
    """Tasks that no worker can run as things stand; one entry for each reason. They run if such a worker comes.

    ``waiting[i]`` are keys that the receiver holds, the first 20; ``counts[i]`` is how many there are.
    ``blocked[i]`` is the task that cannot run: ``waiting[i][0]`` itself, or one that it needs. ``reasons[i]`` goes on
    where a sentence begins with that key.
    """

    op: ClassVar[str] = "keys-stuck"
    sender: ClassVar[str] = SCHEDULER
    waiting: list[list[str]]
    counts: list[int]
    blocked: list[str]
    reasons: list[str]
