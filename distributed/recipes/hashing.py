"""``python -m distributed hash DIR``: digests of every regular file below a folder, computed on a cluster.

The folder is only needed here. A worker that can show that it sees the very same file (same boot, device, inode, size
and time of change) reads it itself; to any other one the content is sent.
"""

from __future__ import annotations

import errno
import itertools
import os
import shlex
import stat
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from distributed.client.client import Client
from distributed.client.connecting import find_scheduler
from distributed.client.futures import Future
from distributed.client.waiting import as_completed
from distributed.dataclass import dataclass, field
from distributed.errors import CommClosedError, KilledWorker
from distributed.ids import unique_id
from distributed.recipes.hash_tasks import UNSEEN, boot_id, digest_files, digest_of, digest_part
from distributed.recipes.naming import escaped_line
from distributed.units import MiB, format_nbytes, format_seconds

__all__ = ["ALGORITHMS", "Entry", "escaped_line", "find_files", "hash_folder"]

ALGORITHMS = ("sha1", "sha224", "sha256", "sha384", "sha512", "md5", "blake2b")
BATCH_COUNT, BATCH_NBYTES = 64, 8 * MiB  # per task: enough to hide its cost, little enough to share evenly
PART_NBYTES = 16 * MiB  # of a big file that has to be sent
WATCH_S, POLL_S = 1.0, 0.1  # how often we ask whether a worker that owes us an answer, or any worker, is there
SENT_AT_ONCE = 8  # contents on their way: bounds memory here to 128 MiB


@dataclass(slots=True)
class Entry:
    """A file that was found; ``path`` as bytes, since names need not be text."""

    path: bytes
    device: int
    inode: int
    nbytes: int
    changed_ns: int

    @property
    def fingerprint(self) -> tuple[bytes, int, int, int, int]:
        """What a worker compares before it reads the file itself; an absolute path, for it has another folder."""
        return (os.path.join(os.getcwdb(), self.path), self.device, self.inode, self.nbytes, self.changed_ns)


@dataclass(slots=True)
class Report:
    """What came of it."""

    digest_by_path: dict[bytes, str] = field(default_factory=dict)
    errors: list[tuple[bytes, str]] = field(default_factory=list)
    nbytes: int = 0
    files_by_process: Counter[str] = field(default_factory=Counter)


def hash_folder(
    folder: Path, output: Path, algorithm: str, address: str | None, scheduler_file: str | None, n_workers: int,
    with_bar: bool,
) -> int:  # fmt: skip
    """Hash, write `output`, print a summary; the exit code: 1 if any file could not be read.

    Args:
        address, scheduler_file: a running cluster; both None: one is started here with `n_workers`.
    """
    started = time.perf_counter()
    report = Report()
    output.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(output.parent, os.W_OK):  # told now, not after an hour of hashing
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(output.parent))
    entries = find_files(os.fsencode(folder), _identity(output), report.errors)
    scheduler = find_scheduler(address, scheduler_file)  # the environment may name one too
    options: dict[str, Any] = {} if scheduler else {"n_workers": n_workers, "threads_per_worker": 1}
    with Client(scheduler, **options) as client:
        names = {
            f"{worker['hostname']}:{worker['pid']}": worker["name"]
            for worker in client.scheduler_info()["workers"].values()
        }
        if not names:
            print("the cluster has no workers yet; waiting for one", file=sys.stderr)
        with tqdm(
            total=sum(entry.nbytes for entry in entries), unit="B", unit_scale=True, unit_divisor=1024,
            desc=f"{len(entries):,} files", disable=not with_bar, mininterval=0.1 if sys.stderr.isatty() else 5.0,
        ) as bar:  # fmt: skip
            _Run(client, algorithm, report, bar).all(entries)
    seconds = time.perf_counter() - started
    _write(output, report.digest_by_path)
    _print(report, names, algorithm, output, seconds)
    return 1 if report.errors else 0


