"""What is wrong between Mains and offers: admission, leases, rooms, handles of `@distributed` calls."""

from __future__ import annotations

from distributed.errors.base import DistributedError
from distributed.errors.wire import KeyFileError

__all__ = ["CredentialError", "GrantError"]


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
