"""What is wrong with a workspace, the environment it needs, or a place where it is laid out."""

from __future__ import annotations

import io
from collections.abc import Iterable

from distributed.errors.base import DistributedError, DistributedWarning
from distributed.errors.wire import ProtocolError

__all__ = [
    "ManifestError",
    "UnsupportedOperation",
    "WorkspaceChangedError",
    "WorkspaceEntryError",
    "WorkspaceError",
    "WorkspaceFileError",
    "WorkspaceTooLargeError",
    "WorkspaceWarning",
]


class WorkspaceError(DistributedError):
    """Root of what can be wrong with a workspace; the caller's fault, mostly, and the text has the cure."""


class ManifestError(WorkspaceError, ProtocolError):
    """The peer's fault: a manifest, or a delta of one, that breaks a rule; nothing of it was used.

    Attributes:
        path: of the entry; empty: it is the whole that is wrong.
        rule: that does not hold.
    """

    def __init__(self, path: str, rule: str) -> None:
        self.path = path
        self.rule = rule
        super().__init__(f"the manifest of a workspace cannot be used: {f'{path!r}: ' if path else ''}{rule}")


class WorkspaceFileError(WorkspaceError):
    """The caller's fault: a file of the workspace that cannot travel; the text says why and what to do.

    Attributes:
        path: of the file, relative to the root.
    """

    def __init__(self, path: str, root: str, reason: str, cure: str) -> None:
        self.path = path
        self.root = root
        self.reason = reason
        self.cure = cure
        super().__init__(f"{path!r} in the workspace {root}: {reason}; {cure}")


class WorkspaceChangedError(WorkspaceError):
    """Nobody's fault: a file is no longer what it was when the workspace was scanned; scan it again.

    Attributes:
        path: of the file, relative to the root.
    """

    def __init__(self, path: str, root: str) -> None:
        self.path = path
        self.root = root
        super().__init__(f"{path!r} in the workspace {root} has changed since it was scanned; scan it again")


class WorkspaceEntryError(WorkspaceError, ValueError):
    """The caller's fault: the entry, the program's own file, is not a file inside of the workspace.

    Attributes:
        entry: as it was given.
        root: of the workspace.
    """

    def __init__(self, entry: str, root: str, reason: str) -> None:
        self.entry = entry
        self.root = root
        super().__init__(
            f"{entry!r} cannot be the entry of the workspace {root}: {reason}; choose another root or entry"
        )


class WorkspaceTooLargeError(WorkspaceError):
    """The caller's fault: the workspace has more bytes or files than it may; the text names what is big, and the cure.

    Attributes:
        root: of the workspace.
        found: how much there is; at least so much, when counting was given up.
        limit: how much there may be, as text with its unit.
        biggest: items and their sizes, biggest first; folders have a ``/`` at the end.
    """

    def __init__(self, root: str, found: str, limit: str, biggest: Iterable[tuple[str, str]]) -> None:
        self.root = root
        self.found = found
        self.limit = limit
        self.biggest = tuple(biggest)
        listing = ", ".join(f"{item} ({size})" for item, size in self.biggest)
        super().__init__(
            f"the workspace {root} has {found}, more than {limit}; most of it: {listing}. Name what tasks do not need "
            "in a file .distributedignore there (or exclude=), choose a smaller root, or raise the limit"
        )


class WorkspaceWarning(DistributedWarning):
    """A workspace can be used, but its user would want to know something about it; the text says what to change."""


class UnsupportedOperation(WorkspaceError, io.UnsupportedOperation):
    """The caller's fault: something was asked for that is not possible with what was given; the text names both."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path!r}: {reason}")
