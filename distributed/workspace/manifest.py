"""What a workspace consists of: path, mode, size and digest of each file, in order; its sha256 is the workspace's id.

Canonical bytes, over which the id is made: the line ``distributed workspace 1``, then for each entry, in the order of
paths, ``<path> NUL <mode, octal> SP <size, decimal> SP <32 bytes of digest>``. No path holds a NUL, so two manifests
with the same bytes are the same.

On the wire a manifest is four columns (``paths``, ``modes``: a byte each, ``sizes``, ``digests``: 32 bytes each,
joined); a delta is the ids of both manifests, the paths that are gone, and the columns of what is new or different.

Not here: files. Empty folders are no part of a workspace, as with git.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from distributed.dataclass import dataclass
from distributed.errors import ManifestError
from distributed.workspace.limits import (
    DEFAULT_LIMITS,
    LINKS_MAX,
    PART_NBYTES_MAX,
    PATH_NBYTES_MAX,
    PATH_PARTS_MAX,
    WorkspaceLimits,
)

__all__ = [
    "DIGEST_NBYTES",
    "EXECUTABLE",
    "FILE",
    "LINK_NBYTES_MAX",
    "SYMLINK",
    "Delta",
    "Entry",
    "Manifest",
    "find_bad_links",
]

FILE = 0o644
EXECUTABLE = 0o755
SYMLINK = 0o120000  # as in git's trees; its content is the target, in UTF-8
MODES = (FILE, EXECUTABLE, SYMLINK)  # on the wire a mode is its place in here
DIGEST_NBYTES = 32
LINK_NBYTES_MAX = PATH_NBYTES_MAX
LINK_DEPTH_MAX = 40  # links on the way to a file, as Linux counts them
LINK_STEPS_MAX = 2_000  # folders on that way; with `LINKS_MAX`, what a hostile manifest can have us look at (seconds)

_HEADING = b"distributed workspace 1\n"
_ID = re.compile(r"[0-9a-f]{64}")
# An empty part, "." or ".." (an absolute path begins with an empty one), or a NUL.
_BAD_PATH = re.compile(r"(?:^|/)\.{0,2}(?:/|\Z)|\x00")
_INTEGER_MAX = 2**62


@dataclass(slots=True, frozen=True)
class Entry:
    """One file or link.

    Attributes:
        path: relative to the workspace's root, parts joined by ``/``.
        mode: `FILE`, `EXECUTABLE` or `SYMLINK`.
        nbytes: of its content; of a link: of its target.
        digest: sha256 of its content.
    """

    path: str
    mode: int
    nbytes: int
    digest: bytes


class Manifest:
    """All entries of one workspace, sorted by path; equal to another one with the same entries."""

    __slots__ = ("_id", "_nbytes", "entries")

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Sort `entries`, which are trusted: what comes from a peer goes through `from_wire`.

        Raises:
            ManifestError: two have the same path.
        """
        self.entries: tuple[Entry, ...] = tuple(sorted(entries, key=lambda entry: entry.path))
        self._id: str | None = None
        self._nbytes: int | None = None
        for before, after in zip(self.entries, self.entries[1:], strict=False):
            if before.path == after.path:
                raise ManifestError(after.path, "it is there twice")

    @property
    def id(self) -> str:
        """The workspace's identity: sha256 over the canonical bytes, in hex."""
        if self._id is None:
            self._id = hashlib.sha256(self.canonical_bytes()).hexdigest()
        return self._id

    @property
    def md5(self) -> str:
        """Likewise by MD5, as the first design of the decorator named workspaces; it identifies nothing here."""
        return hashlib.md5(self.canonical_bytes(), usedforsecurity=False).hexdigest()

    @property
    def nbytes(self) -> int:
        """Of all contents together."""
        if self._nbytes is None:
            self._nbytes = sum(entry.nbytes for entry in self.entries)
        return self._nbytes

    def canonical_bytes(self) -> bytes:
        """What the id is a digest of; the module's docstring has the layout."""
        parts = [_HEADING]
        for entry in self.entries:
            parts.append(b"%s\0%o %d %s" % (entry.path.encode(), entry.mode, entry.nbytes, entry.digest))
        return b"".join(parts)

    def digests(self) -> dict[bytes, int]:
        """Size by digest of all contents, each once, in order of paths."""
        return {entry.digest: entry.nbytes for entry in self.entries}

    def to_wire(self) -> dict[str, Any]:
        """As columns of msgpack types; `from_wire` reads it."""
        return _columns(self.entries)

    @classmethod
    def from_wire(
        cls, value: object, limits: WorkspaceLimits = DEFAULT_LIMITS, *, folds_case: bool = False
    ) -> Manifest:
        """The manifest that a peer sent, checked in every respect; time and memory are linear in what was received.

        Args:
            value: what `to_wire` made.
            limits: on files and bytes.
            folds_case: it is for a file system where ``A`` and ``a`` are one file.
        Raises:
            ManifestError: it breaks a rule; the text names path and rule.
        """
        manifest = cls(_read_columns(value, limits, "manifest"))
        _check_whole(manifest, limits, folds_case)
        return manifest

    def delta(self, base: Manifest) -> Delta:
        """What makes this manifest of `base`: the entries that are new or different, and the paths that are gone."""
        old = {entry.path: entry for entry in base.entries}
        changed = []
        for entry in self.entries:
            before = old.pop(entry.path, None)
            if before is not entry and before != entry:  # two scans share what has not changed
                changed.append(entry)
        return Delta(base.id, self.id, tuple(old), tuple(changed))

    def apply(self, delta: Delta, limits: WorkspaceLimits = DEFAULT_LIMITS, *, folds_case: bool = False) -> Manifest:
        """The manifest that `delta` leads to from this one; checked as `from_wire` does.

        Raises:
            ManifestError: the delta is for another base, removes what is not there, or leads to another id.
        """
        if delta.base != self.id:
            raise ManifestError("", f"the delta is for the workspace {delta.base[:12]}, not for {self.id[:12]}")
        entries = {entry.path: entry for entry in self.entries}
        for path in delta.removed:
            if entries.pop(path, None) is None:
                raise ManifestError(path, "the delta removes it, and it is not there")
        entries.update((entry.path, entry) for entry in delta.changed)
        made = Manifest(entries.values())
        _check_whole(made, limits, folds_case)
        if made.id != delta.id:
            raise ManifestError("", f"the delta leads to {made.id[:12]}, not to {delta.id[:12]} as it says")
        return made

    def collisions(self) -> list[tuple[str, str]]:
        """Pairs of paths that are one where case and Unicode forms are folded, in order of the second."""
        first: dict[str, str] = {}
        pairs: list[tuple[str, str]] = []
        for entry in self.entries:
            folded = unicodedata.normalize("NFC", entry.path).casefold()
            if folded in first:
                pairs.append((first[folded], entry.path))
            else:
                first[folded] = entry.path
        seen: set[str] = set()
        for entry in self.entries:
            folder = entry.path.rpartition("/")[0]
            while folder and folder not in seen:
                seen.add(folder)
                folded = unicodedata.normalize("NFC", folder).casefold()
                if folded in first:
                    pairs.append((first[folded], f"{folder}/"))
                folder = folder.rpartition("/")[0]
        return pairs

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __eq__(self, other: object) -> bool:
        return self.entries == other.entries if isinstance(other, Manifest) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<Manifest {self.id[:12]}, {len(self.entries)} files, {self.nbytes} bytes>"


