"""The Main's half of shipping: an offer is asked what it lacks of a workspace, and sent that and no more.

What is *not* here: how the offer is reached (`call` is given), when to ship (`distributed.crews`), and what the offer
does with what it gets (`distributed.workspace.receiving`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from distributed.dataclass import dataclass

__all__ = ["Call", "Progress", "Shipped", "ship"]

Progress = Callable[[int, int], None]  # bytes that the offer has of those it lacked, bytes that it lacked


class Call(Protocol):
    """``await call(op, **content)`` asks the offer; whoever gives it adds what tells the tenant."""

    def __call__(self, op: str, **content: Any) -> Awaitable[Any]:
        """The offer's answer."""


@dataclass(slots=True, frozen=True)
class Shipped:
    """What it took.

    Attributes:
        message_nbytes: of all requests and answers as they are encoded, without the contents of files.
        blob_nbytes: contents of files that the Main sent.
        blobs: how many contents the offer lacked.
        fetched_nbytes: contents that the offer got from other offers.
        rounds: requests that had to be answered one after the other.
    """

    message_nbytes: int
    blob_nbytes: int
    blobs: int
    fetched_nbytes: int
    rounds: int


async def ship(
    call: Call,
    workspace: Any,
    manifest: Any,
    known: Any = None,
    *,
    sources: Sequence[str] = (),
    progress: Progress | None = None,
) -> Shipped:
    """Have the offer behind `call` hold everything of `manifest`.

    Args:
        call: asks the offer, ``await call(op, **content)``.
        workspace: whose ``read(digest)`` and ``open(digest)`` give contents.
        manifest: what the offer shall have.
        known: a manifest that the offer was given before, None: no idea. A good guess saves bytes, a wrong one a round.
        sources: addresses of other offers that have this workspace, or most of it.
        progress: told as contents arrive.
    """
    raise NotImplementedError
