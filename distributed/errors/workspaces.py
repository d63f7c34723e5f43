"""What is wrong with a workspace, the environment it needs, or a place where it is laid out."""

from __future__ import annotations

from distributed.errors.base import DistributedError

__all__ = [
    "BlobMismatchError",
    "BlobMissingError",
    "LayOutError",
    "QuotaExceededError",
    "ShippingTimeoutError",
    "StoreFolderError",
    "StoreFullError",
    "UnknownWorkspaceError",
]


class BlobMismatchError(DistributedError):
    """The sender's fault: what came is not the content that was announced; a file changed while it was sent.

    Attributes:
        digest: sha256 of the announced content, in hex.
    """

    def __init__(self, digest: str, what: str) -> None:
        self.digest = digest
        super().__init__(f"the content with sha256 {digest[:16]}... was not taken: {what}; scan the workspace again")


class BlobMissingError(DistributedError):
    """Nobody's fault: a store no longer has a content, or it was damaged on disk. Ship the workspace again.

    Attributes:
        digest: sha256 of the content, in hex.
        path: of a file that has it, or empty.
    """

    def __init__(self, digest: str, folder: str, path: str = "") -> None:
        self.digest = digest
        self.path = path
        name = f"the content of {path!r}" if path else f"the content with sha256 {digest[:16]}..."
        super().__init__(f"{folder} has {name} no longer; ship the workspace again")


class LayOutError(DistributedError):
    """The Main's fault: a file of its workspace cannot be made on this machine. Rename or exclude it.

    Attributes:
        path: in the workspace.
    """

    def __init__(self, path: str, rule: str) -> None:
        self.path = path
        super().__init__(f"{path!r} cannot be laid out: {rule}; rename it, or exclude it from the workspace")


class QuotaExceededError(DistributedError):
    """The Main's fault, or the owner's wish: a tenant asks an offer for more than the owner allows.

    Attributes:
        what: is bounded.
    """

    def __init__(self, what: str, given: int, limit: int, cure: str) -> None:
        self.what = what
        super().__init__(f"{what}: {given:,} is over this offer's limit of {limit:,}; {cure}")


class ShippingTimeoutError(DistributedError, TimeoutError):
    """Nobody's fault: an offer did not answer in time while a workspace was sent. Try again, or use another one.

    Attributes:
        op: what it was asked.
        timeout_s: how long we waited.
    """

    def __init__(self, op: str, timeout_s: float) -> None:
        self.op = op
        self.timeout_s = timeout_s
        super().__init__(f"the offer did not answer {op} for {timeout_s:.3g} s while the workspace was shipped")


class StoreFolderError(DistributedError, OSError):
    """The operator's fault: the folder for contents cannot be used.

    Attributes:
        folder: where it is.
    """

    def __init__(self, folder: str, reason: str) -> None:
        self.folder = folder
        super().__init__(f"{folder} cannot hold contents: {reason}")


class StoreFullError(DistributedError, OSError):
    """The operator's fault: no room for a workspace, in the store's bound or on the disk.

    Attributes:
        folder: where there is no room.
        needed_nbytes, free_nbytes: what it takes, and what there is.
    """

    def __init__(self, folder: str, needed_nbytes: int, free_nbytes: int, cure: str) -> None:
        self.folder = folder
        self.needed_nbytes = needed_nbytes
        self.free_nbytes = free_nbytes
        super().__init__(f"{folder} has no room: {needed_nbytes:,} bytes needed, {free_nbytes:,} free; {cure}")


class UnknownWorkspaceError(DistributedError):
    """The Main's fault, or nobody's: an offer was never told of a workspace, or forgot it. Ship it again.

    Attributes:
        workspace: its id.
    """

    def __init__(self, workspace: str) -> None:
        self.workspace = workspace
        super().__init__(f"workspace {workspace[:16]!r}... is not known here; ship it first")
