"""Who is at the other end of a stream."""

from __future__ import annotations

from distributed.dataclass import dataclass
from distributed.security.credentials import NO_CLAIMS, Claims

__all__ = ["Peer"]


@dataclass(slots=True, frozen=True)
class Peer:
    """Who is at the other end: its address, and the role it has proven (ours, on the connecting side).

    Attributes:
        name: a guest's (ours, on the connecting side), without what narrows it; empty for this user's own processes.
        claims: what a guest's name is narrowed to.
    """

    address: str
    role: str
    name: str = ""
    claims: Claims = NO_CLAIMS
