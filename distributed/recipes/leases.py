"""`Leases`: which files wait, who has which since when, and who gets the next; pure, times are arguments.

    waiting ──take──▶ leased ──finish──▶ settled
       ▲                │
       └── give_back ───┘ leased, timed out ──take, by whoever asks──▶ leased to that one; a late result still counts

A file that nobody finishes in `ATTEMPTS_MAX` attempts (of one worker in a row that just asks again: one) is given up:
`take_given_up` says why. Not here: the files
themselves, and their digests, which are `Home`'s.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator

from distributed.dataclass import dataclass, field

__all__ = ["ATTEMPTS_MAX", "LESSEES_MAX", "Lease", "Leases", "Lessee"]

ATTEMPTS_MAX = 5  # a file that so many could not finish, or did not in time, is at fault itself
LESSEES_MAX = 10_000  # workers that are known at once; beyond, idle ones that were not heard of longest are forgotten
ACTIVE_S = 30.0  # a worker that was heard of so lately gets its share of a batch


@dataclass(slots=True)
class Lease:
    """One file in the hands of one worker.

    Attributes:
        nbytes: of the file.
        started: when it was taken.
        heard: when the worker last took bytes of it.
        batch_nbytes, batch_count: of all files taken with it: the last of them is done when all are.
        patience: times the usual grace; doubled with every attempt, since the task itself may be a slow one.
    """

    path: str
    lessee: Lessee
    nbytes: int
    started: float
    heard: float
    batch_nbytes: int
    batch_count: int
    patience: float

    def timeout_at(self, grace_s: float) -> float:
        """After this moment somebody else may have the file."""
        due = self.started + self.lessee.estimate_file_processing_seconds(self.batch_nbytes)
        return max(due, self.heard) + grace_s * self.patience


@dataclass(slots=True)
class Lessee:
    """A worker (one process) and how fast it has been.

    Attributes:
        seen: when it last asked or told anything; `asked`: when it last asked for files.
        leases: by path.
        nbytes_total, seconds_total, files_total: of the files it has finished.
    """

    name: str
    seen: float
    asked: float = -math.inf
    leases: dict[str, Lease] = field(default_factory=dict)
    nbytes_total: int = 0
    seconds_total: float = 0.0
    files_total: int = 0

    @property
    def processing_speed(self) -> float:
        """Seconds per byte; 0.0 as long as nothing is known."""
        return self.seconds_total / self.nbytes_total if self.nbytes_total else 0.0

    @property
    def processing_speed_per_file(self) -> float:
        """Seconds per file; 0.0 as long as nothing is known."""
        return self.seconds_total / self.files_total if self.files_total else 0.0

    def estimate_file_processing_seconds(self, size: int) -> float:
        """How long it should take for `size` bytes, going by what it has done so far."""
        return size * self.processing_speed


class Leases:
    """Files on their way through workers.

    Args:
        grace_s: beyond the time that a file should take its worker; then somebody else may have it.
    Attributes:
        lessees: by name.
    """

    def __init__(self, grace_s: float) -> None:
        self.grace_s = grace_s
        self.lessees: dict[str, Lessee] = {}
        self._waiting: OrderedDict[str, int] = OrderedDict()  # bytes by path
        self._leases: dict[str, Lease] = {}
        self._former: dict[str, dict[str, Lease]] = {}  # by path and name, leases that ended without a result
        self._attempts: dict[str, int] = {}
        self._given_up: list[tuple[str, str]] = []

    # ------------------------------------------------------------ workers

    def register(self, name: str, now: float) -> bool:
        """A worker appears; False: it is here already."""
        if name in self.lessees:
            self.lessees[name].seen = now
            return False
        if len(self.lessees) >= LESSEES_MAX:
            self._forget_one()
        self.lessees[name] = Lessee(name, now)
        return True

    def is_registered(self, name: str) -> bool:
        """Whether the worker may take files."""
        return name in self.lessees

    def active_count(self, now: float) -> int:
        """How many workers were heard of lately; at least 1."""
        return max(1, sum(lessee.seen >= now - ACTIVE_S for lessee in self.lessees.values()))

    # ------------------------------------------------------------ files

    def add(self, path: str, nbytes: int) -> None:
        """A file to be done, after all others that wait."""
        self._waiting[path] = nbytes

    def take(self, name: str, now: float, files_max: int = 1, nbytes_max: int = 0) -> list[Lease]:
        """Files for a worker, leased to it from now on; none: see `is_done`.

        Files that wait come first, then those whose time is over, the earliest started first. The first one is given
        whatever its size, more of them while they fit; and never more than leaves some for the others. What the worker
        has failed on goes to others first: one that fails on everything must not use up all attempts alone.
        """
        lessee = self.lessees[name]
        lessee.seen = lessee.asked = now
        self._give_up_hopeless(now)
        others = [other.name for other in self.lessees.values() if other is not lessee and _takes_files(other, now)]
        share = math.ceil(len(self._waiting) / (2 * self.active_count(now)))
        waiting = (item for item in self._waiting.items() if self._is_for(name, item[0], others))
        paths = self._fitting(waiting, min(files_max, max(1, share)), nbytes_max)
        if not paths:
            overdue = [(lease.path, lease.nbytes) for lease in self.timed_out(now)]
            paths = self._fitting(
                (item for item in overdue if self._is_for(name, item[0], others)), files_max, nbytes_max
            )
        batch = [(path, self._nbytes(path)) for path in paths]
        return [self._lend(lessee, path, nbytes, now, batch) for path, nbytes in batch]

    def begin(self, name: str, path: str, nbytes: int, now: float) -> Lease:
        """This very file is the worker's from now on, whoever had it."""
        return self._lend(self.lessees[name], path, nbytes, now, [(path, nbytes)])

    def hear(self, lease: Lease, now: float) -> None:
        """The worker took more bytes of this file."""
        lease.heard = lease.lessee.seen = now

    def finish(self, name: str, path: str, now: float) -> None:
        """The worker has told the result: nobody has to do the file any more. Its time counts for its statistics."""
        lease = self._leases.get(path)
        if lease is None or lease.lessee.name != name:
            lease = self._former.get(path, {}).get(name)
        if lease is not None:
            lease.lessee.nbytes_total += lease.nbytes
            lease.lessee.seconds_total += (now - lease.started) / lease.batch_count
            lease.lessee.files_total += 1
        if name in self.lessees:
            self.lessees[name].seen = now
        self.drop(path)

    def give_back(self, name: str, path: str, reason: str | None = None) -> None:
        """The worker does not do the file, and another one may; it waits again.

        Args:
            reason: why, in words; after `ATTEMPTS_MAX` of them it is given up. None: nothing was wrong, it just did not
                fit; it is the next one.
        """
        lease = self._leases.get(path)
        if lease is None or lease.lessee.name != name:
            return
        self._end(lease, is_kept=reason is not None)
        if reason is not None and self._attempts[path] >= ATTEMPTS_MAX:
            self._given_up.append((path, f"{reason}; given up after {ATTEMPTS_MAX} attempts"))
            return
        self._waiting[path] = lease.nbytes
        if reason is None:
            self._attempts[path] -= 1
            self._waiting.move_to_end(path, last=False)

    def drop(self, path: str) -> None:
        """Nobody has to do the file any more, for whatever reason."""
        self._waiting.pop(path, None)
        self._attempts.pop(path, None)
        if path in self._leases:
            self._end(self._leases[path], is_kept=path in self._former)

    def take_given_up(self) -> list[tuple[str, str]]:
        """Path and reason of the files that were given up since the last call."""
        given_up, self._given_up = self._given_up, []
        return given_up

    # ------------------------------------------------------------ questions

    def has_held(self, name: str, path: str) -> bool:
        """Whether the worker has the file, or had it before somebody else got it: its result may be believed."""
        lease = self._leases.get(path)
        return (lease is not None and lease.lessee.name == name) or name in self._former.get(path, {})

    def lease_of(self, path: str) -> Lease | None:
        """Who has the file now."""
        return self._leases.get(path)

    @property
    def is_busy(self) -> bool:
        """Whether any worker has a file."""
        return bool(self._leases)

    @property
    def is_done(self) -> bool:
        """Whether no file waits and no worker has one."""
        return not self._leases and not self._waiting

    @property
    def waiting_count(self) -> int:
        """How many files nobody has."""
        return len(self._waiting)

    def timed_out(self, now: float) -> Iterator[Lease]:
        """Leases whose time is over, the earliest started first; of the same moment, in the order they were taken."""
        yield from sorted(
            (lease for lease in self._leases.values() if lease.timeout_at(self.grace_s) < now),
            key=lambda lease: lease.started,
        )

    def next_timeout(self) -> float | None:
        """When the next lease times out, if any does."""
        return min((lease.timeout_at(self.grace_s) for lease in self._leases.values()), default=None)

    # ------------------------------------------------------------ both sides of the relation

    def _lend(self, lessee: Lessee, path: str, nbytes: int, now: float, batch: list[tuple[str, int]]) -> Lease:
        attempts = self._attempts.get(path, 0)
        before = self._leases.get(path)
        if before is None or before.lessee is not lessee:  # who only ever asks is no sign of a fault of the file
            attempts += 1
        if before is not None:
            self._end(before)
        self._waiting.pop(path, None)
        self._attempts[path] = attempts
        nbytes_all = sum(size for _, size in batch)
        lease = Lease(path, lessee, nbytes, now, now, nbytes_all, len(batch), 2.0 ** (attempts - 1))
        self._leases[path] = lessee.leases[path] = lease
        return lease

    def _end(self, lease: Lease, is_kept: bool = True) -> None:
        del self._leases[lease.path]
        del lease.lessee.leases[lease.path]
        if is_kept:
            self._former.setdefault(lease.path, {})[lease.lessee.name] = lease

    # ------------------------------------------------------------ private

    def _is_for(self, name: str, path: str, others: list[str]) -> bool:
        """Whether a worker has not had the file; or all others have, who take files, too."""
        lease, former = self._leases.get(path), self._former.get(path, {})
        if name not in former and (lease is None or lease.lessee.name != name):
            return True
        return all(other in former or (lease is not None and lease.lessee.name == other) for other in others)

    @staticmethod
    def _fitting(candidates: Iterator[tuple[str, int]], files_max: int, nbytes_max: int) -> list[str]:
        chosen: list[str] = []
        nbytes_all = 0
        for path, nbytes in candidates:
            nbytes_all += nbytes
            if chosen and (len(chosen) >= files_max or nbytes_all > nbytes_max):
                break
            chosen.append(path)
        return chosen

    def _nbytes(self, path: str) -> int:
        lease = self._leases.get(path)
        return self._waiting[path] if lease is None else lease.nbytes

    def _give_up_hopeless(self, now: float) -> None:
        for lease in list(self.timed_out(now)):
            if self._attempts[lease.path] >= ATTEMPTS_MAX:
                self._end(lease)
                self._given_up.append((lease.path, f"no worker finished it; given up after {ATTEMPTS_MAX} attempts"))

    def _forget_one(self) -> None:
        idle = [lessee for lessee in self.lessees.values() if not lessee.leases]
        if idle:
            del self.lessees[min(idle, key=lambda lessee: lessee.seen).name]

    def check(self) -> None:
        """Assert what must hold between two calls; for tests."""
        assert not self._waiting.keys() & self._leases.keys()
        for path, lease in self._leases.items():
            assert lease.path == path and lease.lessee.leases[path] is lease
            assert 1 <= self._attempts[path] <= ATTEMPTS_MAX
        assert sum(len(lessee.leases) for lessee in self.lessees.values()) == len(self._leases)
        assert all(self.lessees[lessee.name] is lessee for lessee in self.lessees.values())


def _takes_files(lessee: Lessee, now: float) -> bool:
    """Whether a worker asks for files, or has some that it is busy with; registering alone is neither."""
    return max(lessee.asked, lessee.seen if lessee.leases else -math.inf) >= now - ACTIVE_S
