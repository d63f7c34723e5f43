"""Digests of content that arrives on a loop, piece by piece: hashed at once, or handed to a function in a thread."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from typing import Any

from distributed.errors import CommClosedError
from distributed.recipes.digesting import DigestFunction, algorithm_of, digest_function, new_hasher

__all__ = ["Digester", "HashDigester", "ThreadDigester", "new_digester"]

PIECES_MAX = 8  # that wait for a slow function; the sender waits then


class HashDigester:
    """Hashes on the loop: a piece takes a fraction of a millisecond."""

    def __init__(self, algorithm: str) -> None:
        self._hasher = new_hasher(algorithm)

    async def feed(self, piece: bytes) -> None:
        """The next piece of the content."""
        self._hasher.update(piece)

    async def result(self) -> str:
        """The digest of all pieces."""
        text: str = self._hasher.hexdigest()
        return text

    def abort(self) -> None:
        """The content will not be complete."""


class ThreadDigester:
    """Runs a function of the user's in a thread, which gets the pieces as they come."""

    def __init__(self, function: DigestFunction) -> None:
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(PIECES_MAX)
        self._pieces: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._is_aborted = False
        self._result: asyncio.Future[str] = self._loop.create_future()
        # As a daemon: a function that never returns must not keep the process from ending.
        threading.Thread(target=self._run, args=(function,), name="digest", daemon=True).start()

    async def feed(self, piece: bytes) -> None:
        """The next piece of the content; waits while the function is busy with those before."""
        await self._room.acquire()
        self._pieces.put(piece)

    async def result(self) -> str:
        """What the function returns of all pieces, or raises."""
        self._pieces.put(None)
        return await self._result

    def abort(self) -> None:
        """The content will not be complete; the function gets an error from its iterator."""
        self._is_aborted = True
        self._pieces.put(None)
        self._result.add_done_callback(lambda result: result.cancelled() or result.exception())

    def _run(self, function: DigestFunction) -> None:
        pieces = self._iterator()
        text, error = "", None
        try:
            text = function(pieces)
        except Exception as raised:  # the user's code, in whose place the request is answered
            error = raised
        for _ in pieces:  # what the function did not want
            continue
        self._call(self._settle, text, error)

    def _iterator(self) -> Iterator[bytes]:
        while (piece := self._pieces.get()) is not None:
            self._call(self._room.release)
            yield piece
        if self._is_aborted:
            raise CommClosedError("the sender", "it ended before all of the content had come")

    def _call(self, function: Any, *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _settle(self, text: str, error: Exception | None) -> None:
        if error is None:
            self._result.set_result(text)
        else:
            self._result.set_exception(error)


Digester = HashDigester | ThreadDigester


def new_digester(config: Any = None) -> Digester:
    """One for the content of one file.

    Raises:
        ConfigError: there is no such task, see `digest_function`.
    """
    algorithm = algorithm_of(config)
    return ThreadDigester(digest_function(config)) if ":" in algorithm else HashDigester(algorithm)
