"""Where results and scattered data are, and where they go."""

from __future__ import annotations

from typing import ClassVar

from distributed.messages.base import (
    SCHEDULER,
    WORKER,
    Message,
    message,
)

__all__ = [
    "AskHolders",
    "CopiesFailed",
    "CopyData",
    "DataAdded",
    "DataRemoved",
    "HoldersKnown",
    "ReleaseData",
]


@message
class ReleaseData(Message):
    """Drop these results; unknown ones are no error."""

    op: ClassVar[str] = "release-data"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]


@message
class CopyData(Message):
    """Fetch these from one of their holders and keep them; `DataAdded` or `CopiesFailed` follows for every key."""

    op: ClassVar[str] = "copy-data"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]
    nbytes: list[int]
    holders: list[list[str]]


@message
class HoldersKnown(Message):
    """Who holds these keys now, none of them twice; empty: nobody. The answer to `AskHolders`."""

    op: ClassVar[str] = "holders-known"
    sender: ClassVar[str] = SCHEDULER
    keys: list[str]
    holders: list[list[str]]


@message
class DataAdded(Message):
    """This worker now holds copies of these keys: fetched from a peer, or scattered by ``client`` (else None)."""

    op: ClassVar[str] = "data-added"
    sender: ClassVar[str] = WORKER
    keys: list[str]
    nbytes: list[int]
    client: str | None


@message
class DataRemoved(Message):
    """This worker no longer holds these keys, though nobody asked it to drop them."""

    op: ClassVar[str] = "data-removed"
    sender: ClassVar[str] = WORKER
    keys: list[str]


@message
class CopiesFailed(Message):
    """`CopyData` did not work for these keys: nobody named had or gave them; ``gone`` as in `TasksMissingData`."""

    op: ClassVar[str] = "copies-failed"
    sender: ClassVar[str] = WORKER
    keys: list[str]
    gone: list[list[list[str]]]


@message
class AskHolders(Message):
    """Who holds these keys now? Those that were named are busy or gone."""

    op: ClassVar[str] = "ask-holders"
    sender: ClassVar[str] = WORKER
    keys: list[str]
