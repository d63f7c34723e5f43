"""``python -m distributed.push.worker``: takes files while it has idle processes, and tells the master the digests.

``POST /new_file`` is answered with 202 once the content is here, with 503 when no process is idle. ``GET /status``
says how many there are, how many are idle, and which jobs are not told yet. Not here: which files come, and when.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import click
import psutil

from distributed import config as default_config
from distributed.comm.addresses import is_loopback
from distributed.constants import (
    HTTP_HEADER_X_JOB,
    HTTP_HEADER_X_MASTER,
    HTTP_HEADER_X_WORKER_NAME,
    MASTER_PATH_UPDATE_FILE_HASH,
    MASTER_PATH_UPDATE_FILE_HASHES,
    WORKER_PATH_NEW_FILE,
    WORKER_PATH_STATUS,
)
from distributed.dataclass import dataclass
from distributed.deploy.machine import cores_available
from distributed.errors import AddressError, CommClosedError, MultipartError, UnreachableError
from distributed.ids import unique_id
from distributed.process.running import Background
from distributed.push.slots import Outcome, Slot, Slots
from distributed.recipes import reports
from distributed.recipes.naming import encode_path, shown
from distributed.recipes.options import server_options
from distributed.recipes.receiving import ReceivingHandler
from distributed.recipes.running import close, run, serve
from distributed.web.asking import Connection
from distributed.web.guard import GuardedApplication, GuardedHandler

__all__ = ["Job", "Worker", "init", "main"]

FILES_MAX = 10_000  # in one request
UNTOLD_MAX = 3  # jobs per process at once, those included whose digests the master has not taken yet
TELL_ATTEMPTS_MAX = 6
TELL_PAUSE_S = 0.2  # after the first attempt; twice as long after each further one
SILENCE_S = 30.0  # of a master that is told


@dataclass(slots=True)
class Job:
    """What came in one request; `master` and `token` are where its digests go, and what the sender itself showed."""

    id: str
    master: str
    token: str
    slot: Slot
    paths: dict[str, None]  # in order


class Worker:
    """A number of processes, and the jobs that they have.

    Args:
        name: what the master calls it in its status; None: made up.
        config: where the settings are; None: `distributed.config`.
        insecure: tell masters on other machines without TLS.
    Attributes:
        id: of this life; a worker that was started anew has another one.
    """

    def __init__(self, processes: int, name: str | None = None, config: Any = None, insecure: bool = False) -> None:
        self.slots = Slots(processes, config)
        self.id = unique_id("worker")
        self.name = name or self.id
        self.jobs: dict[str, Job] = {}
        self.insecure = insecure
        self._background = Background(self._on_failure)

    def take(self, job_id: str, master: str, token: str) -> Job | None:
        """A job for an idle process; None: there is none, or too much is untold."""
        if len(self.jobs) >= UNTOLD_MAX * self.slots.total or (slot := self.slots.take()) is None:
            return None
        job = self.jobs[job_id] = Job(job_id, master, token, slot, {})
        return job

    def complete(self, job: Job) -> None:
        """All content of the job is here."""
        self._background.spawn(self._finish(job))

    def abort(self, job: Job, is_in_file: bool) -> None:
        """No more content of the job comes, and nobody wants to be told; its process is free when it has noticed."""
        self._background.spawn(self._abort(job, is_in_file))

    def status(self) -> dict[str, Any]:
        """For ``GET /status``."""
        return {
            "name": self.name,
            "id": self.id,
            "processes": {"total": self.slots.total, "idle": self.slots.idle},
            "cpu_percent": psutil.cpu_percent(None),
            "jobs": list(self.jobs),
        }

    async def close(self) -> None:
        """End the processes. What they have is lost, and the master finds that out."""
        self._background.cancel()
        await self._background.wait_ended()
        await self.slots.close()

    async def _finish(self, job: Job) -> None:
        try:
            outcomes = await job.slot.finish()
            job.slot.is_idle = True  # the next job may come while this one is told
            await self._tell(job, dict(zip(job.paths, outcomes, strict=True)))
        finally:
            del self.jobs[job.id]

    async def _abort(self, job: Job, is_in_file: bool) -> None:
        try:
            if is_in_file:
                await job.slot.abort_file()
            if job.paths:
                await job.slot.finish()
        finally:
            job.slot.is_idle = True
            del self.jobs[job.id]

    async def _tell(self, job: Job, outcomes: dict[str, Outcome]) -> None:
        connection = Connection(job.master, {"Authorization": job.token}, SILENCE_S)
        try:
            for path, kind, body in _requests(outcomes):
                head = {"Content-Type": kind, HTTP_HEADER_X_JOB: job.id, HTTP_HEADER_X_WORKER_NAME: self.name}
                why = await _try_to_tell(connection, path, head, body)
                if why:
                    print(f"master {shown(job.master)} was not told: {why}", flush=True)
                    return
        finally:
            connection.close()

    def _on_failure(self, error: BaseException) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "a job failed", "exception": error})


class NewFileHandler(ReceivingHandler):
    """Files of one job, one after the other to one process."""

    parts_max = FILES_MAX
    _job: Job | None = None
    _is_in_file = False

    def ready(self) -> None:
        """503 at once if no process is idle."""
        worker: Worker = self.application["worker"]
        head = self.request.headers
        job_id, master = head.get(HTTP_HEADER_X_JOB, ""), head.get(HTTP_HEADER_X_MASTER, "")
        if not 0 < len(job_id) <= 100:
            self.answer(400, f"missing or too long header {HTTP_HEADER_X_JOB}")
        elif (fault := _fault_of(master, worker.insecure)) is not None:
            self.answer(400, f"{HTTP_HEADER_X_MASTER}: {fault}")
        elif job_id in worker.jobs:
            self.answer(409, "this job is here already")
        elif (job := worker.take(job_id, master, head.get("Authorization", ""))) is None:
            self.set_header("Retry-After", "1")
            self.answer(503, "no process is idle")
        else:
            self._job = job

    async def part_begins(self, path: str | None) -> None:
        """The next file of the job."""
        if path is None:
            raise MultipartError("a file has no path: neither the part nor the request has that header")
        job = self._current()
        if path in job.paths:
            raise MultipartError("two files have the same path")
        if not job.paths:
            await job.slot.start()
        job.paths[path] = None
        self._is_in_file = True

    async def part_goes_on(self, content: bytes) -> None:
        """To the process; while it is busy the sender waits."""
        await self._current().slot.feed(content)

    async def part_ends(self) -> None:
        """The file is complete."""
        self._is_in_file = False
        await self._current().slot.end_file()

    async def complete(self) -> None:
        """202: the digests come later."""
        job = self._current()
        if not job.paths:
            self.refuse(400, "it has no part called 'file'")
            return
        self._job = None
        self.application["worker"].complete(job)
        self.answer(202, "taken")

    def aborted(self) -> None:
        """Free the process."""
        if self._job is not None:
            job, self._job = self._job, None
            self.application["worker"].abort(job, self._is_in_file)

    def _current(self) -> Job:
        if self._job is None:
            raise MultipartError("the request is over")
        return self._job


class StatusHandler(GuardedHandler):
    """``GET /status``."""

    def get(self) -> None:
        """Processes, load, jobs."""
        self.answer_json(self.application["worker"].status())


def init(
    processes: int | None = None, name: str | None = None, config: Any = None, insecure: bool = False
) -> GuardedApplication:
    """The application; its `Worker` is ``app["worker"]``, which has to be closed in the end.

    Args:
        processes: None: one per core.
    Raises:
        ConfigError: ``HASH_ALGORITHM`` cannot be used.
    """
    worker = Worker(processes or cores_available(), name, config, insecure)
    handlers = [(WORKER_PATH_NEW_FILE, NewFileHandler), (WORKER_PATH_STATUS, StatusHandler)]
    return GuardedApplication(handlers, {"worker": worker})


def _fault_of(master: str, insecure: bool) -> str | None:
    """Why we would not tell this master anything; None: we would."""
    try:
        Connection(master, {})
        place = urlsplit(master)
    except (AddressError, ValueError) as error:
        return str(error)
    if place.scheme == "http" and not insecure and not is_loopback(place.hostname or ""):
        return "beyond this machine it must be https, or this worker started with --insecure"
    return None if place.scheme in ("http", "https") else "write http://host:port or https://host:port"


async def _try_to_tell(connection: Connection, path: str, head: dict[str, str], body: bytes) -> str:
    """'' or why the master did not take it."""
    why = ""
    for attempt in range(TELL_ATTEMPTS_MAX):
        try:
            answer = await connection.ask("PUT", path, head, body)
            if answer.status < 500:  # it was taken, or never will be
                return "" if answer.status == 200 else answer.line
            why = answer.line
        except (UnreachableError, CommClosedError) as error:
            why = error.reason
        await asyncio.sleep(TELL_PAUSE_S * 2**attempt)
    return why


def _requests(outcomes: dict[str, Outcome]) -> Iterator[tuple[str, str, bytes]]:
    """Path, content type and body of the requests that tell what came of a job."""
    report: dict[str, reports.Outcome] = {
        encode_path(path): outcome.get("digest", {"error": outcome["error"]} if "error" in outcome else None)
        for path, outcome in outcomes.items()
    }
    [outcome, *others] = report.values()
    if not others and outcome is not None:
        [path] = report
        yield MASTER_PATH_UPDATE_FILE_HASH, reports.FORM, reports.form(path, outcome)
        return
    for body in reports.json_bodies(report):
        yield MASTER_PATH_UPDATE_FILE_HASHES, reports.JSON, body


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@server_options(default_config.WORKERS[0][1])
@click.option("--processes", type=click.IntRange(1, 1024), help="How many files at once. [default: one per core]")
@click.option("--name", help="What the master's status calls it. [default: host and process id]")
def main(
    port: int | None, host: str, path: str | None, insecure: bool, processes: int | None, name: str | None
) -> None:
    """Make digests of files that a master sends, and tell it."""

    async def serve_until_signal() -> int:
        app = init(processes, name or f"{os.uname().nodename}-{os.getpid()}", None, insecure)
        worker: Worker = app["worker"]
        await worker.slots.start()
        server, _, stopped = await serve("worker", app, port, host, path, insecure)
        await stopped.wait()
        await close(server)
        await worker.close()
        return 0

    run(serve_until_signal)


if __name__ == "__main__":
    main()
