"""A workspace on the Main's side: what its folder holds, and whether that has changed."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import stat
import sys
import threading
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from distributed.errors import (
    WorkspaceChangedError,
    WorkspaceError,
    WorkspaceFileError,
    WorkspaceTooLargeError,
    WorkspaceWarning,
)
from distributed.units import MiB, format_nbytes, parse_nbytes
from distributed.workspace.ignoring import IGNORE_FILES
from distributed.workspace.limits import (
    FILES_MAX,
    LINKS_MAX,
    NBYTES_MAX,
    NBYTES_SOFT,
    PATH_NBYTES_MAX,
    WorkspaceLimits,
    biggest_items,
)
from distributed.workspace.locating import imported_beside, project_of
from distributed.workspace.manifest import SYMLINK, Entry, Manifest, find_bad_links
from distributed.workspace.remembering import DigestMemory, mode_of, signature_of
from distributed.workspace.surveying import EXCLUDE_CURE, Found, Survey, Surveyor, Touched, listing_of
from distributed.workspace.watching import Watcher, is_watchable
from distributed.workspace.writing import files_being_written

__all__ = ["Workspace"]

logger = logging.getLogger(__name__)

READ_NBYTES = 2**20
KEPT_NBYTES_MAX = 16 * MiB  # of contents that were read, in case they are asked for after the next edit
DRIFTS_MAX = 5  # changes in a row in which no module changed
READS_MAX = 3  # of a file that changes meanwhile
LOOK_INTERVAL_S = 0.05  # without inotify, between two looks at all files
LOOK_SHARE = 0.05  # of the time that looks may take; big projects are looked at less often


class Workspace:
    """The files of a project: `scan` makes a manifest, `read` gives contents, `changed` says when to scan again.

    May be used by several threads at once, and in a process that was forked.

    Attributes:
        root: its folder, absolute and without links.
        limits: on its files and bytes.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        *,
        nbytes_max: int | str = NBYTES_MAX,
        files_max: int = FILES_MAX,
        nbytes_soft: int | str = NBYTES_SOFT,
        entry: str | os.PathLike[str] | None = None,
        shared_with: str | os.PathLike[str] | None = None,
    ) -> None:
        """Name a folder; it is not looked into before `scan`.

        Args:
            root: the folder.
            include: paths or glob patterns, relative to `root`, of what belongs to it although something ignores it.
            exclude: patterns as in `.gitignore` of what does not belong to it; they beat all others.
            nbytes_max, files_max: above them `scan` refuses.
            nbytes_soft: above it `scan` warns, once.
            entry: the program's file; it belongs to the workspace whatever ignores it, if it lies inside.
            shared_with: the program's file where the folder is not the project's alone; only that file, and what is
                imported from beside it, belong to the workspace. See `locating.project_of`.
        Raises:
            ConfigError: a pattern or size that is none.
        """
        self.root = Path(root).resolve()
        self.limits = WorkspaceLimits(parse_nbytes(nbytes_max, "nbytes_max"), files_max)
        self._nbytes_soft = parse_nbytes(nbytes_soft, "nbytes_soft")
        self._shared_with = shared_with
        beside = None if shared_with is None else lambda: imported_beside(shared_with, sys.modules)
        self._surveyor = Surveyor(
            str(self.root), include, exclude, self.limits, beside, _relative(entry, self.root) if entry else None
        )
        self._memory: DigestMemory | None = None
        self._manifest: Manifest | None = None
        self._path_by_digest: dict[bytes, str] = {}
        self._kept: dict[bytes, bytes] = {}  # the oldest first
        self._kept_nbytes = 0
        self._warned: set[str] = set()
        self._scanning = threading.Lock()  # one scan at a time
        self._asking = threading.Lock()  # taken for moments; guards what follows
        self._is_dirty = True
        self._watcher: Watcher | None = None
        self._may_watch = True
        self._survey: Survey | None = None
        self._touched = Touched()
        self._outputs: set[str] = set()  # paths of what this process writes to
        self._drifts = 0
        self._module_count = 0
        self._next_look_s = 0.0
        self._pid = os.getpid()

    @classmethod
    def of(cls, entry: str | os.PathLike[str], **options: Any) -> Workspace:
        """The workspace of the project that the file `entry` belongs to; options as above."""
        project = project_of(entry)
        return cls(project.root, entry=entry, shared_with=entry if project.is_shared else None, **options)

    def scan(self) -> Manifest:
        """What the folder holds now; only files that are new or have changed are read.

        Warns of what is probably not meant to be sent, once per workspace: `WorkspaceWarning`.

        Raises:
            WorkspaceFileError: a file that cannot travel.
            WorkspaceTooLargeError: there is too much.
        """
        self._check_process()
        with self._scanning:
            return self._scan()

    def changed(self) -> bool:
        """Whether a scan might find something else than the last one did.

        With inotify it costs a microsecond and is exact: who has changed a file, and asks afterwards, is told.
        Elsewhere all files are looked at, at most every 50 ms and for a twentieth of the time.
        """
        self._check_process()
        with self._asking:
            if self._is_dirty:  # also while another thread scans: what it finds may be older than the caller's edit
                return True
            if self._shared_with is not None and len(sys.modules) != self._module_count:
                self._is_dirty = True
            elif self._watcher is not None:
                self._is_dirty = self._note(self._watcher.take())
            elif time.monotonic() >= self._next_look_s:
                self._is_dirty = self._look()
            return self._is_dirty

    def read(self, digest: bytes) -> bytes:
        """The content that has this digest.

        What was read lately is kept, 16 MiB of it, so that an edit does not take a workspace from who is being sent it.

        Raises:
            WorkspaceChangedError: no file has it any more; scan again.
        """
        kept = self._kept.get(digest)
        if kept is not None:
            return kept
        with self.open(digest) as file:
            content = file.read()
        if hashlib.sha256(content).digest() != digest:
            raise WorkspaceChangedError(self._path_by_digest.get(digest, digest.hex()), str(self.root))
        return content

    def open(self, digest: bytes) -> BinaryIO:
        """The content that has this digest, as a file to be read once; it may still change while it is read.

        Raises:
            WorkspaceChangedError: no file has it any more; scan again.
        """
        kept = self._kept.get(digest)
        if kept is not None:
            return io.BytesIO(kept)
        path = self._path_by_digest.get(digest)
        if path is None:
            raise WorkspaceChangedError(f"content {digest.hex()[:12]}", str(self.root))
        place = self.root / path
        try:
            if place.is_symlink():
                return io.BytesIO(os.fsencode(os.readlink(place)))
            file = io.BufferedReader(io.FileIO(place, opener=_open_plainly))
        except OSError as error:
            raise WorkspaceChangedError(path, str(self.root)) from error
        try:
            if self._memory is None or self._memory.signature(path) != signature_of(os.fstat(file.fileno())):
                if hashlib.file_digest(file, "sha256").digest() != digest:
                    raise WorkspaceChangedError(path, str(self.root))
                file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def close(self) -> None:
        """Give back what watching takes; a workspace that is used again watches again."""
        with self._scanning, self._asking:
            if self._watcher is not None:
                self._watcher.close()
            self._watcher, self._is_dirty = None, True

    def __repr__(self) -> str:
        return f"<Workspace {self.root}>"

    # ---------------------------------------------------------------- scanning

    def _scan(self) -> Manifest:
        memory = self._memory
        if memory is None:
            memory = DigestMemory(str(self.root), is_watchable(str(self.root)))
            memory.load()
            self._memory = memory
        with self._asking:
            self._is_dirty = True
            self._module_count = len(sys.modules)
            self._start_watching()
            if self._watcher is not None:
                self._note(self._watcher.take())  # the scan sees all that has happened until now
            touched = None if self._watcher is None else self._touched
        survey = self._surveyor.survey(self._watch if self._watcher is not None else None, touched)
        with self._asking:
            self._survey = survey
            if self._watcher is not None:
                self._watcher.keep(survey.folders)
                self._touched = Touched(is_all=False)
        manifest = self._manifest_of(survey, memory)
        memory.save()
        with self._asking:
            self._manifest = manifest
            self._is_dirty = False
        return manifest

    def _manifest_of(self, survey: Survey, memory: DigestMemory) -> Manifest:
        entries: list[Entry] = []
        outputs: set[str] = set()
        written: set[tuple[int, int]] | None = None
        for path, status in survey.files:
            entry = memory.entry(path, status)
            if entry is None:
                written = files_being_written() if written is None else written
                if (status.st_dev, status.st_ino) in written:
                    outputs.add(path)
                    continue
                entry = self._read_entry(path, memory)
            if entry is not None:
                entries.append(entry)
        for path in sorted(outputs - self._outputs):
            logger.info("%s in %s is no part of the workspace while this process writes to it", path, self.root)
        self._outputs = outputs
        entries.sort(key=lambda entry: entry.path)
        before = self._manifest
        if before is not None and tuple(entries) == before.entries:
            return before
        manifest = Manifest(entries)
        self._check(manifest, survey.files, before)
        self._path_by_digest = {entry.digest: entry.path for entry in entries}
        memory.keep({path for path, _ in survey.files})
        return manifest

    def _read_entry(self, path: str, memory: DigestMemory) -> Entry | None:
        """Read a file; None if it is gone meanwhile."""
        place = f"{self.root}/{path}"
        self._check_name(path)
        content: bytes | None
        for _ in range(READS_MAX):
            began_ns = time.time_ns()
            try:
                before = os.lstat(place)
                if stat.S_ISLNK(before.st_mode):
                    digest, nbytes, content = _digest_of_link(place)
                    after = os.lstat(place)
                elif stat.S_ISREG(before.st_mode):
                    digest, nbytes, before, after, content = _digest_of_file(place)
                else:
                    return None  # another thing has taken its place; the folder's next scan sees it
            except FileNotFoundError:
                return None
            except OSError as error:
                reason = f"it cannot be read: {error.strerror}"
                raise WorkspaceFileError(
                    path, str(self.root), reason, f"make it readable, or {EXCLUDE_CURE}"
                ) from error
            if signature_of(before) == signature_of(after) and nbytes == after.st_size:
                self._keep(digest, content)
                return memory.note(Entry(path, mode_of(after), nbytes, digest), after, began_ns)
        reason = f"it changed while it was read, {READS_MAX} times in a row"
        raise WorkspaceFileError(path, str(self.root), reason, f"let its writer finish, or {EXCLUDE_CURE}")

    def _keep(self, digest: bytes, content: bytes | None) -> None:
        if content is None or digest in self._kept:
            return
        self._kept[digest] = content
        self._kept_nbytes += len(content)
        while self._kept_nbytes > KEPT_NBYTES_MAX:
            self._kept_nbytes -= len(self._kept.pop(next(iter(self._kept))))

    def _check_name(self, path: str) -> None:
        if path.isascii() and len(path) < PATH_NBYTES_MAX // 2:
            return
        try:
            encoded = path.encode()
        except UnicodeEncodeError as error:
            shown = path.encode(errors="surrogateescape").decode(errors="backslashreplace")
            cure = f"rename it, or {EXCLUDE_CURE}"
            raise WorkspaceFileError(shown, str(self.root), "its name is not valid UTF-8", cure) from error
        if len(encoded) > PATH_NBYTES_MAX:
            reason = f"its path has {len(encoded)} bytes, more than {PATH_NBYTES_MAX}"
            raise WorkspaceFileError(path, str(self.root), reason, f"shorten it, or {EXCLUDE_CURE}")

    # ---------------------------------------------------------------- rules on the whole

    def _check(self, manifest: Manifest, files: list[Found], before: Manifest | None) -> None:
        target_by_link = {}
        for entry in manifest:
            if entry.mode == SYMLINK:
                target_by_link[entry.path] = self._target(entry.path)
        if len(target_by_link) > LINKS_MAX:
            biggest = [
                (item, f"{number:,} links") for item, number in biggest_items((link, 1) for link in target_by_link)
            ]
            found, limit = f"{len(target_by_link):,} links", f"{LINKS_MAX:,} links"
            raise WorkspaceTooLargeError(str(self.root), found, limit, biggest)
        paths = [entry.path for entry in manifest]
        for link, target, fault in find_bad_links(paths, target_by_link) if target_by_link else ():
            cure = f"replace it by what it leads to, or {EXCLUDE_CURE}"
            raise WorkspaceFileError(link, str(self.root), f"it is a link to {target!r}: {fault}", cure)
        if before is not None:
            self._check_drift(manifest, before)
        if before is None or paths != [entry.path for entry in before]:
            for first, second in manifest.collisions():
                self._warn(
                    f"{second!r} and {first!r} in the workspace {self.root} are one file where case does not count, "
                    "and workers with such a file system refuse them; rename one of them"
                )
        if manifest.nbytes > self._nbytes_soft:
            listing = ", ".join(f"{item} ({size})" for item, size in listing_of(files))
            self._warn(
                f"the workspace {self.root} has {format_nbytes(manifest.nbytes)}; most of it: {listing}. Name what "
                "tasks do not need in a file .distributedignore there, or in exclude=",
                "size",
            )

    def _check_drift(self, manifest: Manifest, before: Manifest) -> None:
        """Warn if again and again something else than a module changes: results, probably, and each change costs
        time."""
        delta = manifest.delta(before)
        paths = [*(entry.path for entry in delta.changed), *delta.removed]
        self._drifts = 0 if any(path.endswith(".py") for path in paths) else self._drifts + 1
        if self._drifts >= DRIFTS_MAX:
            self._warn(
                f"the workspace {self.root} changes while the program runs, last by {', '.join(map(repr, paths[:3]))}, "
                "and each change makes workers start anew. Write results elsewhere, or name them in a file "
                ".distributedignore there",
                "drift",
            )

    def _target(self, path: str) -> str:
        try:
            target = os.readlink(self.root / path)
            target.encode()
        except OSError as error:
            raise WorkspaceChangedError(path, str(self.root)) from error
        except UnicodeEncodeError as error:
            reason = "it is a link to a name that is not valid UTF-8"
            raise WorkspaceFileError(path, str(self.root), reason, EXCLUDE_CURE) from error
        return target

    def _warn(self, text: str, kind: str = "") -> None:
        if (kind or text) not in self._warned:
            self._warned.add(kind or text)
            warnings.warn(WorkspaceWarning(text), stacklevel=5)

    # ---------------------------------------------------------------- watching

    def _start_watching(self) -> None:
        if self._watcher is not None or not self._may_watch:
            return
        try:
            if is_watchable(str(self.root)):
                self._watcher = Watcher()
                self._touched = Touched()
                return
        except OSError as error:
            logger.info("files of %s are looked at instead of watched: %s", self.root, error)
        self._may_watch = False

    def _watch(self, folder: str) -> None:
        """Before a folder is listed. One that cannot be watched ends watching for good: half of it would be a lie."""
        if self._watcher is None:
            return
        path = f"{self.root}/{folder}"
        try:
            if folder and not is_watchable(path):  # another file system may be mounted there
                raise OSError(0, f"{folder} is on a file system that others may change")
            self._watcher.add(path, folder)
        except (FileNotFoundError, NotADirectoryError):
            return  # it is gone; so the folder around it has changed
        except OSError as error:
            logger.info("files of %s are looked at instead of watched: %s", self.root, error)
            with self._asking:
                self._watcher.close()
                self._watcher, self._may_watch = None, False

    def _note(self, events: list[tuple[str, str, bool]] | None) -> bool:
        """Keep in mind where something has happened that matters, and tell whether it has."""
        if events is None:
            self._touched.is_all = True
            return True
        does_any = False
        for folder, name, is_folder in events:
            if self._matters(folder, name, is_folder):
                self._touched.add(folder, name, is_folder)
                does_any = True
        return does_any

    def _matters(self, folder: str, name: str, is_folder: bool) -> bool:
        """Whether what happened to `name` in `folder` may change the manifest."""
        known = self._survey.folders.get(folder) if self._survey is not None else None
        if known is None or not name or name in IGNORE_FILES:
            return True
        if folder + name in self._outputs:
            try:
                status = os.lstat(f"{self.root}/{folder}{name}")
            except OSError:
                return False  # it was no part of the workspace before
            return (status.st_dev, status.st_ino) not in files_being_written()
        mode, _, _ = self._surveyor.judge(known, name, is_folder)
        return mode is not None

    def _look(self) -> bool:
        """Without a watcher: whether the files are not as they were."""
        began_s = time.monotonic()
        try:
            files = self._surveyor.survey().files
        except WorkspaceError:
            return True  # the scan tells what is wrong
        memory = self._memory
        known = self._survey
        cost_s = time.monotonic() - began_s
        self._next_look_s = began_s + max(LOOK_INTERVAL_S, cost_s / LOOK_SHARE)
        if memory is None or known is None or len(files) != len(known.files):
            return True
        written = files_being_written() if self._outputs else set()
        return any(
            memory.entry(path, status) is None
            and (path not in self._outputs or (status.st_dev, status.st_ino) not in written)
            for path, status in files
        )

    def _check_process(self) -> None:
        """After a fork the parent's notices are the parent's, and its locks may be held by threads that are not
        here."""
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._scanning, self._asking = threading.Lock(), threading.Lock()
        if self._watcher is not None:
            self._watcher.close()
        self._watcher, self._is_dirty = None, True


def _relative(entry: str | os.PathLike[str], root: Path) -> str | None:
    path = Path(entry).resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) and path.is_file() else None


def _open_plainly(path: str, flags: int) -> int:
    """Follow no link in the last part, and never wait for a pipe's writer."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _digest_of_link(path: str) -> tuple[bytes, int, bytes]:
    content = os.fsencode(os.readlink(path))
    return hashlib.sha256(content).digest(), len(content), content


def _digest_of_file(path: str) -> tuple[bytes, int, os.stat_result, os.stat_result, bytes | None]:
    """Digest and size of what was read, what the system said of the file before and after it, and the content if it is
    small."""
    number = _open_plainly(path, os.O_RDONLY)
    try:
        before = os.fstat(number)
        content = os.read(number, min(before.st_size + 1, READ_NBYTES))
        made, nbytes = hashlib.sha256(content), len(content)
        more = content
        while more and nbytes <= before.st_size:
            more = os.read(number, READ_NBYTES)
            made.update(more)
            nbytes += len(more)
        is_whole = nbytes == len(content)
        return made.digest(), nbytes, before, os.fstat(number), content if is_whole else None
    finally:
        os.close(number)
