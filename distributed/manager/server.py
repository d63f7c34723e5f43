"""`HomeServer`: what a master offers, as ops of a `core.Server`. What is decided is `distributed.pull.lending`'s.

    register(name)                              whether the name was free
    get_file(name, wait_s)                      one file; the answer is several messages, so connect, write and read:
        {"path", "nbytes"}, then its bytes in pieces of at most 1 MiB, then {"ok": True}, or {"ok": False, "reason"}
        {"wait": True}  others have all that are left       {"done": True}  nothing is left
    get_files(name, files_max, wait_s)          the same with several small files: {"files": [[path, bytes], ...]}
    update_file_hash(name, file_path, file_hash)        "ok", or why it was refused
    update_file_hashes(name, hashes)                    {"refused": {path: reason}}; a hash may be {"error": reason}
    home_status(include_files)                          {"state": {"total", "finished"}} and, if asked for, "files"

Workers hold their name for as long as they are connected: what one had when its connection ended waits again.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from distributed.core import Server, write
from distributed.errors import BadRequestError, CommClosedError, HomeError, StreamingOpError
from distributed.pull.handing import WAIT_S_MAX, cannot_read, open_lease, read_leases, wait_leases
from distributed.pull.lending import NAME_LENGTH_MAX, Master
from distributed.recipes.leases import Lease
from distributed.recipes.reading import Source
from distributed.recipes.reports import Verdict

__all__ = ["HomeServer"]

BROKEN = "the connection with its worker ended"


class HomeServer(Server):
    """A master's ops. Used on one loop.

    Args:
        master: has its files.
        threads: where files are read.
    """

    default_port = 8000

    def __init__(self, master: Master, threads: ThreadPoolExecutor, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.master = master
        self.threads = threads
        self.add_handlers(
            {
                "register": self.register,
                "get_file": self.get_file,
                "get_files": self.get_files,
                "update_file_hash": self.update_file_hash,
                "update_file_hashes": self.update_file_hashes,
                "home_status": self.home_status,
            }
        )

    # ------------------------------------------------------------ ops

    def register(self, stream: Any, name: str) -> bool:
        """Become known as `name`; False: somebody has it. Names are texts of 1 to 200 characters."""
        if not isinstance(name, str) or not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable():
            raise BadRequestError(f"a worker's name is a printable text of 1 to {NAME_LENGTH_MAX} characters")
        is_new = self.master.worker_register(name)
        if is_new:
            stream.set_close_callback(lambda: self._on_left(name))
        return is_new

    async def get_file(self, stream: Any, name: str, wait_s: float = 0.0) -> dict[str, Any]:
        """The next file, as several messages; see the module."""
        return await self._answer(stream, name, 1, wait_s, is_batch=False)

    async def get_files(
        self, stream: Any, name: str, files_max: int | None = None, wait_s: float = 0.0
    ) -> dict[str, Any]:
        """The next files, at most `files_max`, small ones together; see the module."""
        bound: int = self.master.config.BATCH_MAX_FILES
        if files_max is not None and (type(files_max) is not int or files_max < 1):
            raise BadRequestError("files_max is a whole number, at least 1")
        return await self._answer(stream, name, min(bound, files_max or bound), wait_s, is_batch=True)

    def update_file_hash(self, stream: Any, name: str, file_path: str, file_hash: str) -> str:
        """Tell the digest of a file; "ok", or why it was refused."""
        self._check_name(name)
        if not isinstance(file_path, str) or not isinstance(file_hash, str):
            raise BadRequestError("file_path and file_hash are texts")
        return self.master.file_processing_finished(name, file_path, file_hash).value

    def update_file_hashes(self, stream: Any, name: str, hashes: dict[str, Any]) -> dict[str, Any]:
        """Tell digests by path, or ``{"error": reason}``; what was refused, and why."""
        self._check_name(name)
        if not isinstance(hashes, dict):
            raise BadRequestError("hashes is a dict from paths to digests")
        verdicts = {path: self._settle(name, path, told) for path, told in hashes.items()}
        return {"refused": {path: v.value for path, v in verdicts.items() if v is not Verdict.ACCEPTED}}

    def home_status(self, stream: Any, include_files: bool = False) -> dict[str, Any]:
        """How far it is; with the digest of every file, or None, and the errors, if they are asked for."""
        return self.master.home_status(bool(include_files))

    # ------------------------------------------------------------ private

    def _check_name(self, name: object) -> None:
        if not isinstance(name, str) or not self.master.worker_registered(name):
            raise BadRequestError("worker not registered yet")

    def _settle(self, name: str, path: object, told: object) -> Verdict:
        if not isinstance(path, str):
            return Verdict.UNKNOWN_FILE
        if isinstance(told, dict) and isinstance(told.get("error"), str):
            return self.master.file_processing_failed(name, path, told["error"])
        return self.master.file_processing_finished(name, path, told if isinstance(told, str) else "")

    def _on_left(self, name: str) -> None:
        lessee = self.master.leases.lessees.get(name)
        for path in list(lessee.leases) if lessee is not None else ():
            self.master.remove_current_processing_file(name, path, BROKEN)
        self.master.dismiss(name)

    async def _answer(self, stream: Any, name: str, files_max: int, wait_s: Any, is_batch: bool) -> dict[str, Any]:
        self._check_name(name)
        if not isinstance(wait_s, (int, float)) or not wait_s >= 0:  # nan is not, and would stop the loop's timers
            raise BadRequestError("wait_s is a number of seconds")
        until = time.monotonic() + min(wait_s, WAIT_S_MAX)
        while leases := await wait_leases(self.master, name, files_max, until):
            if is_batch and leases[0].nbytes <= self.master.config.BATCH_MAX_BYTES:
                if files := await read_leases(self.master, self.threads, leases):
                    return {"files": [(lease.path, content) for lease, content in files]}
            elif (answer := await self._send(stream, leases[0])) is not None:
                return answer
        if not self.master.leases.is_done:
            return {"wait": True}
        self.master.dismiss(name)
        return {"done": True}

    async def _send(self, stream: Any, lease: Lease) -> dict[str, Any] | None:
        """One file, piece by piece; None: it cannot be read, and another one may be asked for."""
        opened = await open_lease(self.master, self.threads, lease)
        if opened is None:
            return None
        source, piece = opened
        try:
            await write(stream, {"path": lease.path, "nbytes": source.nbytes})
            await self._send_pieces(stream, lease, source, piece)
        except CommClosedError:
            raise  # its close callback gives the file back
        except StreamingOpError:  # called over rpc, where one answer is all there is
            self.master.give_back(lease)
            raise
        except (OSError, HomeError) as error:
            return {"ok": False, "reason": cannot_read(self.master, lease, error)}
        finally:
            source.close()
        return {"ok": True}

    async def _send_pieces(self, stream: Any, lease: Lease, source: Source, piece: bytes) -> None:
        while True:
            if piece:
                await write(stream, piece)
            self.master.hear(lease)
            if source.is_at_end:
                return
            piece = await asyncio.get_running_loop().run_in_executor(self.threads, source.next_piece)
