"""One store per credential: what one user sent, no other user's manifest can claim.

A tenant whose manifest names a digest gets that content laid out. If contents were shared between credentials, whoever
knows (or guesses) the digest of a secret would get the secret, and the list of what is lacking would tell everybody
what others have. So a content counts as here only within the space of the credential that sent it.
"""

from __future__ import annotations

import hashlib
import os
import threading

from distributed.errors import StoreFullError
from distributed.units import MiB
from distributed.workspace.store import BlobStore, default_folder, make_private

__all__ = ["OWNER", "Spaces"]

OWNER = ""  # the space of the machine's owner; any other text is the name of a grant
GUEST_FRACTION = 0.25  # of the bound on all spaces, unless the owner says otherwise


class Spaces:
    """The stores of an offer below one folder, and the bounds on them.

    Args:
        folder: None: `default_folder`.
        nbytes_max: all spaces together, in whole blocks of 4 KiB per file.
        guest_nbytes_max: the space of one grant; None: a quarter of `nbytes_max`.
        free_nbytes_min: of the file system, left to others.
    Raises:
        StoreFolderError: the folder cannot be used.
    """

    def __init__(
        self,
        folder: str | None,
        nbytes_max: int,
        guest_nbytes_max: int | None = None,
        free_nbytes_min: int = 64 * MiB,
    ) -> None:
        self.folder = os.path.abspath(folder or default_folder())
        self.nbytes_max = nbytes_max
        self.guest_nbytes_max = guest_nbytes_max or max(1, int(nbytes_max * GUEST_FRACTION))
        self._free_nbytes_min = free_nbytes_min
        self._store_by_name: dict[str, BlobStore] = {}
        self._turn = threading.Lock()
        make_private(self.folder)

    def of(self, space: str) -> BlobStore:
        """The store of a credential, made when first asked for."""
        name = "owner" if space == OWNER else f"guest-{hashlib.sha256(space.encode()).hexdigest()[:32]}"
        return self._store(name)

    def usage(self) -> int:
        """Bytes that all spaces use; an estimate that is never too low."""
        return sum(self._usages().values())

    def close(self) -> None:
        """Let go of all pins."""
        with self._turn:
            for store in self._store_by_name.values():
                store.close()

    def _store(self, name: str) -> BlobStore:
        with self._turn:
            if name not in self._store_by_name:
                nbytes_max = self.nbytes_max if name == "owner" else min(self.guest_nbytes_max, self.nbytes_max)
                folder = os.path.join(self.folder, name)
                store = BlobStore(folder, nbytes_max, self._free_nbytes_min, self._make_room)
                self._store_by_name[name] = store
            return self._store_by_name[name]

    def _make_room(self, nbytes: int) -> None:
        """Before one space grows: have the biggest ones give back what all of them use too much.

        What is pinned stays. Two processes that do this at once may together pass the bound by what each takes.

        Raises:
            StoreFullError: it is not enough.
        """
        usages = self._usages()
        excess = sum(usages.values()) + nbytes - self.nbytes_max
        for name in sorted(usages, key=lambda name: (-usages[name], name)):
            if excess <= 0:
                return
            excess -= self._store(name).evict(excess)
        if excess > 0:
            cure = "workspaces in use fill all spaces together: end programs, or raise the limit of the store"
            raise StoreFullError(self.folder, nbytes, max(0, nbytes - excess), cure)

    def _usages(self) -> dict[str, int]:
        """Bytes by folder, those of withdrawn grants among them."""
        with os.scandir(self.folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        return {name: BlobStore.usage_of(os.path.join(self.folder, name)) for name in names}
