"""Who is at the other end of a stream."""

from __future__ import annotations

from distributed.dataclass import dataclass

__all__ = ["Peer"]


@dataclass(slots=True, frozen=True)
class Peer:
    """Who is at the other end: its address, and the role it has proven (ours, on the connecting side)."""

    address: str
    role: str
