"""One store per credential: what one user sent, no other user's manifest can claim.

A tenant whose manifest names a digest gets that content laid out. If contents were shared between credentials, whoever
knows (or guesses) the digest of a secret would get the secret, and the list of what is lacking would tell everybody
what others have. So a content counts as here only within the space of the credential that sent it.
"""

from __future__ import annotations

from distributed.workspace.store import BlobStore

__all__ = ["OWNER", "Spaces"]

OWNER = "owner"


class Spaces:
    """The stores of an offer below one folder, and the bounds on them.

    Args:
        folder: None: `default_folder`.
        nbytes_max: all spaces together.
        guest_nbytes_max: bound on the space of one grant; None: a quarter of `nbytes_max`.
    """

    def __init__(self, folder: str | None, nbytes_max: int, guest_nbytes_max: int | None = None) -> None:
        raise NotImplementedError

    def of(self, space: str) -> BlobStore:
        """The store of a credential, made when first asked for."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of all pins."""
        raise NotImplementedError
