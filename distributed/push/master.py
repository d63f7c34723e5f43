"""``python -m distributed.push.master``: pushes the files of a folder to workers, and serves what is known of them."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import click

from distributed import config as default_config
from distributed.constants import (
    HTTP_HEADER_X_JOB,
    MASTER_PATH_HOME_STATUS,
    MASTER_PATH_NEW_HOME,
    MASTER_PATH_UPDATE_FILE_HASH,
    MASTER_PATH_UPDATE_FILE_HASHES,
)
from distributed.errors import HomeError
from distributed.push.pushing import Master
from distributed.recipes.naming import decode_path
from distributed.recipes.options import home_options, server_options, with_workers, worker_option
from distributed.recipes.page import HomeStatus, Root
from distributed.recipes.progress import showing
from distributed.recipes.reports import Outcome, Verdict, field_of, path_of, read_json
from distributed.recipes.results import print_results
from distributed.recipes.running import close, run, serve
from distributed.security.permissions import CLIENT
from distributed.web.guard import GuardedApplication, GuardedHandler

__all__ = ["Master", "init", "main"]

REASON_LENGTH_MAX = 500
NOT_BEGUN = "the worker did not do it, and says not why"
STATUS_BY_VERDICT = {Verdict.ACCEPTED: 200, Verdict.NO_DIGEST: 400, Verdict.NOT_HELD: 409}
WILDCARDS = ("0.0.0.0", "::", "")


class UpdateFileHash(GuardedHandler):
    """``PUT /update_file_hash``, fields ``file_path`` and ``file_hash``, or ``file_error``: why there is none."""

    def put(self) -> None:
        """200; 400 for what is missing or no digest; 404 for no file of ours; 409 if the job does not have it."""
        master: Master = self.application["master"]
        form = self.request.body_arguments
        path = path_of(form, master.homes.file_exists)
        digest, error = field_of(form, "file_hash"), field_of(form, "file_error")
        if not path:
            self.answer(400, "missing file_path parameter")
        elif not master.homes.file_exists(path):
            self.answer(404, Verdict.UNKNOWN_FILE.value)
        elif digest is None and error is None:
            self.answer(400, "missing file_hash parameter")
        else:
            job_id = self.request.headers.get(HTTP_HEADER_X_JOB, "")
            if digest is not None:
                verdict = master.told(job_id, path, digest)
            else:
                verdict = master.told_failure(job_id, path, (error or NOT_BEGUN)[:REASON_LENGTH_MAX])
            self.answer(STATUS_BY_VERDICT[verdict], verdict.value)

    post = put


class UpdateFileHashes(GuardedHandler):
    """``PUT /update_file_hashes``: a JSON object; by percent-encoded path a digest, ``{"error": reason}``, or null."""

    def put(self) -> None:
        """200 with ``{"accepted": n, "refused": {path: reason}}``; 400 if it is no such object."""
        results = read_json(self.request.body, may_be_null=True)
        if results is None:
            self.answer(400, 'the body is no JSON object of paths with digests, {"error": reason} or null')
            return
        # What was not begun is nobody's fault if another file of the job went wrong, which counts against that one;
        # else a worker could say so for ever.
        reason: str | None = NOT_BEGUN
        refused = {}
        for encoded, outcome in sorted(results.items(), key=lambda item: item[1] is None):
            verdict = self._tell(encoded, outcome, reason)
            if verdict is not Verdict.ACCEPTED:
                refused[encoded] = verdict.value
            elif isinstance(outcome, dict):
                reason = None
        self.answer_json({"accepted": len(results) - len(refused), "refused": refused})

    post = put

    def _tell(self, encoded: str, outcome: Outcome, reason: str | None) -> Verdict:
        master: Master = self.application["master"]
        job_id = self.request.headers.get(HTTP_HEADER_X_JOB, "")
        try:
            path = decode_path(encoded)
        except HomeError:
            return Verdict.UNKNOWN_FILE
        if not master.homes.file_exists(path):
            return Verdict.UNKNOWN_FILE
        if isinstance(outcome, str):
            return master.told(job_id, path, outcome)
        return master.told_failure(job_id, path, outcome["error"][:REASON_LENGTH_MAX] if outcome else reason)


class NewHome(GuardedHandler):
    """``POST /new_home`` with ``{"path": folder}``: its files too are pushed; only below ``NEW_HOME_ROOTS``.

    For the role ``client`` alone: a worker is sent files, it does not choose them.
    """

    roles_by_method: ClassVar = {"POST": frozenset({CLIENT})}

    async def post(self) -> None:
        """200 with ``{"files": n}``; 400, 403 if it is not allowed, 404 if there is none, 409 if it is known."""
        master: Master = self.application["master"]
        try:
            path = json.loads(self.request.body)["path"]
            os.fsencode(path)
        except (ValueError, RecursionError, TypeError, KeyError):  # also what no file can be called
            path = None
        if not isinstance(path, str) or "\0" in path:
            self.answer(400, 'the body is no JSON like {"path": "/a/folder"}')
            return
        roots = [os.path.realpath(root) for root in master.config.NEW_HOME_ROOTS]
        real = os.path.realpath(path)
        if not os.path.isabs(path) or not any(os.path.commonpath([root, real]) == root for root in roots):
            self.answer(403, "only absolute paths below the folders in NEW_HOME_ROOTS are allowed")
        elif not os.path.isdir(real):
            self.answer(404, "there is no such folder")
        else:
            try:
                self.answer_json({"files": await master.load(real)})
            except HomeError as error:
                self.answer(409, str(error))


def init(home_dir: str | os.PathLike[str], config: Any = None, insecure: bool = False) -> GuardedApplication:
    """The application; its `Master` is ``app["master"]``, to be loaded and started.

    Args:
        config: where the settings are; None: `distributed.config`.
        insecure: reach workers on other machines without TLS.
    Raises:
        ConfigError: a setting cannot be used.
    """
    handlers = [
        ("/", Root),
        (MASTER_PATH_UPDATE_FILE_HASH, UpdateFileHash),
        (MASTER_PATH_UPDATE_FILE_HASHES, UpdateFileHashes),
        (MASTER_PATH_HOME_STATUS, HomeStatus),
        (MASTER_PATH_NEW_HOME, NewHome),
    ]
    return GuardedApplication(handlers, {"master": Master(home_dir, config, insecure)})


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@home_options
@server_options(default_config.MASTER[1], is_port_needed=True)
@worker_option
@click.option("--once", is_flag=True, help="End when every file is settled; exit code 1 if one has no digest.")
def main(
    home: str, output: Path | None, port: int | None, host: str, path: str | None, insecure: bool,
    workers: Sequence[str], once: bool,
) -> None:  # fmt: skip
    """Push all files of a folder to the workers, and serve /home_status and /new_home until a signal comes.

    Digests are printed whenever all files are settled.
    """

    async def push() -> int:
        config = with_workers(default_config, workers)
        app = init(home, config, insecure)
        master: Master = app["master"]
        server, url, stopped = await serve("master", app, port, host, path, insecure)
        name = socket.gethostname() if host in WILDCARDS else host
        master.url = url.replace(host, name, 1) if host in WILDCARDS else url
        print("loading home files…", flush=True)
        count = await master.load(None, output)
        print(f"pushing {count:,} files to {len(config.WORKERS)} workers…", flush=True)
        master.start()
        code = await _until_end(master, output, config, once, stopped)
        await close(server)
        await master.close()
        return code

    run(push)


async def _until_end(master: Master, output: Path | None, config: Any, once: bool, stopped: asyncio.Event) -> int:
    """Print the digests whenever all files are settled; the exit code, when a signal comes or all is done `once`."""
    signal: asyncio.Future[Any] = asyncio.ensure_future(stopped.wait())
    code = 0
    while await _all_settled(master, signal):
        code = print_results(master.homes, output, config)
        if once or not await _first(master.unsettled, signal):
            break
    signal.cancel()
    return code if once else 0


async def _all_settled(master: Master, signal: asyncio.Future[Any]) -> bool:
    """Wait until they are, or a signal comes; whether they are."""
    if master.settled.is_set():
        return not signal.done()
    async with showing(lambda: master.homes.state):
        return await _first(master.settled, signal)


async def _first(event: asyncio.Event, signal: asyncio.Future[Any]) -> bool:
    """Wait for either; whether it was the event."""
    waiting: asyncio.Future[Any] = asyncio.ensure_future(event.wait())
    await asyncio.wait([waiting, signal], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return not signal.done()


if __name__ == "__main__":
    main()
