"""What is wrong between Mains and offers: admission, leases, rooms, handles of `@distributed` calls."""

from __future__ import annotations

from distributed.errors.base import DistributedError
from distributed.errors.wire import KeyFileError

__all__ = [
    "CredentialError",
    "GrantError",
    "LeaseOverError",
    "OfferFullError",
    "OfferWithdrawnError",
]


class LeaseOverError(DistributedError):
    """Nobody's fault, mostly: an offer does not know the Main any more, or it has never joined; it joins again."""

    def __init__(self, offer: str) -> None:
        self.offer = offer
        super().__init__(f"the offer at {offer} has no lease for this Main (any more): join it again")


class OfferFullError(DistributedError):
    """The operator's: an offer has as many tenants, rooms or wishes as it allows; wait, use another, or raise it."""

    def __init__(self, offer: str, what: str, cure: str) -> None:
        self.offer = offer
        super().__init__(f"the offer at {offer} is full: {what}; {cure}")


class OfferWithdrawnError(DistributedError):
    """The owner's will: an offer lends nothing at the moment; use others, or wait until it is returned."""

    def __init__(self, offer: str) -> None:
        self.offer = offer
        super().__init__(
            f"the owner of the offer at {offer} has withdrawn it; wait until it is returned "
            f"(distributed return {offer}), or use other offers"
        )


class CredentialError(KeyFileError):
    """A credential cannot be used: its file is missing, not safe or damaged, or it does not allow what is asked of it.

    Ask the owner of the offer for another one (`distributed grant NAME`), or narrow it less.
    """

    WHAT = "credential"


class GrantError(DistributedError, ValueError):
    """The owner's fault: a grant cannot be made or withdrawn; the text names it and says what to do."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"grant {name!r}: {reason}")
