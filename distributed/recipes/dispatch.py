"""`Dispatch`: which files wait, which worker has which, who is tried next after a failure; pure, times are arguments.

    waiting ──take──▶ held ──finish──▶ settled
       ▲               │ └── overdue: one more worker may take it, the first result counts
       └─ fail, leave ─┘     failed FAILURES_MAX times: given up

For masters that push. Masters that are asked have `distributed.recipes.leases`. Not here: connections, digests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from distributed.dataclass import dataclass, field

__all__ = ["DEATHS_MAX", "FAILURES_MAX", "Dispatch", "Hold"]

FAILURES_MAX = 3  # attempts; after so many a file is at fault itself
DEATHS_MAX = 5  # of workers that had the file: less of a sign, since they had others too
OTHERS_S = 30.0  # for others to take what a worker failed on; they may hang, all of them
HOLDERS_MAX = 2  # workers that have the same file at once


@dataclass(slots=True)
class Hold:
    """A file in the hands of a worker: since when, and its size as soon as somebody has looked."""

    started: float
    nbytes: int = 0


@dataclass(slots=True)
class _Worker:
    holds: dict[str, Hold] = field(default_factory=dict)
    seconds: float = 0.0
    nbytes: int = 0


class Dispatch:
    """Files on their way to workers.

    Args:
        grace_s: beyond the time that a file should take its worker; then one more may have it. None: never.
    """

    def __init__(self, paths: Iterable[str] = (), grace_s: float | None = None) -> None:
        self._fresh = deque(paths)
        self._again: dict[str, float | None] = {}  # failed before, each travels alone; since when it is left to others
        self._workers: dict[str, _Worker] = {}
        self._holders: dict[str, list[str]] = {}
        self._failures: dict[str, dict[str, int]] = {}
        self._deaths: dict[str, dict[str, int]] = {}
        self._grace_s = grace_s

    # ------------------------------------------------------------ workers

    def join(self, worker: str) -> None:
        """A worker can be given files from now on."""
        self._workers.setdefault(worker, _Worker())

    def leave(self, worker: str) -> dict[str, str]:
        """A worker cannot be given files any more, and what it had waits again; why, of files that are given up."""
        given_up = {}
        record = self._workers.pop(worker, None)
        for path in reversed(record.holds if record else {}):
            self._holders[path].remove(worker)
            deaths = _counted(self._deaths.setdefault(path, {}), worker)
            if deaths >= DEATHS_MAX and not self._holders[path]:
                self.finish(path)
                given_up[path] = f"{deaths} workers died or went out of reach while they had it"
            else:
                self._put_back(path)
        return given_up

    # ------------------------------------------------------------ files

    def add(self, path: str) -> None:
        """A new file, after all others."""
        self._fresh.append(path)

    def take(self, worker: str, now: float, files_max: int = 1) -> list[str]:
        """Files for a worker, in its hands from now on: those that nobody has tried, as many as may travel together;
        else one that somebody else failed on, else one that is overdue elsewhere."""
        paths: list[str] = []
        while self._fresh and len(paths) < files_max:
            paths.append(self._fresh.popleft())
        if not paths:
            path = self._failed_elsewhere(worker, now) or self._overdue_elsewhere(worker, now)
            paths = [] if path is None else [path]
        for path in paths:
            self._workers[worker].holds[path] = Hold(now)
            self._holders.setdefault(path, []).append(worker)
        return paths

    def size(self, worker: str, path: str, nbytes: int) -> None:
        """A file that a worker was given is so big."""
        record = self._workers.get(worker)
        if record is not None and path in record.holds:
            record.holds[path].nbytes = nbytes

    def give_back(self, worker: str, paths: Iterable[str]) -> None:
        """The worker did not get these after all; nothing was wrong with them, and they are the next."""
        for path in reversed(list(paths)):
            if self._release(worker, path):
                self._put_back(path)

    def finish(self, path: str, worker: str | None = None, now: float = 0.0) -> None:
        """Nobody has to do it any more. If `worker` did it in time, that counts for how fast it is."""
        record = self._workers.get(worker or "")
        if record is not None and path in record.holds:
            record.seconds += max(0.0, now - record.holds[path].started)
            record.nbytes += record.holds[path].nbytes
        holders = self._holders.pop(path, [])
        for holder in holders:
            del self._workers[holder].holds[path]
        was_again = path in self._again
        self._again.pop(path, None)
        self._failures.pop(path, None)
        self._deaths.pop(path, None)
        if not holders and not was_again and path in self._fresh:
            self._fresh.remove(path)  # while it waited: somebody's late answer, so rare that looking may take time

    def fail(self, worker: str, path: str, reason: str, is_death: bool = False) -> str | None:
        """A worker cannot do it. Somebody else is asked; a text: nobody is, it is given up.

        Args:
            is_death: the worker went away in the middle, perhaps not because of this file.
        """
        if not self._release(worker, path):
            return None
        count = _counted((self._deaths if is_death else self._failures).setdefault(path, {}), worker)
        if self._holders[path] or count < (DEATHS_MAX if is_death else FAILURES_MAX):
            self._put_back(path)
            return None
        self.finish(path)
        return f"{reason} (the last of {count} attempts)"

    # ------------------------------------------------------------ questions

    @property
    def waiting_count(self) -> int:
        """How many files no worker has."""
        return len(self._fresh) + len(self._again)

    @property
    def is_settled(self) -> bool:
        """Whether no file waits and no worker has one."""
        return not self._fresh and not self._again and not self._holders

    def holds(self, worker: str) -> dict[str, Hold]:
        """What a worker has, by path."""
        record = self._workers.get(worker)
        return record.holds if record is not None else {}

    def workers(self) -> list[str]:
        """Who can be given files."""
        return list(self._workers)

    # ------------------------------------------------------------ private

    def _release(self, worker: str, path: str) -> bool:
        record = self._workers.get(worker)
        if record is None or record.holds.pop(path, None) is None:
            return False
        self._holders[path].remove(worker)
        return True

    def _put_back(self, path: str) -> None:
        if self._holders[path]:
            return  # another worker still has it
        del self._holders[path]
        if path in self._failures or path in self._deaths:
            self._again[path] = None
        else:
            self._fresh.appendleft(path)

    def _failed_elsewhere(self, worker: str, now: float) -> str | None:
        """One that this worker has neither failed on nor died with; if all workers have, or take nothing, then any."""
        for path, since in self._again.items():
            had = self._failures.get(path, {}).keys() | self._deaths.get(path, {}).keys()
            is_left_over = since is not None and now - since > OTHERS_S
            if worker not in had or is_left_over or all(other in had for other in self._workers):
                del self._again[path]
                return path
            if since is None:
                self._again[path] = now
        return None

    def _overdue_elsewhere(self, worker: str, now: float) -> str | None:
        if self._grace_s is None:
            return None
        for path, holders in self._holders.items():
            if len(holders) < HOLDERS_MAX and worker not in holders:
                record = self._workers[holders[0]]
                hold = record.holds[path]
                speed = record.seconds / record.nbytes if record.nbytes else 0.0
                if hold.started + hold.nbytes * speed + self._grace_s < now:
                    return path
        return None

    def check(self) -> None:
        """Assert what must hold between two calls; for tests."""
        waiting = [*self._fresh, *self._again]
        assert len(waiting) == len(set(waiting)) and not self._holders.keys() & set(waiting)
        for path, holders in self._holders.items():
            assert 1 <= len(holders) <= HOLDERS_MAX
            assert all(path in self._workers[holder].holds for holder in holders)
        assert sum(len(record.holds) for record in self._workers.values()) == sum(map(len, self._holders.values()))


def _counted(by_worker: dict[str, int], worker: str) -> int:
    """How often in all, with this once more of one worker."""
    by_worker[worker] = by_worker.get(worker, 0) + 1
    return sum(by_worker.values())
