"""How a worker takes files that are sent to it: ``POST /new_file`` with parts called ``file``, as they arrive."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Any

from tornado.web import stream_request_body

from distributed.constants import HTTP_HEADER_X_FILE_PATH
from distributed.errors import HomeError, MultipartError
from distributed.recipes.naming import decode_path
from distributed.web.guard import GuardedHandler
from distributed.web.multipart import Begin, Data, Event, MultipartParser, boundary_of

__all__ = ["ReceivingHandler"]

SILENCE_S = 60.0  # of a sender in the middle of a body
NO_LIMIT = 2**62  # nothing of it is kept


@stream_request_body
class ReceivingHandler(GuardedHandler, ABC):
    """Takes the parts of a body one by one; what becomes of them is up to those who derive from it.

    A fault in the body ends the request with 400 at once, and the rest of it is not read.
    """

    parts_max = 1
    _watch: asyncio.TimerHandle | None = None  # while the next piece is awaited

    def prepare(self) -> None:
        """Refuse what is no multipart/form-data before any of it comes."""
        super().prepare()
        if self._finished:
            return
        connection: Any = self.request.connection
        try:
            self._parser = MultipartParser(boundary_of(self.request.headers.get("Content-Type", "")), self.parts_max)
        except MultipartError as error:
            connection.no_keep_alive = True
            self.answer(400, str(error))
            return
        connection.set_max_body_size(NO_LIMIT)
        self.ready()
        if not self._finished:
            self._expect()

    async def data_received(self, chunk: bytes) -> None:
        """Some of the body; the next is read when this has been dealt with."""
        self._relax()
        try:
            for event in self._parser.feed(chunk):
                await self._take(event)
                if self._finished:
                    return
        except (MultipartError, HomeError) as error:
            self.refuse(400, str(error))
            return
        self._expect()

    async def post(self) -> None:
        """The body has been read to its end."""
        self._relax()
        try:
            self._parser.close()
        except MultipartError as error:
            self.refuse(400, str(error))
            return
        await self.complete()

    async def _take(self, event: Event) -> None:
        if isinstance(event, Begin):
            if event.name != "file":
                raise MultipartError(f"its part is called {event.name[:100]!r}, not 'file'")
            given = event.headers.get(HTTP_HEADER_X_FILE_PATH.lower())
            given = given or self.request.headers.get(HTTP_HEADER_X_FILE_PATH)
            await self.part_begins(None if given is None else decode_path(given))
        elif isinstance(event, Data):
            await self.part_goes_on(event.content)
        else:
            await self.part_ends()

    def refuse(self, status: int, text: str) -> None:
        """Answer with a fault; what has come so far counts for nothing."""
        self.aborted()
        if not self._finished:
            self.answer(status, text)

    def on_connection_close(self) -> None:
        """The sender is gone."""
        super().on_connection_close()
        self._relax()
        self.aborted()

    def _relax(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    def _expect(self) -> None:
        """The next piece, soon: a sender that stands still would keep what it has been given for ever."""
        self._watch = asyncio.get_running_loop().call_later(SILENCE_S, self._hang_up)

    def _hang_up(self) -> None:
        connection: Any = self.request.connection
        connection.close()

    def ready(self) -> None:
        """The first part may come; `answer` refuses it."""

    @abstractmethod
    async def part_begins(self, path: str | None) -> None:
        """A file begins; `path` is what the sender calls it, None: it does not say."""

    @abstractmethod
    async def part_goes_on(self, content: bytes) -> None:
        """Some of its content."""

    @abstractmethod
    async def part_ends(self) -> None:
        """It is complete."""

    @abstractmethod
    async def complete(self) -> None:
        """All parts have come: answer."""

    @abstractmethod
    def aborted(self) -> None:
        """Nothing more will come; may be called more than once, and after the answer."""
