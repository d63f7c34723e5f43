"""What a worker says to its master: one HTTP connection that is kept, and made anew when it breaks. Synchronous."""

from __future__ import annotations

import contextlib
import io
import json
import math
import random
import socket
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from distributed import config as default_config
from distributed import constants
from distributed.errors import ConfigError, MasterError, NoMoreFiles, ProtocolError, WaitForTimeoutFile
from distributed.recipes.batches import next_head, records
from distributed.recipes.reports import FORM, JSON, form, json_bodies
from distributed.web.connecting import base_url, headers, ssl_context

__all__ = ["TROUBLE", "Master", "Pieces", "Report"]

NAME_LENGTH_MAX = 150  # characters; masters take 200, and a taken name grows
PATIENCE_S = 30.0  # a master that cannot be reached, or answers with errors, for so long is given up
TELL_S = 5.0  # then people are told what is waited for; a master that starts meanwhile is nothing to tell
PAUSE_S, PAUSE_S_MAX = 0.1, 2.0  # between two attempts, doubled each time
SILENCE_S = 90.0  # beyond: the connection is dead; longer than a master lets a request wait
REGISTRATIONS_MAX = 20  # a master that knows nobody, or says that every name is taken, is none
WHOLE_NBYTES_MAX = 32 * 1024 * 1024  # a batch up to that is read at once
TEXT_NBYTES_MAX = 1_048_576  # of an answer that is no file
TROUBLE = (OSError, HTTPException, ProtocolError)  # of the connection, or of what came over it

Report = dict[str, str | dict[str, str]]  # by percent-encoded path: a digest, or {"error": reason}


