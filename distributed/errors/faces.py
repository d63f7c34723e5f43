"""What is wrong with what the faces and recipes are given to work on."""

from __future__ import annotations

from distributed.errors.base import DistributedError

__all__ = ["HomeError", "RemoteCommandError"]


class HomeError(DistributedError):
    """The caller's or the operator's fault: a folder or file that a master cannot hand out; the text says why."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path!r}: {reason}")


class RemoteCommandError(DistributedError):
    """The operator's fault, mostly: something that was to run at a host did not, or ended; the text has its output."""

    def __init__(self, host: str, command: str, reason: str, output: str) -> None:
        self.host = host
        self.command = command
        self.reason = reason
        self.output = output
        said = f"; it said:\n{output}" if output else ""
        super().__init__(f"{command} at {host!r}: {reason}{said}")
