"""What is wrong with a workspace, the environment it needs, or a place where it is laid out."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from distributed.errors.base import DistributedError, DistributedWarning
from distributed.errors.wire import ProtocolError

__all__ = [
    "BlobMismatchError",
    "BlobMissingError",
    "EnvironmentBuildError",
    "LayOutError",
    "ManifestError",
    "PythonMismatchError",
    "QuotaExceededError",
    "RequirementsError",
    "ShippingTimeoutError",
    "StoreFolderError",
    "StoreFullError",
    "UnknownWorkspaceError",
    "UnsupportedOperation",
    "WorkspaceChangedError",
    "WorkspaceEntryError",
    "WorkspaceError",
    "WorkspaceFileError",
    "WorkspaceTooLargeError",
    "WorkspaceWarning",
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
            "in a file .distributedignore there (or exclude=), choose a smaller root, or raise the limit "
            "(nbytes_max=, files_max=)"
        )


class WorkspaceWarning(DistributedWarning):
    """A workspace can be used, but its user would want to know something about it; the text says what to change."""


class UnsupportedOperation(WorkspaceError, io.UnsupportedOperation):
    """The caller's fault: something was asked for that is not possible with what was given; the text names both."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path!r}: {reason}")


class RequirementsError(DistributedError, ValueError):
    """The caller's fault: ``requirements=`` cannot be used; the text names file, line and rule.

    Attributes:
        source: the file, or what else the line is of.
        number: of the line, from 1; 0: it is not about a line.
    """

    def __init__(self, source: str, number: int, line: str, rule: str) -> None:
        self.source = source
        self.number = number
        self.line = line
        self.rule = rule
        place = f"{source}, line {number}" if number else source
        super().__init__(f"{place}: {line!r}: {rule}" if line else f"{place}: {rule}")


class EnvironmentBuildError(DistributedError):
    """An environment could not be built on a worker: mostly a package that does not exist or does not fit.

    The last lines of the installer say which; change the requirements, or ask the owner of the worker for what is
    missing there. Nothing half-built is kept, so the next call tries again.

    Attributes:
        what: the requirements, in short.
        reason: what ended how.
        lines: the installer's last ones.
    """

    def __init__(self, what: str, reason: str, lines: Sequence[str] = ()) -> None:
        self.what = what
        self.reason = reason
        self.lines = tuple(lines)
        told = "".join(f"\n    {line}" for line in lines)
        super().__init__(f"the environment for {what} could not be built: {reason}{':' if told else ''}{told}")


class PythonMismatchError(DistributedError, TypeError):
    """A function or class that only exists in this program goes as bytecode, which another Python cannot run.

    Put it into a module of the workspace, so that it travels by name; or let the worker's owner offer this Python too
    (``dworker --offer --python PATH``).

    Attributes:
        what: the function.
        ours, theirs: the two minor versions.
    """

    def __init__(self, what: str, ours: str, theirs: str, why: str = "it has no name to import it by") -> None:
        self.what = what
        self.ours = ours
        self.theirs = theirs
        self.why = why
        super().__init__(
            f"{what} cannot go from Python {ours} to Python {theirs}: {why}, and bytecode is of one minor version "
            f"only; define it in a module of the workspace, or have Python {ours} offered there "
            "(`dworker --offer --python PATH`)"
        )
