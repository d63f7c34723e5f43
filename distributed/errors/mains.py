"""What is wrong between Mains and offers: admission, leases, rooms, handles of `@distributed` calls."""

from __future__ import annotations

from distributed.errors.wire import KeyFileError

__all__ = ["CredentialError"]


class CredentialError(KeyFileError):
    """A credential cannot be used: its file is missing, not safe or damaged, or it does not allow what is asked of it.

    Ask the owner of the offer for another one (`distributed grant NAME`), or narrow it less.
    """

    WHAT = "credential"
