"""`Master`: the files of a folder, lent to workers until each has its digest. Not here: HTTP, see `handlers`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from distributed import config as default_config
from distributed.recipes.digesting import algorithm_of, is_digest
from distributed.recipes.home import Home
from distributed.recipes.leases import LESSEES_MAX, Lease, Leases, Lessee
from distributed.recipes.rates import Rates
from distributed.recipes.reports import Verdict

__all__ = ["DISPUTED_MAX", "NAME_LENGTH_MAX", "Master"]

DISPUTED_MAX = 1000  # files about which workers disagree, kept for people to look at
FAILED_SHOWN_MAX = 100
NAME_LENGTH_MAX = 200  # characters of a worker's name
REASON_LENGTH_MAX = 500  # characters that are kept of why a worker has no digest
A_LITTLE_S = 0.001
MOMENT_S = 1.0  # a worker asks again that long after it has waited
TELL_S = 30.0  # in which workers that are around are told that nothing is left; some may never ask
WORKERS_SHOWN_MAX = 500


class Master:
    """Lends the files of a folder to workers. Used from one thread.

    Args:
        home_dir: the folder.
        config: an object with the settings as attributes; None: the module `distributed.config`.
        clock: monotonic seconds.
    Attributes:
        home: the files, their digests and errors.
        leases: who has which file.
        disputed: by path, worker and digest of a result that differs from the one that is kept.
        dismissed: names of workers that were told that nothing is left.
        changed: set, and replaced, whenever there may be something new for a worker that waits.
    """

    def __init__(
        self, home_dir: str | os.PathLike[str], config: Any = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.config = default_config if config is None else config
        self.home = Home(home_dir)
        self.leases = Leases(self.config.WORKER_PROCESSING_TIMEOUT_SECONDS)
        self.disputed: dict[str, tuple[str, str]] = {}
        self.dismissed: set[str] = set()
        self.changed = asyncio.Event()
        self._clock = clock
        self._rates = Rates(clock())
        self._nbytes: dict[str, int] = {}
        self._nbytes_total = self._nbytes_finished = 0
        self._settled_at: float | None = None

    def load(self, output: Path | None = None) -> None:
        """Find the files, once; then they can be taken.

        Args:
            output: a file to leave out, since the digests will be written to it.
        Raises:
            HomeError: there is no such folder.
        """
        self.home.load_files()
        if output is not None:
            self.home.leave_out(output)
        for path in self.home.files:
            if path in self.home.errors:
                continue
            try:
                nbytes = os.stat(self.home.get_full_path(path)).st_size
            except OSError as error:
                self.home.set_file_error(path, error.strerror or str(error))
                continue
            self._nbytes[path] = nbytes
            self._nbytes_total += nbytes
            self.leases.add(path, nbytes)

    # ------------------------------------------------------------ workers

    def worker_register(self, name: str) -> bool:
        """A worker appears; False: one of that name is here already."""
        return self.leases.register(name, self._clock())

    def worker_registered(self, name: str) -> bool:
        """Whether it may take files."""
        return self.leases.is_registered(name)

    def dismiss(self, name: str) -> None:
        """A worker has been told that nothing is left."""
        self.dismissed.add(name)
        if len(self.dismissed) > LESSEES_MAX:
            self.dismissed.intersection_update(self.leases.lessees)

    # ------------------------------------------------------------ files on their way

    def take(self, name: str, files_max: int = 1, nbytes_max: int = 0) -> list[Lease]:
        """Files for a worker: the next ones, else those whose time is over; none: see `Leases.is_done`."""
        taken = self.leases.take(name, self._clock(), files_max, nbytes_max)
        self._settle_given_up()
        return taken

    def new_processing_file(self, name: str, path: str) -> Lease:
        """This very file is the worker's from now on, whoever had it."""
        return self.leases.begin(name, path, self._nbytes.get(path, 0), self._clock())

    def hear(self, lease: Lease) -> None:
        """The worker took more bytes of this file."""
        self.leases.hear(lease, self._clock())

    def file_processing_finished(self, name: str, path: str, hash_: str) -> Verdict:
        """A worker tells the digest of a file, which is kept if it may be believed: the worker has or had the file."""
        if not self.home.file_exists(path):
            return Verdict.UNKNOWN_FILE
        if not is_digest(hash_, self.config):
            return Verdict.NO_DIGEST
        known = self.home.files[path]
        if known == hash_:
            return Verdict.ACCEPTED
        if not self.leases.has_held(name, path):
            return Verdict.NOT_HELD
        if known is not None:
            if len(self.disputed) < DISPUTED_MAX:
                self.disputed[path] = (name, hash_)
            return Verdict.DISPUTED
        now = self._clock()
        self.leases.finish(name, path, now)
        self.home.set_file_hash(path, hash_)
        self._nbytes_finished += self._nbytes[path]
        self._rates.count(1, self._nbytes[path], now)
        self._tell()
        return Verdict.ACCEPTED

    def file_processing_failed(self, name: str, path: str, reason: str) -> Verdict:
        """A worker could not do a file: another one may try, a few times."""
        if not self.home.file_exists(path):
            return Verdict.UNKNOWN_FILE
        if not self.leases.has_held(name, path):
            return Verdict.NOT_HELD
        self.leases.give_back(name, path, reason[:REASON_LENGTH_MAX])
        self._settle_given_up()
        self._tell()
        return Verdict.ACCEPTED

    def remove_current_processing_file(self, name: str, path: str, reason: str | None = None) -> None:
        """The worker has the file no more, and it waits again.

        Args:
            reason: as in `Leases.give_back`.
        """
        self.leases.give_back(name, path, reason)
        self._settle_given_up()
        self._tell()

    def give_back(self, lease: Lease, reason: str | None = None) -> None:
        """`remove_current_processing_file` of who has the lease."""
        self.remove_current_processing_file(lease.lessee.name, lease.path, reason)

    def file_unreadable(self, path: str, reason: str) -> None:
        """Nobody can read the file any more; it is settled so."""
        self.leases.drop(path)
        self.home.set_file_error(path, reason)
        self._tell()

    def iter_timeout_files(self) -> Iterator[tuple[str, str]]:
        """Worker and path of every file whose time is over, the earliest started first."""
        return ((lease.lessee.name, lease.path) for lease in self.leases.timed_out(self._clock()))

    @property
    def timeout_files(self) -> list[tuple[str, str]]:
        """The same, as a list."""
        return list(self.iter_timeout_files())

    def get_one_timeout_file(self) -> tuple[str, str] | None:
        """Worker and path of a file whose time is over, if there is one."""
        return next(self.iter_timeout_files(), None)

    def get_earliest_timeout_file(self) -> tuple[str, str] | None:
        """Worker and path of the one of them that was started first."""
        return next(self.iter_timeout_files(), None)

    get_earlist_timeout_file = get_earliest_timeout_file  # as the first version spelled it

    def has_processing_files(self) -> bool:
        """Whether any worker has a file."""
        return self.leases.is_busy

    def seconds_to_timeout(self) -> float | None:
        """Until the next file's time is over; None: no worker has one."""
        moment = self.leases.next_timeout()
        return None if moment is None else max(0.0, moment - self._clock())

    def seconds_to_look(self) -> float:
        """After so long a worker that got no file may get one, though nothing has changed."""
        soon_s = self.seconds_to_timeout()
        return soon_s + A_LITTLE_S if soon_s else MOMENT_S  # one whose time is over already is meant for others

    @property
    def is_over(self) -> bool:
        """Whether all is settled, and every worker that is around has been told so; or `TELL_S` have passed."""
        now = self._clock()
        if not self.home.finished:
            self._settled_at = None
            return False
        self._settled_at = now if self._settled_at is None else self._settled_at
        if now - self._settled_at > self.config.WORKER_WAIT_FOR_TIMEOUT_FILE_SECONDS + TELL_S:
            return True
        since = now - self.config.WORKER_WAIT_FOR_TIMEOUT_FILE_SECONDS - MOMENT_S
        around = [name for name, lessee in self.leases.lessees.items() if lessee.seen >= since]
        return self.dismissed.issuperset(around)

    # ------------------------------------------------------------ for people

    def home_status(self, include_files: bool = False) -> dict[str, Any]:
        """How far it is; with every file's digest, or None, and the errors, if they are asked for."""
        status: dict[str, Any] = {"state": self.home.state}
        if include_files:
            status["files"] = self.home.files
            status["errors"] = self.home.errors
        return status

    def details(self) -> dict[str, Any]:
        """What the page shows, see `distributed.recipes.page`."""
        now = self._clock()
        files_per_s, bytes_per_s = self._rates.per_second(now)
        errors = self.home.errors
        shown = [*errors.items()][:FAILED_SHOWN_MAX]
        shown += [(path, f"{name} told another digest: {digest}") for path, (name, digest) in self.disputed.items()]
        return {
            "state": self.home.state,
            "home": self.home.home_dir,
            "algorithm": algorithm_of(self.config),
            "waiting": self.leases.waiting_count,
            "bytes": {"total": self._nbytes_total, "finished": self._nbytes_finished},
            "files_per_s": files_per_s,
            "bytes_per_s": bytes_per_s,
            "failed": shown[:FAILED_SHOWN_MAX],
            "failed_count": len(errors) + len(self.disputed),
            "workers": [self._about(lessee, now) for lessee in self._shown_lessees()],
        }

    def _shown_lessees(self) -> list[Lessee]:
        """Those that were heard of last, by name: a table whose lines jump cannot be read."""
        latest = sorted(self.leases.lessees.values(), key=lambda lessee: -lessee.seen)[:WORKERS_SHOWN_MAX]
        return sorted(latest, key=lambda lessee: lessee.name)

    def _about(self, lessee: Lessee, now: float) -> dict[str, Any]:
        return {
            "name": lessee.name,
            "state": self._state_of(lessee, now),
            "processing": len(lessee.leases),
            "files": lessee.files_total,
            "bytes": lessee.nbytes_total,
            "seen_s_ago": now - lessee.seen,
        }

    def _state_of(self, lessee: Lessee, now: float) -> str:
        is_here = lessee.seen >= now - self._patience_s()
        if lessee.name in self.dismissed:
            return "done"
        if lessee.leases:
            return "working" if is_here else "silent"
        return "idle" if is_here else "gone"

    def _patience_s(self) -> float:
        """A worker that lives asks or tells something within that time, while its files are small."""
        wait_s: float = self.config.WORKER_WAIT_FOR_TIMEOUT_FILE_SECONDS
        return 2 * (wait_s + self.leases.grace_s)

    def _settle_given_up(self) -> None:
        given_up = self.leases.take_given_up()
        for path, reason in given_up:
            self.home.set_file_error(path, reason)
        if given_up:
            self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()
