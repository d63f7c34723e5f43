"""`Master`: looks at its workers, sends them files, and takes their digests. The requests to it are in `master`."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed import config as default_config
from distributed.constants import HTTP_HEADER_X_JOB, HTTP_HEADER_X_MASTER, WORKER_PATH_STATUS
from distributed.errors import CommClosedError, HomeError, UnreachableError
from distributed.ids import unique_id
from distributed.process.running import Background
from distributed.push.homes import Homes
from distributed.push.roster import Job, Roster, Status
from distributed.push.statuses import parse_status
from distributed.recipes.digesting import algorithm_of, digest_function, is_digest
from distributed.recipes.home import Home
from distributed.recipes.naming import shown
from distributed.recipes.progress import say
from distributed.recipes.rates import Rates
from distributed.recipes.reports import Verdict
from distributed.recipes.sending import pack, send, worker_urls
from distributed.web.asking import Answer, Connection

__all__ = ["Master"]

SENDS_MAX = 8  # jobs on their way at once: each may hold a batch twice, once as files and once as a body
PAUSE_S_MAX = 60.0  # that a worker may wish for with Retry-After
POLL_S_MAX = 5.0  # for the answer to a poll
FAILED_SHOWN_MAX = 100
NOBODY = "no worker answers; files wait for one: `python -m distributed.push.worker --port 8001`, named with --worker"


class Master:
    """Pushes the files of its folders to workers.

    Args:
        config: where the settings are; None: `distributed.config`.
        insecure: reach workers on other machines without TLS.
        clock: monotonic seconds.
    Attributes:
        url: where workers tell their digests; to be set before `start`.
        settled, unsettled: whether every file is settled; both are set when we failed, as `close` tells.
    """

    def __init__(
        self,
        home_dir: str | os.PathLike[str],
        config: Any = None,
        insecure: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = default_config if config is None else config
        digest_function(self.config)
        self.homes = Homes(home_dir)
        self.url = ""
        self.settled, self.unsettled = asyncio.Event(), asyncio.Event()
        self._clock = clock
        self._urls = worker_urls(self.config, insecure)
        self.roster = Roster(self._urls, self.config.WORKER_PROCESSING_TIMEOUT_SECONDS)
        self._changed = asyncio.Event()
        self._doubtful = {url: asyncio.Event() for url in self._urls}  # to be asked now, not at the next heartbeat
        self._sends = dict.fromkeys(self._urls, 0)
        self._spare: dict[str, list[Connection]] = {url: [] for url in self._urls}
        self._nbytes: dict[str, int] = {}
        self._nbytes_finished = 0
        self._began = clock()
        self._rates = Rates(self._began)
        self._failure: BaseException | None = None
        self._background = Background(self._on_failure)

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Begin to look at workers and to push."""
        for url in self._urls:
            self._background.spawn(self._watch(url))
        self._background.spawn(self._push())

    async def load(self, home_dir: str | None = None, output: Path | None = None) -> int:
        """Find the files of the first folder, or of a further one, in its real path; how many.

        Args:
            output: a file that is not meant, should it lie among them.
        Raises:
            HomeError: there is no such folder, or it is known already.
        """
        home = Home(self.homes.home_dir if home_dir is None else home_dir)
        if home_dir is not None and home.real_dir != home_dir:
            raise HomeError(home_dir, "it has become a link just now; ask again")
        nbytes = await asyncio.to_thread(_load, home, output)
        names = self.homes.begin(home) if home_dir is None else self.homes.add(home)
        for name, path in names.items():
            self._nbytes[name] = nbytes.get(path, 0)
            self.roster.dispatch.add(name)
        self._check_settled()
        self._changed.set()
        return len(home.files)

    async def close(self) -> None:
        """Stop; what workers have is lost to us."""
        self._background.cancel()
        await self._background.wait_ended()
        for url in self._urls:
            for connection in self._spare[url]:
                connection.close()
        if self._failure is not None:
            raise self._failure

    def _on_failure(self, error: BaseException) -> None:
        self._failure = error
        self.settled.set()  # whoever waits has to be told
        self.unsettled.set()

    # ------------------------------------------------------------ workers

    async def _watch(self, url: str) -> None:
        """Ask one worker for its status again and again."""
        connection = Connection(url, silence_s=min(POLL_S_MAX, self.config.WORKER_HEARTBEAT_SECONDS * 2))
        try:
            while True:
                await self._poll(connection)
                self._changed.set()
                is_fine = self.roster.workers[url].misses == 0
                doubtful = self._doubtful[url]
                doubtful.clear()
                try:
                    async with asyncio.timeout(self.config.WORKER_HEARTBEAT_SECONDS / (1 if is_fine else 4)):
                        await doubtful.wait()
                except TimeoutError:
                    continue
        finally:
            connection.close()

    async def _poll(self, connection: Connection) -> None:
        asked = self._clock()
        url = connection.url
        before = self.roster.workers[url].state
        is_gone, reason = False, ""
        status: Status | None = None
        try:
            answer = await connection.ask("GET", WORKER_PATH_STATUS)
            status = parse_status(answer.text) if answer.status == 200 else None
            reason = f"it answered {shown(answer.line)}"
        except UnreachableError as error:
            is_gone, reason = True, error.reason
        except CommClosedError as error:
            reason = error.reason
        if status is not None:
            self._give_up(self.roster.answered(url, status, asked, self._clock()))
        else:
            self._give_up(self.roster.missed(url, reason, is_gone))
        after = self.roster.workers[url].state
        if before != after:
            say(f"worker {url} is {after}" + (f": {reason}" if status is None else ""))
            if all(worker.state == "lost" for worker in self.roster.workers.values()):
                say(NOBODY)

    # ------------------------------------------------------------ pushing

    async def _push(self) -> None:
        """Give files to whoever has room, whenever something has changed; and now and then, for what is overdue."""
        while True:
            self._changed.clear()
            self._push_now()
            try:
                async with asyncio.timeout(self.config.WORKER_HEARTBEAT_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _push_now(self) -> None:
        now = self._clock()
        # A worker that takes nothing, or slowly, must not keep all of them from the others.
        share = math.ceil(SENDS_MAX / max(1, self.roster.alive_count))
        passed_over = {url for url, count in self._sends.items() if count >= share}
        while sum(self._sends.values()) < SENDS_MAX and (url := self.roster.select(now, passed_over)) is not None:
            job = self.roster.begin(url, unique_id("job"), now, self.config.BATCH_MAX_FILES)
            if job is None:
                passed_over.add(url)
                continue
            self._sends[url] += 1
            if self._sends[url] >= share:
                passed_over.add(url)
            self._background.spawn(self._send(job))

    async def _send(self, job: Job) -> None:
        connection = self._spare[job.url].pop() if self._spare[job.url] else Connection(job.url)
        try:
            await self._send_over(connection, job)
        finally:
            self._spare[job.url].append(connection)
            self._sends[job.url] -= 1
            self._changed.set()

    async def _send_over(self, connection: Connection, job: Job) -> None:
        parcel = await pack(self.homes.open, list(job.paths), self.config)
        try:
            self.roster.sized(job, parcel.nbytes, parcel.left)
            self._nbytes.update({path: nbytes for path, nbytes in parcel.nbytes.items() if path in job.paths})
            for path, reason in parcel.faults.items():
                self._settle(path, None, reason)
                job.paths.pop(path, None)
            if not parcel.paths:
                self.roster.refused(job, self._clock(), 0.0)
                return
            given = {HTTP_HEADER_X_JOB: job.id, HTTP_HEADER_X_MASTER: self.url}
            self._judge(job, await send(connection, parcel, given, self.config))
        except UnreachableError as error:
            self.roster.refused(job, self._clock(), 0.0)
            self._doubt(job.url, error.reason, is_gone=True)
        except CommClosedError as error:
            self._give_up(self.roster.failed(job, f"worker {job.url}: {error.reason}", is_death=True))
            self._doubt(job.url, error.reason)
        except HomeError as error:
            self._give_up(self.roster.failed(job, error.reason))
        finally:
            parcel.close()

    def _judge(self, job: Job, answer: Answer) -> None:
        now = self._clock()
        if answer.status == 202:
            self.roster.accepted(job, now)
        elif answer.status in (429, 503):
            pause_s = min(answer.retry_after_s or 1.0, PAUSE_S_MAX)
            self.roster.refused(job, now, pause_s)
            asyncio.get_running_loop().call_later(pause_s, self._changed.set)
        elif answer.status in (401, 403, 404, 405):
            self.roster.refused(job, now, self.config.WORKER_HEARTBEAT_SECONDS)
            self._give_up(self.roster.missed(job.url, f"it answered {shown(answer.line)}"))
        else:
            self._give_up(self.roster.failed(job, f"worker {job.url} answered {shown(answer.line)}"))
            self._doubt(job.url, f"it answered {shown(answer.line)}")

    def _doubt(self, url: str, reason: str, is_gone: bool = False) -> None:
        """Something went wrong with a worker: it gets nothing new until it has answered a poll."""
        self._give_up(self.roster.missed(url, reason, is_gone))
        self._doubtful[url].set()

    # ------------------------------------------------------------ what workers tell

    def told(self, job_id: str, path: str, digest: str) -> Verdict:
        """A digest from a worker; whether it is believed."""
        job = self.roster.job(job_id)
        if job is None or path not in job.paths:
            return Verdict.ACCEPTED if self._is_known(path, digest) else Verdict.NOT_HELD
        if not is_digest(digest, self.config):
            self._give_up_one(path, self.roster.undone(job, path, f"worker {job.url} told no digest"))
            return Verdict.NO_DIGEST
        known = self.homes.digest(path)
        if known is not None and known != digest:
            say(f"worker {job.url} told another digest of {shown(path)}: {shown(digest)}")
        self.roster.done(job, path, self._clock())
        if known is None:
            self._settle(path, digest, "")
        self._changed.set()
        return Verdict.ACCEPTED

    def told_failure(self, job_id: str, path: str, reason: str | None) -> Verdict:
        """A worker could not do a file (None: did not begin it); whether that is believed."""
        job = self.roster.job(job_id)
        if job is None or path not in job.paths:
            return Verdict.NOT_HELD
        self._give_up_one(path, self.roster.undone(job, path, reason))
        self._changed.set()
        return Verdict.ACCEPTED

    def _is_known(self, path: str, digest: str) -> bool:
        """Whether this very digest was told before: a report may come twice."""
        return self.homes.file_exists(path) and self.homes.digest(path) == digest

    # ------------------------------------------------------------ files

    def _settle(self, path: str, digest: str | None, reason: str) -> None:
        nbytes = self._nbytes.pop(path, 0)
        if digest is not None:
            self.homes.set_file_hash(path, digest)
            self._nbytes_finished += nbytes
            self._rates.count(1, nbytes, self._clock())
        else:
            self.roster.dispatch.finish(path)
            self.homes.set_file_error(path, reason)
        self._check_settled()

    def _give_up(self, reasons: dict[str, str]) -> None:
        for path, reason in reasons.items():
            self._settle(path, None, reason)

    def _give_up_one(self, path: str, reason: str | None) -> None:
        if reason is not None:
            self._settle(path, None, reason)

    def _check_settled(self) -> None:
        came, went = (self.settled, self.unsettled) if self.homes.finished else (self.unsettled, self.settled)
        came.set()
        went.clear()

    # ------------------------------------------------------------ for people

    def home_status(self, include_files: bool = False) -> dict[str, Any]:
        """The plain JSON of ``/home_status``."""
        status: dict[str, Any] = {"state": self.homes.state}
        if include_files:
            status["files"] = self.homes.files
            if self.homes.errors:
                status["errors"] = self.homes.errors
        return status

    def details(self) -> dict[str, Any]:
        """For the page, see `distributed.recipes.page`."""
        now = self._clock()
        files_per_s, bytes_per_s = self._rates.per_second(now)
        errors = self.homes.errors
        return {
            "state": self.homes.state,
            "home": ", ".join(shown(home.home_dir) for home in self.homes.homes),
            "algorithm": algorithm_of(self.config),
            "waiting": self.roster.dispatch.waiting_count,
            "bytes": {"finished": self._nbytes_finished, "total": self._nbytes_finished + sum(self._nbytes.values())},
            "files_per_s": files_per_s,
            "bytes_per_s": bytes_per_s,
            "failed": [[shown(path), reason] for path, reason in list(errors.items())[:FAILED_SHOWN_MAX]],
            "failed_count": len(errors),
            "workers": [
                {
                    "name": worker.url,
                    "state": f"{worker.state}: {worker.reason}" if worker.reason else worker.state,
                    "processes": worker.total,
                    "free": worker.free,
                    "cpu_percent": worker.cpu_percent,
                    "jobs": len(worker.jobs),
                    "files": worker.files,
                    "seen_s_ago": now - (self._began if worker.seen is None else worker.seen),
                }
                for worker in self.roster.workers.values()
            ],
        }


def _load(home: Home, output: Path | None) -> dict[str, int]:
    """Find its files; their sizes, for people: what is sent is looked at again."""
    home.load_files()
    if output is not None:
        home.leave_out(output)
    nbytes = {}
    for path in home.files:
        with contextlib.suppress(OSError):  # whoever sends it says why
            nbytes[path] = os.stat(home.get_full_path(path)).st_size
    return nbytes
