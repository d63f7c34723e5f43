"""``python -m distributed.simple.worker``: a server that answers ``POST /new_file`` with the digest of the file."""

from __future__ import annotations

from typing import Any, ClassVar

import click

from distributed import config as default_config
from distributed.constants import WORKER_PATH_NEW_FILE
from distributed.errors import DistributedError, MultipartError
from distributed.recipes.digesters import Digester, new_digester
from distributed.recipes.digesting import digest_function
from distributed.recipes.options import server_options
from distributed.recipes.receiving import ReceivingHandler
from distributed.recipes.running import close, run, serve
from distributed.web.guard import GuardedApplication

__all__ = ["NewFileHandler", "init", "main"]


FILES_AT_ONCE_MAX = 64  # a master sends one; a function of the user's takes a thread for each


class NewFileHandler(ReceivingHandler):
    """200 and the digest as plain text; 400 for what is no file, 422 when the task fails on it, 503 for too many."""

    _digester: Digester | None = None
    _busy: ClassVar[set[object]] = set()  # handlers of this process that have a file

    def ready(self) -> None:
        """503 if too many files come at once."""
        if len(self._busy) >= FILES_AT_ONCE_MAX:
            self.set_header("Retry-After", "1")
            self.answer(503, f"{FILES_AT_ONCE_MAX} files are being sent already")
        else:
            self._busy.add(self)

    def on_finish(self) -> None:
        """Answered."""
        self._busy.discard(self)

    async def part_begins(self, path: str | None) -> None:
        """Make a digester."""
        self._digester = new_digester(self.application["config"])

    async def part_goes_on(self, content: bytes) -> None:
        """Feed it."""
        if self._digester is not None:
            await self._digester.feed(content)

    async def part_ends(self) -> None:
        """Nothing to do: there is one file in a request."""

    async def complete(self) -> None:
        """Answer with the digest."""
        if self._digester is None:
            self.refuse(400, str(MultipartError("it has no part called 'file'")))
            return
        digester, self._digester = self._digester, None
        try:
            text = await digester.result()
        except Exception as error:  # the user's function; also a DistributedError about what it returned
            name = "" if isinstance(error, DistributedError) else f"{type(error).__name__}: "
            self.refuse(422, f"the task failed: {name}{error}")
            return
        self.answer(200, text)

    def aborted(self) -> None:
        """Let the digester go."""
        self._busy.discard(self)
        if self._digester is not None:
            self._digester.abort()
            self._digester = None


def init(config: Any = None) -> GuardedApplication:
    """The application.

    Args:
        config: where the settings are; None: `distributed.config`.
    Raises:
        ConfigError: ``HASH_ALGORITHM`` cannot be used.
    """
    digest_function(config)
    return GuardedApplication([(WORKER_PATH_NEW_FILE, NewFileHandler)], {"config": config})


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@server_options(default_config.WORKERS[0][1])
def main(port: int | None, host: str, path: str | None, insecure: bool) -> None:
    """Answer each file that a master sends with its digest."""

    async def serve_until_signal() -> int:
        server, _, stopped = await serve("worker", init(), port, host, path, insecure)
        await stopped.wait()
        await close(server)
        return 0

    run(serve_until_signal)


if __name__ == "__main__":
    main()