class Master:
    """The master, as one worker process sees it.

    Args:
        name: of this process alone.
        config: an object with the settings as attributes; None: the module `distributed.config`.
        address: host and port; None: the setting ``MASTER``.
        insecure: over HTTP without TLS, although it is on another machine.
    Raises:
        ConfigError: the name cannot be told, or the master not be reached safely.
    Attributes:
        name: as it is registered.
        is_streaming: an answer is being read, and nothing else can be asked.
    """

    def __init__(
        self, name: str, config: Any = None, address: tuple[str, int] | None = None, insecure: bool = False
    ) -> None:
        self._config = default_config if config is None else config
        if not name.isascii() or not name.isprintable() or not 0 < len(name) <= NAME_LENGTH_MAX:
            raise ConfigError("name", name[:50], f"it has 1 to {NAME_LENGTH_MAX} characters, all printable ASCII")
        host, port = address or self._config.MASTER
        self.url = base_url(host, port, insecure)
        self._name = self.name = name
        self.is_streaming = False
        self._headers = headers()
        self._connection: HTTPConnection | None = None
        self._failing_since: float | None = None
        self._is_told = False
        self._pause_s = PAUSE_S
        self._registrations = 0  # in a row, without an answer to what they are for
        self._has_batches = int(self._config.BATCH_MAX_FILES) > 1

    def register(self) -> None:
        """Become known to it. A name that somebody has already is made another one.

        Raises:
            MasterError: it cannot be reached, or refuses us.
        """
        while True:
            status, _, text = self._ask("POST", constants.MASTER_PATH_WORKER_REGISTER)
            if status == 200 and self._registrations < REGISTRATIONS_MAX:
                self._registrations += 1
                return
            if status not in (200, 409) or self._registrations >= REGISTRATIONS_MAX:
                self._refuse(status, text)
            self._registrations += 1
            self.name = f"{self._name}:{random.randrange(16**6):06x}"

    def get_files(self) -> Iterator[tuple[str, Pieces]]:
        """The next files: percent-encoded path and content of each.

        Raises:
            WaitForTimeoutFile, NoMoreFiles: there are none.
            MasterError: the master cannot be reached, or refuses us.
            TROUBLE: the connection broke in the middle; `recover`, and ask again.
        """
        path = constants.MASTER_PATH_GET_FILES if self._has_batches else constants.MASTER_PATH_GET_FILE
        wait_s = math.ceil(self._config.WORKER_WAIT_FOR_TIMEOUT_FILE_SECONDS)
        response = self._request("GET", path, {"Prefer": f"wait={wait_s}"})
        if response.status in (200, 202, 204):
            self._registrations = 0
        if response.status == 200:
            yield from self._batch(response) if self._has_batches else self._one(response)
            self._works()
            return
        text = self._text(response)
        if response.status == 202:
            raise WaitForTimeoutFile("Preference-Applied" in response.headers)
        if response.status == 204:
            raise NoMoreFiles
        if response.status == 404 and self._has_batches:  # a master of the first kind
            self._has_batches = False
        elif response.status == 400 and "not registered" in text:  # it was started anew
            self.register()
        else:
            self._refuse(response.status, text)

    def report(self, results: Report) -> dict[str, str]:
        """Tell digests, or ``{"error": reason}``, by percent-encoded path; what is refused, and why.

        Raises:
            MasterError: the master cannot be reached, or refuses us.
        """
        refused: dict[str, str] = {}
        if not self._has_batches:
            for path, told in results.items():
                refused |= self._report_one(path, told)
            return refused
        for body in json_bodies(results):
            status, _, text = self._ask("PUT", constants.MASTER_PATH_UPDATE_FILE_HASHES, body, JSON)
            if status != 200:
                self._refuse_report(status, text)
                return {**refused, **dict.fromkeys(results, text)}
            try:
                refused |= json.loads(text)["refused"]
            except (ValueError, RecursionError, LookupError, TypeError):
                self._refuse(status, text[:200])
        return refused

    def recover(self, error: Exception) -> None:
        """After trouble: begin anew with another connection, after a pause.

        Raises:
            MasterError: there has been nothing but trouble for a long time.
        """
        self.close()
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
            self._is_told = False
        if not self._is_told and now - self._failing_since > TELL_S:
            self._is_told = True
            line = f"master at {self.url}: {_reason(error)}; trying again, for {PATIENCE_S:.0f} s in all"
            print(line, file=sys.stderr, flush=True)
        if now - self._failing_since > PATIENCE_S:
            raise MasterError(self.url, f"for {PATIENCE_S:.0f} s, {_reason(error)}; start it, or name it with --master")
        time.sleep(self._pause_s * random.uniform(0.5, 1.0))
        self._pause_s = min(PAUSE_S_MAX, 2 * self._pause_s)

    def close(self) -> None:
        """End the connection."""
        self.is_streaming = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # ------------------------------------------------------------ answers with files

    def _one(self, response: HTTPResponse) -> Iterator[tuple[str, Pieces]]:
        path = response.headers.get(constants.HTTP_HEADER_X_FILE_PATH)
        if path is None or response.length is None:
            raise ProtocolError("the answer to /get_file has no path or no length")
        yield from self._streamed(path, response.length, response)

    def _batch(self, response: HTTPResponse) -> Iterator[tuple[str, Pieces]]:
        if response.length is None:
            raise ProtocolError("the answer to /get_files has no length")
        if response.length <= WHOLE_NBYTES_MAX:
            length = response.length
            body = response.read()
            if len(body) < length:
                raise ProtocolError("the answer to /get_files is cut off")
            chunk_nbytes = int(self._config.CHUNK_SIZE)
            for path, content in records(body):
                yield path, Pieces(io.BytesIO(content), len(content), chunk_nbytes)
            return
        while (head := next_head(response.read)) is not None:
            yield from self._streamed(*head, response)

    def _streamed(self, path: str, nbytes: int, response: HTTPResponse) -> Iterator[tuple[str, Pieces]]:
        pieces = Pieces(response, nbytes, int(self._config.CHUNK_SIZE))
        self.is_streaming = True
        yield path, pieces
        self.is_streaming = bool(response.length)
        for _ in pieces:  # a task need not take all, but what follows would be taken for the next answer
            continue

    # ------------------------------------------------------------ requests

    def _ask(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, Any, str]:
        """Status, headers and text of an answer that is no file."""
        while True:
            response = self._request(method, path, {"Content-Type": kind} if kind else {}, body)
            try:
                text = self._text(response)
            except TROUBLE as error:
                self.recover(error)
                continue
            if response.status == 400 and "not registered" in text and path != constants.MASTER_PATH_WORKER_REGISTER:
                self.register()
                continue
            self._works()
            return response.status, response.headers, text

    def _request(self, method: str, path: str, more: dict[str, str], body: bytes | None = None) -> HTTPResponse:
        """The head of an answer below 500, however many attempts that takes."""
        named = {**self._headers, **more, constants.HTTP_HEADER_X_WORKER_NAME: self.name}
        while True:
            try:
                connection = self._connected()
                connection.request(method, path, body, named)
                response = connection.getresponse()
                if response.status < 500:
                    return response
                error: Exception = MasterError(self.url, f"it answered {response.status} {self._text(response)}")
            except TROUBLE as trouble:
                error = trouble
            self.recover(error)

    def _connected(self) -> HTTPConnection:
        if self._connection is None:
            parts = urlsplit(self.url)
            host, port = str(parts.hostname), parts.port
            if parts.scheme == "https":
                self._connection = HTTPSConnection(host, port, timeout=SILENCE_S, context=ssl_context())
            else:
                self._connection = HTTPConnection(host, port, timeout=SILENCE_S)
            self._connection.connect()
            with contextlib.suppress(OSError):  # it can be without
                self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._connection

    def _text(self, response: HTTPResponse) -> str:
        if (response.length or 0) > TEXT_NBYTES_MAX:
            raise ProtocolError(f"an answer of {response.length} bytes, where a line was due")
        return response.read(TEXT_NBYTES_MAX).decode(errors="replace").strip()

    def _works(self) -> None:
        self._failing_since = None
        self._pause_s = PAUSE_S

    def _report_one(self, path: str, told: str | dict[str, str]) -> dict[str, str]:
        status, _, text = self._ask("PUT", constants.MASTER_PATH_UPDATE_FILE_HASH, form(path, told), FORM)
        if status == 200:
            return {}
        self._refuse_report(status, text)
        return {path: text}

    def _refuse_report(self, status: int, text: str) -> None:
        if status not in (400, 404, 409):
            self._refuse(status, text)

    def _refuse(self, status: int, text: str) -> None:
        raise MasterError(self.url, f"it answered {status}: {text or 'without a word'}")


class Pieces(Iterator[bytes]):
    """The content of one file.

    Attributes:
        trouble: what went wrong with the connection while it was read.
    """

    def __init__(self, source: io.BufferedIOBase, nbytes: int, chunk_nbytes: int) -> None:
        self.trouble: Exception | None = None
        self._source = source
        self._left = nbytes
        self._chunk_nbytes = chunk_nbytes

    @property
    def is_at_end(self) -> bool:
        """Whether all of it was taken."""
        return not self._left

    def __next__(self) -> bytes:
        """The next piece.

        Raises:
            TROUBLE: the connection broke, or the content is shorter than was said: the file has changed.
        """
        if not self._left:
            raise StopIteration
        try:
            piece = self._source.read(min(self._chunk_nbytes, self._left))
            if not piece:
                raise ProtocolError(f"the content of a file ended {self._left} bytes before its end")
        except TROUBLE as error:
            self.trouble = error
            raise
        self._left -= len(piece)
        return piece


def _reason(error: Exception) -> str:
    if isinstance(error, MasterError):
        return error.reason
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
