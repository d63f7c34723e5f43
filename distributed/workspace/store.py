"""Contents of files on disk, each once, named by their sha256; the least recently used go when space is short."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

__all__ = ["BlobStore", "default_folder"]


def default_folder() -> str:
    """``$XDG_CACHE_HOME/distributed/store``."""
    raise NotImplementedError


class BlobStore:
    """Contents and manifests in one folder, used by any number of processes of one user at once.

    Args:
        folder: made with mode 0700 where it is missing.
        nbytes_max: bound on all contents; the least recently used that nobody pins go first.
        free_nbytes_min: of its file system, left to others.
    Raises:
        StoreFolderError: it belongs to somebody else, others may use it, or it cannot be made.
    """

    def __init__(self, folder: str, nbytes_max: int, free_nbytes_min: int = 64 * 2**20) -> None:
        raise NotImplementedError

    def lacks(self, nbytes_by_digest: Mapping[bytes, int]) -> list[bytes]:
        """Those not here, in order; a content of another size is removed, and lacking."""
        raise NotImplementedError

    def put(self, digest: bytes, pieces: Iterable[bytes], nbytes: int) -> None:
        """Keep a content, if its pieces are what `digest` says."""
        raise NotImplementedError

    def open(self, digest: bytes) -> BinaryIO:
        """To read it; BlobMissingError."""
        raise NotImplementedError

    def pin(self, workspace: str, digests: Iterable[bytes]) -> None:
        """Until as many `unpin`s, or the end of this process, these stay once they are here."""
        raise NotImplementedError

    def unpin(self, workspace: str) -> None:
        """Undo one `pin`."""
        raise NotImplementedError

    def put_manifest(self, manifest: Any) -> None:
        """Remember it by its id."""
        raise NotImplementedError

    def manifest(self, workspace: str) -> Any:
        """The one of that id, None: not here."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of all pins."""
        raise NotImplementedError
