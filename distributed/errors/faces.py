"""What is wrong with what the faces and recipes are given to work on."""

from __future__ import annotations

from distributed.errors.base import DistributedError

__all__ = ["DataGoneError", "HomeError", "KeyTakenError", "RemoteCommandError"]


class DataGoneError(DistributedError, KeyError):
    """Nobody's fault, or the caller's: data that is on no worker any more; compute it or scatter it again.

    Attributes:
        key: of the data.
    """

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        self.reason = reason
        super().__init__(f"the data of {key} is gone: {reason}")


class HomeError(DistributedError):
    """The caller's or the operator's fault: a folder or file that a master cannot hand out; the text says why."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path!r}: {reason}")


class KeyTakenError(DistributedError, ValueError):
    """The caller's fault: other data has this key already; choose another one, or delete that first.

    Attributes:
        key: that is taken.
    """

    def __init__(self, key: str, center: str) -> None:
        self.key = key
        super().__init__(f"{key} names other data at {center} already; choose another key, or delete that data first")


class RemoteCommandError(DistributedError):
    """The operator's fault, mostly: something that was to run at a host did not, or ended; the text has its output."""

    def __init__(self, host: str, command: str, reason: str, output: str) -> None:
        self.host = host
        self.command = command
        self.reason = reason
        self.output = output
        said = f"; it said:\n{output}" if output else ""
        super().__init__(f"{command} at {host!r}: {reason}{said}")
