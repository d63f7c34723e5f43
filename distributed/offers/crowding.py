"""How many connections guests may have to an offer, so that there is always one left for its owner. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from distributed.errors import LeaseOverError, QuotaExceededError

__all__ = ["CONNECTIONS_PER_GRANT_MAX", "why_too_many"]

CONNECTIONS_PER_GRANT_MAX = 384  # a Main has about five, and so has each room that submits by itself; 32 of these


def why_too_many(
    name: str, others: Iterable[str], grant_of: Callable[[str], str], count_max: int = CONNECTIONS_PER_GRANT_MAX
) -> Exception | None:
    """Why somebody of that name cannot have one more connection; None: it can.

    Args:
        name: of a grant, or of a tenant's tickets; empty: the owner's key.
        others: names of all connections that there are.
        grant_of: the grant behind a name, empty: the owner; raises LeaseOverError for a tenant that is gone.
    """
    grants: dict[str, str] = {}

    def grant_behind(name: str) -> str:
        if name not in grants:
            try:
                grants[name] = grant_of(name)
            except LeaseOverError:
                grants[name] = name  # it is being shown out
        return grants[name]

    grant = grant_behind(name) if name else ""
    count = sum(grant_behind(other) == grant for other in others if other) if grant else 0
    if count < count_max:
        return None
    return QuotaExceededError(f"connections of the grant {grant!r}", count + 1, count_max, "close some")
