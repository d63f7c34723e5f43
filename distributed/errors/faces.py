"""What is wrong with what the faces and recipes are given to work on."""

from __future__ import annotations

from distributed.errors.base import DistributedError

__all__ = ["HomeError", "MasterError", "MultipartError", "UnreachableError"]


class HomeError(DistributedError):
    """The caller's or the operator's fault: a folder or file that a master cannot hand out; the text says why."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path!r}: {reason}")


class MasterError(DistributedError):
    """The operator's fault, mostly: a master cannot be reached, or refuses a worker; the text says which and why."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"master at {url}: {reason}")


class MultipartError(DistributedError):
    """The peer's fault: a body that should be multipart/form-data and is not; the text says where it goes wrong."""


class UnreachableError(DistributedError, OSError):
    """Nobody answers at an address: is the server running, and is the address right?"""

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        self.reason = reason
        super().__init__(f"{address} is out of reach: {reason}")