@dataclass(slots=True, frozen=True)
class Delta:
    """What leads from one manifest to another.

    Attributes:
        base: id of the one.
        id: of the other.
        removed: paths that are gone, in order.
        changed: entries that are new or different, in order.
    """

    base: str
    id: str
    removed: tuple[str, ...]
    changed: tuple[Entry, ...]

    def to_wire(self) -> dict[str, Any]:
        """As msgpack types; `from_wire` reads it."""
        return {"base": self.base, "id": self.id, "removed": list(self.removed), "changed": _columns(self.changed)}

    @classmethod
    def from_wire(cls, value: object, limits: WorkspaceLimits = DEFAULT_LIMITS) -> Delta:
        """The delta that a peer sent, each entry checked; `Manifest.apply` checks what it leads to.

        Raises:
            ManifestError: it breaks a rule; the text names path and rule.
        """
        if not isinstance(value, Mapping) or set(value) != {"base", "id", "removed", "changed"}:
            raise ManifestError("", "a delta has base, id, removed and changed")
        base, id, removed = value["base"], value["id"], value["removed"]
        for each in (base, id):
            if not isinstance(each, str) or not _ID.fullmatch(each):
                raise ManifestError("", "a delta names two workspaces by their ids, 64 hex digits each")
        if not isinstance(removed, (list, tuple)) or len(removed) > limits.files_max:
            raise ManifestError("", f"removed is a list of at most {limits.files_max} paths")
        _check_paths(removed)
        changed = _read_columns(value["changed"], limits, "delta")
        return cls(base, id, tuple(removed), tuple(changed))


