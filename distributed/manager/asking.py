"""`Master`: the master as a program sees it, with plain calls; one connection, served by a thread beside."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from distributed import config as default_config
from distributed.client.loop_thread import LoopThread
from distributed.comm.addresses import is_loopback, parse_address
from distributed.comm.connect import connect_address
from distributed.comm.stream import Stream
from distributed.core import ErrorReply, clean_exception, write
from distributed.errors import CommClosedError, NoMoreFiles, ProtocolError, WaitForTimeoutFile
from distributed.security.keys import keyring
from distributed.security.permissions import CLIENT, READONLY, WORKER

__all__ = ["Master", "Pieces"]

SILENCE_S = 90.0  # beyond: the master is gone; longer than it lets anybody wait


class Pieces:
    """The content of a file, piece by piece, once.

    Attributes:
        trouble: why there is no more of it than there was, if it is not the end.
    """

    def __init__(self, master: Master, nbytes: int, content: bytes | None = None) -> None:
        self.trouble: Exception | None = None
        self._master = master
        self._left = nbytes
        self._content = content
        self._is_over = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._is_over:
            raise StopIteration
        if self._content is not None:
            self._is_over = True
            return self._content
        try:
            piece = self._master.read()
        except (CommClosedError, ProtocolError, TimeoutError) as error:
            self._is_over, self.trouble = True, error
            raise
        if isinstance(piece, bytes):
            self._left -= len(piece)
            return piece
        self._is_over = True
        if not isinstance(piece, dict) or piece.get("ok") is not True or self._left:
            reason = piece.get("reason") if isinstance(piece, dict) else None
            self.trouble = ProtocolError(f"the file ended early: {reason or 'its length is another one'}")
            raise self.trouble
        raise StopIteration

    def exhaust(self) -> None:
        """Read what is left, so that the next answer can be read. Raises what `next` raises."""
        for _ in self:
            continue


class Master:
    """One worker's (or spectator's) connection with a master.

    Args:
        address: of the master; None: the setting ``MASTER``.
        config: an object with the settings as attributes; None: the module `distributed.config`.
        insecure: without TLS, although it is on another machine.
    Raises:
        ConnectTimeoutError: nobody is there. AuthenticationError: somebody with another key.
        AddressError: no address.
    """

    def __init__(self, address: Any = None, config: Any = None, insecure: bool = False) -> None:
        config = default_config if config is None else config
        place = parse_address(config.MASTER if address is None else address, default_config.MASTER[1])
        if place.scheme == "tcp" and not insecure and not is_loopback(place.host):
            place = place._replace(scheme="tls")
        self.address = str(place)
        self._thread = LoopThread("distributed-manager-worker")
        self._unread: Pieces | None = None
        role = keyring().strongest_role(WORKER, CLIENT, READONLY)
        try:
            self._stream: Stream = self._thread.run(connect_address(place, role=role))
        except BaseException:
            self._thread.stop()
            raise

    def register(self, name: str) -> bool:
        """Become known to it; False: somebody has that name."""
        return bool(self._call("register", name=name))

    def get_file(self, name: str, wait_s: float = 0.0) -> tuple[str, Pieces]:
        """Path and content of the next file, which has to be read before anything else is asked.

        Raises:
            WaitForTimeoutFile: others have all that are left. NoMoreFiles: nothing is left.
            CommClosedError: the master is gone. BadRequestError: the name is not registered.
        """
        return next(self._files(self._call("get_file", name=name, wait_s=wait_s)))

    def get_files(self, name: str, files_max: int | None = None, wait_s: float = 0.0) -> Iterator[tuple[str, Pieces]]:
        """The next files, small ones together; as `get_file`."""
        return self._files(self._call("get_files", name=name, files_max=files_max, wait_s=wait_s))

    def update_file_hash(self, name: str, file_path: str, file_hash: str) -> str:
        """Tell a digest; "ok", or why it was refused."""
        return str(self._call("update_file_hash", name=name, file_path=file_path, file_hash=file_hash))

    def update_file_hashes(self, name: str, hashes: dict[str, Any]) -> dict[str, str]:
        """Tell digests by path, or ``{"error": reason}``; what was refused, and why."""
        refused: dict[str, str] = self._call("update_file_hashes", name=name, hashes=hashes)["refused"]
        return refused

    def home_status(self, include_files: bool = False) -> dict[str, Any]:
        """``{"state": {"total": 3, "finished": 1}}``, with ``"files"`` and ``"errors"`` if they are asked for."""
        status: dict[str, Any] = self._call("home_status", include_files=include_files)
        return status

    def close(self) -> None:
        """End the connection; what was leased on it waits again at once."""
        if not self._thread.loop.is_closed():
            self._thread.loop.call_soon_threadsafe(self._stream.close)
        self._thread.stop()

    def __enter__(self) -> Master:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ------------------------------------------------------------ private

    def read(self) -> Any:
        """The next message, for `Pieces`."""
        return self._thread.run(self._read())

    def _call(self, op: str, **keywords: Any) -> Any:
        unread, self._unread = self._unread, None
        if unread is not None:
            unread.exhaust()
        return self._thread.run(self._ask({"op": op, **keywords}))

    async def _ask(self, request: dict[str, Any]) -> Any:
        await write(self._stream, request)
        return await self._read()

    async def _read(self) -> Any:
        try:
            async with asyncio.timeout(SILENCE_S):
                answer = await self._stream.read_message()
        except TimeoutError:
            self._stream.close()
            raise CommClosedError(self.address, f"it said nothing for {SILENCE_S:g} s") from None
        if isinstance(answer, ErrorReply):
            raise clean_exception(answer, self.address)
        return answer

    def _files(self, answer: Any) -> Iterator[tuple[str, Pieces]]:
        if not isinstance(answer, dict):
            raise ProtocolError("files come as a dict")
        if answer.get("wait"):
            raise WaitForTimeoutFile(True)
        if answer.get("done"):
            raise NoMoreFiles
        if "files" in answer:
            return ((path, Pieces(self, len(content), content)) for path, content in answer["files"])
        self._unread = Pieces(self, answer["nbytes"])
        return iter([(answer["path"], self._unread)])
