"""`Roster`: which workers are alive, who gets the next files, which jobs are out; pure, times are arguments.

    unknown ──status──▶ alive ──MISSES_MAX polls without an answer, or nobody listens──▶ lost ──status──▶ alive again

A job is what is sent in one request. A worker lists in its status the jobs that it has not told yet. One that it took
and that is in no later status, without having been told, is lost; so are all jobs of a worker that was started anew.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection, Sequence

from distributed.dataclass import dataclass, field
from distributed.recipes.dispatch import Dispatch

__all__ = ["Job", "Roster", "Status", "Worker"]

MISSES_MAX = 3  # polls in a row without an answer
FORMER_MAX = 10_000  # jobs that are remembered after they were taken away: late results are welcome


@dataclass(slots=True)
class Status:
    """What a worker says: `id` of its life, how many processes it has, which jobs it has not told yet."""

    id: str
    total: int
    idle: int
    cpu_percent: float
    jobs: Collection[str]


@dataclass(slots=True)
class Job:
    """Files that were sent together.

    Attributes:
        paths: that have no outcome yet.
        taken: when the worker took it; None: it is still being sent.
    """

    id: str
    url: str
    paths: dict[str, None]
    taken: float | None = None


@dataclass(slots=True)
class Worker:
    """What is known of a worker.

    Attributes:
        state: unknown, alive or lost; `reason`: why it is lost.
        free: processes that can be given a job, as far as we know.
        seen: when it was last heard of; None: never.
        files: how many it has finished.
    """

    url: str
    state: str = "unknown"
    reason: str = ""
    life: str = ""
    total: int = 0
    free: int = 0
    cpu_percent: float = 0.0
    seen: float | None = None
    misses: int = 0
    not_before: float = 0.0
    files: int = 0
    jobs: dict[str, Job] = field(default_factory=dict)


class Roster:
    """Workers and jobs of a push master.

    Args:
        urls: of the workers.
        grace_s: see `Dispatch`.
    Attributes:
        dispatch: the files.
        workers: by URL.
    """

    def __init__(self, urls: Sequence[str], grace_s: float | None = None) -> None:
        self.dispatch = Dispatch((), grace_s)
        self.workers = {url: Worker(url) for url in urls}
        self._former: OrderedDict[str, Job] = OrderedDict()

    # ------------------------------------------------------------ polls

    def answered(self, url: str, status: Status, asked: float, now: float) -> dict[str, str]:
        """A worker told its status, for which it was asked at `asked`; why, of files that are given up."""
        worker = self.workers[url]
        given_up: dict[str, str] = {}
        if worker.state == "alive" and worker.life != status.id:
            given_up = self._lose(worker)
        worker.state, worker.reason, worker.misses = "alive", "", 0
        worker.life, worker.seen, worker.cpu_percent = status.id, now, status.cpu_percent
        self.dispatch.join(url)
        for job in list(worker.jobs.values()):
            if job.taken is not None and job.taken < asked and job.id not in status.jobs:
                given_up |= self.failed(job, "the worker took it, and never told what came of it")
        begun_since = sum(job.taken is None or job.taken >= asked for job in worker.jobs.values())
        worker.total = status.total
        worker.free = max(0, status.idle - begun_since)
        return given_up

    def missed(self, url: str, reason: str, is_gone: bool = False) -> dict[str, str]:
        """A worker did not answer, or nonsense; why, of files that are given up.

        Args:
            is_gone: nobody listens there; no need to wait for more polls.
        """
        worker = self.workers[url]
        worker.misses += 1
        worker.reason = reason
        if worker.state != "alive":
            worker.state = "lost"
        elif is_gone or worker.misses >= MISSES_MAX:
            return self._lose(worker)
        return {}

    @property
    def alive_count(self) -> int:
        """How many workers are alive, as far as we know."""
        return sum(worker.state == "alive" for worker in self.workers.values())

    # ------------------------------------------------------------ jobs

    def select(self, now: float, but: Collection[str] = ()) -> str | None:
        """The worker that gets the next files: alive, with a free process, the least loaded; of equals the first.

        Args:
            but: who is not meant.
        """
        able = [
            worker
            for worker in self.workers.values()
            if worker.state == "alive"
            and worker.misses == 0
            and worker.free > 0
            and worker.not_before <= now
            and worker.url not in but
        ]
        # Load first by processes, then by what else the machine does.
        chosen = min(able, key=lambda worker: (1 - worker.free / worker.total, worker.cpu_percent), default=None)
        return chosen.url if chosen else None

    def begin(self, url: str, job_id: str, now: float, files_max: int) -> Job | None:
        """A job for the selected worker; None: there is no file that it could do."""
        total = sum(worker.total for worker in self.workers.values() if worker.state == "alive")
        share = math.ceil(self.dispatch.waiting_count / (2 * max(1, total)))
        paths = self.dispatch.take(url, now, min(files_max, max(1, share)))
        if not paths:
            return None
        worker = self.workers[url]
        worker.free -= 1
        job = worker.jobs[job_id] = Job(job_id, url, dict.fromkeys(paths))
        return job

    def sized(self, job: Job, nbytes: dict[str, int], left: Sequence[str]) -> None:
        """Its files are so big, and the paths in `left` did not fit."""
        for path, size in nbytes.items():
            self.dispatch.size(job.url, path, size)
        for path in left:
            job.paths.pop(path, None)
        self.dispatch.give_back(job.url, left)

    def accepted(self, job: Job, now: float) -> None:
        """The worker took it; its outcomes may be here already."""
        if job.id in self.workers[job.url].jobs:
            job.taken = now

    def refused(self, job: Job, now: float, pause_s: float) -> None:
        """The worker has no room for it; it is asked again when `pause_s` have passed."""
        worker = self.workers[job.url]
        worker.not_before = max(worker.not_before, now + pause_s)
        worker.free = min(worker.total, worker.free + 1)
        self.dispatch.give_back(job.url, job.paths)
        self._forget(worker, job)

    def failed(self, job: Job, reason: str, is_death: bool = False) -> dict[str, str]:
        """It could not be sent, or not be taken; why, of files that are given up."""
        given_up = {}
        for path in job.paths:
            text = self.dispatch.fail(job.url, path, reason, is_death)
            if text is not None:
                given_up[path] = text
        worker = self.workers[job.url]
        if not is_death:
            worker.free = min(worker.total, worker.free + 1)
        self._forget(worker, job)
        return given_up

    def job(self, job_id: str) -> Job | None:
        """A job that is out, or was; None: there was none, or it is too long ago."""
        for worker in self.workers.values():
            if job_id in worker.jobs:
                return worker.jobs[job_id]
        return self._former.get(job_id)

    def done(self, job: Job, path: str, now: float) -> None:
        """A file of it has its digest."""
        self.dispatch.finish(path, job.url, now)
        self.workers[job.url].files += 1
        self._settle(job, path)

    def undone(self, job: Job, path: str, reason: str | None) -> str | None:
        """A file of it has none; a text: and gets none, it is given up.

        Args:
            reason: None: the worker did not begin it.
        """
        given_up = None
        if reason is not None:
            given_up = self.dispatch.fail(job.url, path, reason)
        else:
            self.dispatch.give_back(job.url, [path])
        self._settle(job, path)
        return given_up

    # ------------------------------------------------------------ private

    def _settle(self, job: Job, path: str) -> None:
        job.paths.pop(path, None)
        worker = self.workers[job.url]
        if not job.paths and worker.jobs.pop(job.id, None) is not None:
            worker.free = min(worker.total, worker.free + 1)

    def _forget(self, worker: Worker, job: Job) -> None:
        worker.jobs.pop(job.id, None)
        self._former[job.id] = job
        if len(self._former) > FORMER_MAX:
            self._former.popitem(last=False)

    def _lose(self, worker: Worker) -> dict[str, str]:
        worker.state = "lost"
        worker.free = 0
        for job in list(worker.jobs.values()):
            self._forget(worker, job)
        return self.dispatch.leave(worker.url)