def find_bad_links(paths: Iterable[str], target_by_link: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Links that do not lead to a file or folder of the same workspace, as (link, target, what is wrong), in order.

    Every step on the way counts: a link that leaves the tree and comes back leads out.

    Args:
        paths: of all entries, links among them.
        target_by_link: where each link points to, as it is written.
    """
    files = set(paths)
    folders = {""}
    for path in files:
        while path := path.rpartition("/")[0]:
            if path in folders:
                break
            folders.add(path)
    faults = []
    for link in sorted(target_by_link):
        fault = _fault_of_link(link, target_by_link, files, folders)
        if fault:
            faults.append((link, target_by_link[link], fault))
    return faults


# ---------------------------------------------------------------- private


def _fault_of_link(link: str, target_by_link: Mapping[str, str], files: set[str], folders: set[str]) -> str:
    place = link.rpartition("/")[0].split("/") if "/" in link else []
    todo = [link.rpartition("/")[2]]
    followed = steps = 0
    while todo:
        part = todo.pop()
        steps += 1
        if steps > LINK_STEPS_MAX:
            return f"it takes more than {LINK_STEPS_MAX} steps to follow it"
        if part in ("", "."):
            continue
        if part == "..":
            if not place:
                return "it leads out of the workspace"
            place.pop()
            continue
        path = "/".join([*place, part])
        target = target_by_link.get(path)
        if target is not None:
            followed += 1
            if target.startswith("/"):
                return "it is absolute"
            if followed > LINK_DEPTH_MAX:
                return "it leads in a circle"
            todo += reversed(target.split("/"))
        elif path in folders or (path in files and not todo):
            place.append(part)
        else:
            return "it leads to nothing that is in the workspace"
    end = "/".join(place)
    if not end or link.startswith(f"{end}/"):
        return "it leads in a circle"
    return ""


def _columns(entries: Iterable[Entry]) -> dict[str, Any]:
    entries = tuple(entries)
    return {
        "paths": [entry.path for entry in entries],
        "modes": bytes(MODES.index(entry.mode) for entry in entries),
        "sizes": [entry.nbytes for entry in entries],
        "digests": b"".join([entry.digest for entry in entries]),
    }


def _read_columns(value: object, limits: WorkspaceLimits, what: str) -> list[Entry]:
    if not isinstance(value, Mapping) or set(value) != {"paths", "modes", "sizes", "digests"}:
        raise ManifestError("", f"a {what} has the columns paths, modes, sizes and digests")
    paths, modes, sizes, digests = value["paths"], value["modes"], value["sizes"], value["digests"]
    if not isinstance(paths, (list, tuple)) or not isinstance(sizes, (list, tuple)):
        raise ManifestError("", "paths and sizes are lists")
    if not isinstance(modes, (bytes, bytearray, memoryview)) or not isinstance(digests, (bytes, bytearray, memoryview)):
        raise ManifestError("", "modes and digests are bytes")
    modes, digests = bytes(modes), bytes(digests)
    count = len(paths)
    if count > limits.files_max:
        raise ManifestError("", f"{count} files; at most {limits.files_max}")
    if not len(modes) == len(sizes) == count or len(digests) != count * DIGEST_NBYTES:
        raise ManifestError("", "its columns are of different lengths")
    _check_paths(paths)
    entries = []
    for number, (path, mode, nbytes) in enumerate(zip(paths, modes, sizes, strict=True)):
        if mode >= len(MODES):
            raise ManifestError(path, "its mode is none of file, executable file and link")
        if type(nbytes) is not int or not 0 <= nbytes <= _INTEGER_MAX:
            raise ManifestError(path, "its size is no number of bytes")
        digest = digests[number * DIGEST_NBYTES : (number + 1) * DIGEST_NBYTES]
        entries.append(Entry(path, MODES[mode], nbytes, digest))
    return entries


def _check_paths(paths: list[Any] | tuple[Any, ...]) -> None:
    """Each is a safe relative path, and they are in strictly ascending order."""
    before = ""
    for path in paths:
        if type(path) is not str:
            raise ManifestError(repr(path)[:100], "a path is a text")
        if not before < path:
            raise ManifestError(path[:PATH_NBYTES_MAX], "paths are sorted, and each is there once")
        before = path
        if _BAD_PATH.search(path):
            raise ManifestError(path[:PATH_NBYTES_MAX], "a path is relative, without empty parts, '.', '..' and NUL")
        if len(path) > 80 or not path.isascii():  # shorter ones are within every limit
            _check_length(path)
        elif path.count("/") >= PATH_PARTS_MAX:
            raise ManifestError(path, f"a path has at most {PATH_PARTS_MAX} parts")


def _check_length(path: str) -> None:
    try:
        encoded = path.encode()
    except UnicodeEncodeError as error:
        raise ManifestError(ascii(path)[:PATH_NBYTES_MAX], "a path is valid Unicode") from error
    parts = encoded.split(b"/")
    if len(encoded) > PATH_NBYTES_MAX or max(map(len, parts)) > PART_NBYTES_MAX or len(parts) > PATH_PARTS_MAX:
        rule = f"a path has at most {PATH_NBYTES_MAX} bytes in {PATH_PARTS_MAX} parts of {PART_NBYTES_MAX} bytes"
        raise ManifestError(path[:PART_NBYTES_MAX], rule)


def _check_whole(manifest: Manifest, limits: WorkspaceLimits, folds_case: bool) -> None:
    """Rules on all entries together."""
    if len(manifest) > limits.files_max:
        raise ManifestError("", f"{len(manifest)} files; at most {limits.files_max}")
    if manifest.nbytes > limits.nbytes_max:
        raise ManifestError("", f"{manifest.nbytes} bytes; at most {limits.nbytes_max}")
    links = sum(entry.mode == SYMLINK for entry in manifest.entries)
    if links > LINKS_MAX:
        raise ManifestError("", f"{links} links; at most {LINKS_MAX}")
    files = {entry.path for entry in manifest.entries}
    seen: set[str] = set()
    nbytes_by_digest: dict[bytes, int] = {}
    for entry in manifest.entries:
        if nbytes_by_digest.setdefault(entry.digest, entry.nbytes) != entry.nbytes:
            raise ManifestError(entry.path, "it has the digest of another file, and another size")
        if entry.mode == SYMLINK and not 0 < entry.nbytes <= LINK_NBYTES_MAX:
            raise ManifestError(entry.path, f"the target of a link has 1 to {LINK_NBYTES_MAX} bytes")
        folder = entry.path.rpartition("/")[0]
        while folder and folder not in seen:
            if folder in files:
                raise ManifestError(folder, "it is a file and a folder at once")
            seen.add(folder)
            folder = folder.rpartition("/")[0]
        if len(seen) > limits.files_max:  # 50,000 deep paths could name six million folders
            raise ManifestError(entry.path, f"more than {limits.files_max} folders")
    if folds_case and (pairs := manifest.collisions()):
        rule = f"it and {pairs[0][0]!r} are one file where case does not count; rename one of them"
        raise ManifestError(pairs[0][1], rule)
