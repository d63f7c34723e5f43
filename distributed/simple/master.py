"""``python -m distributed.simple.master``: sends files to workers, one at a time to each; then it ends.

A worker that cannot be reached is tried a few times and then left out; what it had goes to others. A worker that
answers with something else than a digest is asked less and less often. Not here: a server; progress is printed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from distributed import config as default_config
from distributed.errors import CommClosedError, HomeError, UnreachableError
from distributed.recipes.digesting import digest_function, is_digest
from distributed.recipes.dispatch import Dispatch
from distributed.recipes.home import Home
from distributed.recipes.naming import shown
from distributed.recipes.options import home_options, with_workers, worker_option
from distributed.recipes.progress import say, showing
from distributed.recipes.results import print_results
from distributed.recipes.running import run
from distributed.recipes.sending import Parcel, pack, send, worker_urls
from distributed.web.asking import Answer, Connection

__all__ = ["Master", "main"]

ATTEMPTS_MAX = 4  # at a worker that is out of reach, or answers nonsense, one after the other; then it is left out
PAUSE_S = 0.2  # before the second attempt; twice as long before each further one
PAUSE_S_MAX = 10.0
REFUSALS = (401, 403, 404, 405)  # nothing that another file would change
BUSY = (429, 503)
TASK_FAILED = 422
NOBODY = "error: no worker is left; start one, `python -m distributed.simple.worker --port 8001`, named with --worker"


class Master:
    """Hashes the files of a folder with the workers of the settings.

    Args:
        config: where the settings are; None: `distributed.config`. Items of its ``WORKERS`` are pairs of host and port,
            or ``"unix:///path"``.
        insecure: reach workers on other machines without TLS.
    Attributes:
        home: the folder; `Home.files` has the digests when `run` is done.
        reasons: by worker, why it was left out.
    """

    def __init__(self, home_dir: str | os.PathLike[str], config: Any = None, insecure: bool = False) -> None:
        self.config = default_config if config is None else config
        self.home = Home(home_dir)
        self.reasons: dict[str, str] = {}
        self._insecure = insecure
        self._dispatch = Dispatch()
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        """Until every file is settled, or no worker is left; files that nobody hashed keep None.

        Raises:
            HomeError: there is no such folder.
            ConfigError: a setting cannot be used.
        """
        digest_function(self.config)
        if not self.home.is_loaded:
            self.home.load_files()
        for path in self.home.files:
            if path not in self.home.errors:
                self._dispatch.add(path)
        urls = worker_urls(self.config, self._insecure)
        for url in urls:
            self._dispatch.join(url)
        async with asyncio.TaskGroup() as group:
            for url in urls:
                group.create_task(self._work(Connection(url)))

    async def _work(self, connection: Connection) -> None:
        """All that is sent to one worker."""
        attempts = 0
        try:
            while (path := await self._next(connection.url)) is not None:
                fault, pause_s = await self._send(connection, path)
                attempts = attempts + 1 if fault else 0
                if attempts >= ATTEMPTS_MAX or (fault and pause_s is None):
                    self._leave_out(connection.url, fault)
                    return
                if fault:
                    await asyncio.sleep(min(PAUSE_S_MAX, max(pause_s or 0.0, PAUSE_S * 2 ** (attempts - 1))))
        finally:
            connection.close()
            async with self._changed:
                for path, reason in self._dispatch.leave(connection.url).items():
                    self.home.set_file_error(path, reason)
                self._changed.notify_all()

    async def _next(self, url: str) -> str | None:
        """A file for a worker, as soon as there is one; None: all files are settled."""
        async with self._changed:
            while not (paths := self._dispatch.take(url, 0.0)):
                if self._dispatch.is_settled:
                    return None
                await self._changed.wait()  # others have the rest, and may fail
        return paths[0]

    async def _send(self, connection: Connection, path: str) -> tuple[str, float | None]:
        """Send one file: '' or what is wrong with the worker, and how long it wants to be left alone (None: ever)."""
        try:
            parcel = await pack(self.home.open, [path], self.config)
            try:
                return await self._send_parcel(connection, path, parcel)
            finally:
                parcel.close()
        finally:
            async with self._changed:
                self._changed.notify_all()

    async def _send_parcel(self, connection: Connection, path: str, parcel: Parcel) -> tuple[str, float | None]:
        url = connection.url
        if path in parcel.faults:
            self._dispatch.finish(path)
            self.home.set_file_error(path, parcel.faults[path])
            return "", 0.0
        try:
            answer = await send(connection, parcel, {}, self.config)
        except UnreachableError as error:
            say(str(error))
            self._dispatch.give_back(url, [path])
            return error.reason, 0.0
        except CommClosedError as error:  # perhaps because of this very file
            say(str(error))
            self._fail(url, path, error.reason)
            return error.reason, 0.0
        except HomeError as error:
            self._fail(url, path, error.reason)
            return "", 0.0
        return self._judge(url, path, answer)

    def _judge(self, url: str, path: str, answer: Answer) -> tuple[str, float | None]:
        if answer.status == 200 and is_digest(answer.text, self.config):
            self.home.set_file_hash(path, answer.text)
            self._dispatch.finish(path)
            return "", 0.0
        if answer.status in REFUSALS:
            self._dispatch.give_back(url, [path])
            return answer.line, None
        if answer.status in BUSY:
            self._dispatch.give_back(url, [path])
            return answer.line, answer.retry_after_s or 0.0
        self._fail(url, path, f"worker {url} answered {shown(answer.line)}")
        return ("" if answer.status == TASK_FAILED else f"it answered {shown(answer.line)}"), 0.0

    def _fail(self, url: str, path: str, reason: str) -> None:
        given_up = self._dispatch.fail(url, path, reason)
        if given_up is not None:
            self.home.set_file_error(path, given_up)

    def _leave_out(self, url: str, reason: str) -> None:
        self.reasons[url] = reason
        say(f"worker {url} is left out: {reason}")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@home_options
@worker_option
@click.option("--insecure", is_flag=True, help="Reach workers on other machines without TLS.")
def main(home: str, output: Path | None, workers: Sequence[str], insecure: bool) -> None:
    """Hash all files of a folder on the workers; print a digest per file.

    Exit code 1 if a file has none in the end.
    """

    async def hash_all() -> int:
        config = with_workers(default_config, workers)
        master = Master(home, config, insecure)
        print("loading home files…", flush=True)
        master.home.load_files()
        if output is not None:
            master.home.leave_out(output)
        print(f"sending {len(master.home.files):,} files to {len(config.WORKERS)} workers…", flush=True)
        async with showing(lambda: master.home.state):
            await master.run()
        if not master.home.finished:
            print(NOBODY, file=sys.stderr, flush=True)
        return print_results(master.home, output, config)

    run(hash_all)


if __name__ == "__main__":
    main()