def find_files(folder: bytes, unwanted: tuple[int, int] | None, errors: list[tuple[bytes, str]]) -> list[Entry]:
    """Every regular file below `folder`, links not followed, in the order of their paths.

    Args:
        unwanted: device and inode of a file to leave out (an earlier output).
        errors: gets what could not be looked at.
    """
    found: list[Entry] = []
    todo = [folder]
    while todo:
        place = todo.pop()
        try:
            with os.scandir(place) as listing:
                items = list(listing)
        except OSError as error:
            errors.append((place, error.strerror or str(error)))
            continue
        for item in items:
            try:
                status = item.stat(follow_symlinks=False)
            except OSError as error:  # it vanished, and only it
                errors.append((item.path, error.strerror or str(error)))
                continue
            if stat.S_ISDIR(status.st_mode):
                todo.append(item.path)
            elif stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) != unwanted:
                found.append(Entry(item.path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    return sorted(found, key=lambda entry: entry.path)


class _Run:
    """One run over a cluster: batches first, then the contents that workers could not see."""

    def __init__(self, client: Client, algorithm: str, report: Report, bar: Any) -> None:
        self.client = client
        self.algorithm = algorithm
        self.report = report
        self.bar = bar
        self.boot_id = boot_id()
        self._turn = 0  # whose turn it is to be sent a big file

    def all(self, entries: list[Entry]) -> None:
        """Hash all; every entry ends in the report's digests or errors."""
        entries_of: dict[str, list[Entry]] = {}
        waiting = as_completed()
        for batch in _batches(entries):
            future = self.client.submit(
                digest_files, self.algorithm, self.boot_id, [entry.fingerprint for entry in batch], pure=False
            )
            entries_of[future.key] = batch
            waiting.add(future)
        unseen: list[Entry] = []
        for future in waiting:
            unseen.extend(self._take(future, entries_of.pop(future.key)))
        self._send(unseen)

    def _take(self, future: Future, batch: list[Entry]) -> list[Entry]:
        """Settle what a worker could read; the answer is what it does not see."""
        process, outcomes = future.result()
        unseen = []
        for entry, (digest, error) in zip(batch, outcomes, strict=True):
            if error == UNSEEN:
                unseen.append(entry)
            else:
                self._settle(entry, process, digest, error)
        return unseen

    def _send(self, entries: list[Entry]) -> None:
        small: dict[str, Entry] = {}
        waiting = as_completed()
        for entry in entries:
            if entry.nbytes > PART_NBYTES:
                self._send_parts(entry)
                continue
            content = self._read(entry)
            if content is not None:
                future = self.client.submit(digest_of, self.algorithm, content, pure=False)
                small[future.key] = entry
                waiting.add(future)
            if waiting.count() >= SENT_AT_ONCE:
                self._take_one(next(waiting), small)
        for future in waiting:
            self._take_one(future, small)

    def _take_one(self, future: Future, sent: dict[str, Entry]) -> None:
        process, digest = future.result()
        self._settle(sent.pop(future.key), process, digest, None)

    def _send_parts(self, entry: Entry, attempts: int = 3) -> None:
        """A big file, part by part to one worker, which keeps the hash between them."""
        for _ in range(attempts):
            workers = self._worker_names()
            self._turn += 1
            try:
                with open(entry.path, "rb") as file:
                    process, digest = self._send_parts_to(workers[self._turn % len(workers)], file)
            except (LookupError, KilledWorker):  # the worker that held the hash is gone: begin again with another one
                continue
            except CommClosedError:
                raise  # an OSError too, but it is the scheduler that is gone
            except OSError as error:
                self._settle(entry, "", None, error.strerror or str(error))
                return
            self._settle(entry, process, digest, None)
            return
        self._settle(entry, "", None, "workers died while it was sent")

    def _send_parts_to(self, worker: str, file: Any) -> tuple[str, str]:
        token = unique_id("hash")
        for number in itertools.count():
            part = file.read(PART_NBYTES)
            # By its name, not its address: who comes after it must do the task too, and say that the hash is not there.
            future = self.client.submit(
                digest_part, self.algorithm, token, number, part, workers=worker, pure=False
            )  # fmt: skip
            process, digest = self._result_from(worker, future)
            if digest is not None:
                return process, digest
        raise AssertionError("count() has no end")

    def _result_from(self, worker: str, future: Future) -> Any:
        """Result of a task that only `worker` may do; LookupError if it does not come back."""
        while True:
            try:
                return future.result(WATCH_S)
            except TimeoutError:
                if not future.done() and worker not in self._worker_names():
                    raise LookupError(f"worker {worker} is gone") from None

    def _worker_names(self) -> list[str]:
        """Names of the workers, waiting until there is one."""
        while not (workers := self.client.scheduler_info()["workers"].values()):
            time.sleep(POLL_S)
        return sorted(worker["name"] for worker in workers)

    def _read(self, entry: Entry) -> bytes | None:
        try:
            with open(entry.path, "rb") as file:
                return file.read()
        except OSError as error:
            self._settle(entry, "", None, error.strerror or str(error))
            return None

    def _settle(self, entry: Entry, process: str, digest: str | None, error: str | None) -> None:
        self.bar.update(entry.nbytes)
        if digest is None:
            self.report.errors.append((entry.path, error or "unknown"))
            return
        self.report.digest_by_path[entry.path] = digest
        self.report.nbytes += entry.nbytes
        self.report.files_by_process[process] += 1


def _batches(entries: list[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    nbytes = 0
    for entry in entries:
        if batch and (len(batch) >= BATCH_COUNT or nbytes + entry.nbytes > BATCH_NBYTES):
            yield batch
            batch, nbytes = [], 0
        batch.append(entry)
        nbytes += entry.nbytes
    if batch:
        yield batch


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _write(output: Path, digest_by_path: dict[bytes, str]) -> None:
    """Beside it and renamed, so that nobody ever reads half of it."""
    temporary = output.with_name(f".{output.name}.{unique_id('tmp')}")
    try:
        with open(temporary, "wb") as file:
            file.writelines(escaped_line(digest_by_path[path], path) for path in sorted(digest_by_path))
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)


def _print(report: Report, names: dict[str, str], algorithm: str, output: Path, seconds: float) -> None:
    for path, reason in sorted(report.errors):
        print(f"error: {os.fsdecode(path)!r}: {reason}", file=sys.stderr)
    count = len(report.digest_by_path)
    rate = format_nbytes(report.nbytes / seconds)
    print(f"{count:,} files, {format_nbytes(report.nbytes)} in {format_seconds(seconds)} ({rate}/s)")
    for process, files in sorted(report.files_by_process.items()):
        print(f"  {names.get(process, process)}: {files:,} files")
    if report.errors:
        print(f"{len(report.errors):,} could not be read, see above")
    program = "b2sum" if algorithm == "blake2b" else f"{algorithm}sum"
    name = str(output) if not str(output).startswith("-") else f"./{output}"  # it would be taken for an option
    print(f"{program} -c {shlex.quote(name)}")
