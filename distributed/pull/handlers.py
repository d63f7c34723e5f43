"""The pull master's endpoints: each turns a request into a call of `Master`, and what comes of it into an answer."""

from __future__ import annotations

import asyncio
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from tornado.iostream import StreamClosedError

from distributed import constants
from distributed.errors import HomeError
from distributed.pull.handing import WAIT_S_MAX, cannot_read, open_lease, read_leases, wait_leases
from distributed.pull.lending import NAME_LENGTH_MAX, Master
from distributed.recipes.batches import CONTENT_TYPE, record_head
from distributed.recipes.leases import Lease
from distributed.recipes.naming import decode_path, encode_path
from distributed.recipes.reading import Source
from distributed.recipes.reports import Outcome, Verdict, field_of, path_of, read_json
from distributed.web.guard import TRUSTED, GuardedHandler

__all__ = ["GetFile", "GetFiles", "UpdateFileHash", "UpdateFileHashes", "WorkerRegister"]

STALLED_S = 60.0  # a worker that takes no byte for so long gets no more
WAIT = "wait for processing files timeout and make request again"
BROKEN = "the connection broke while it was sent"
STATUS_BY_VERDICT = {
    Verdict.ACCEPTED: 200,
    Verdict.UNKNOWN_FILE: 404,
    Verdict.NO_DIGEST: 400,
    Verdict.NOT_HELD: 400,
    Verdict.DISPUTED: 409,
}

_PREFERENCE = re.compile(r"(?i:wait) *= *([0-9]{1,6})")


class _FromWorker(GuardedHandler):
    """A request of a worker, which names itself in a header."""

    roles_by_method: ClassVar = {"GET": TRUSTED}  # it hands out files, and changes who has which

    @property
    def master(self) -> Master:
        """Whom we ask."""
        master: Master = self.application["master"]
        return master

    def worker_name(self) -> str | None:
        """The worker's name; None: the request is refused."""
        name = self.request.headers.get(constants.HTTP_HEADER_X_WORKER_NAME, "").strip()
        if not name:
            self.answer(400, "missing worker name header")
            return None
        if len(name) > NAME_LENGTH_MAX or not (name.isascii() and name.isprintable()):
            self.answer(400, f"a worker's name has at most {NAME_LENGTH_MAX} characters, all printable ASCII")
            return None
        return name

    def registered_name(self) -> str | None:
        """The name of a worker that has registered; None: the request is refused."""
        name = self.worker_name()
        if name is not None and not self.master.worker_registered(name):
            self.answer(400, "worker not registered yet")
            return None
        return name


class WorkerRegister(_FromWorker):
    """``POST /worker_register``: 200, 400, or 409 when one of that name is here already."""

    def post(self) -> None:
        """Register."""
        name = self.worker_name()
        if name is None:
            return
        if self.master.worker_register(name):
            self.answer(200, "ok")
        else:
            self.answer(409, "worker has already registered")


class UpdateFileHash(_FromWorker):
    """``PUT /update_file_hash``, fields ``file_path`` and ``file_hash``, or ``file_error``: why there is none."""

    def put(self) -> None:
        """Keep the digest: 200, 400, 404, or 409 when another one is known."""
        name = self.registered_name()
        if name is None:
            return
        form = self.request.body_arguments
        path = path_of(form, self.master.home.file_exists)
        hash_, error = field_of(form, "file_hash"), field_of(form, "file_error")
        if path is None:
            self.answer(400, "missing file_path parameter")
        elif error:
            self._judge(self.master.file_processing_failed(name, path, error))
        elif not hash_:
            self.answer(400, "missing file_hash parameter")
        else:
            self._judge(self.master.file_processing_finished(name, path, hash_))

    post = put

    def _judge(self, verdict: Verdict) -> None:
        self.answer(STATUS_BY_VERDICT[verdict], verdict.value)


class UpdateFileHashes(_FromWorker):
    """``PUT /update_file_hashes``: JSON, digest (or ``{"error": reason}``) by percent-encoded path."""

    def put(self) -> None:
        """Keep what may be kept; 200 with ``{"accepted": n, "refused": {path: reason}}``, or 400."""
        name = self.registered_name()
        if name is None:
            return
        results = read_json(self.request.body)
        if results is None:
            self.answer(400, 'the body is no JSON object of paths with digests or {"error": reason}')
            return
        refused = {}
        for encoded, told in results.items():
            verdict = self._tell(name, encoded, told)
            if verdict is not Verdict.ACCEPTED:
                refused[encoded] = verdict.value
        self.answer_json({"accepted": len(results) - len(refused), "refused": refused})

    post = put

    def _tell(self, name: str, encoded: str, told: Outcome) -> Verdict:
        try:
            path = decode_path(encoded)
        except HomeError:
            return Verdict.UNKNOWN_FILE
        if isinstance(told, dict):
            return self.master.file_processing_failed(name, path, told["error"])
        return self.master.file_processing_finished(name, path, told or "")


class GetFile(_FromWorker):
    """``GET /get_file``: 200 with one file, 202 when others have all that is left, 204 when nothing is.

    ``Prefer: wait=SECONDS`` (RFC 7240): the answer may take so long if it would be 202 before.
    """

    _is_batch = False

    def initialize(self) -> None:
        """Nothing has happened yet."""
        self._gone = asyncio.Event()

    def on_connection_close(self) -> None:
        """Nobody waits for the answer any more."""
        self._gone.set()

    async def get(self) -> None:
        """Hand out files."""
        name = self.registered_name()
        if name is None:
            return
        asked = self._asked()
        if asked is None:
            self.answer(400, "max is a whole number, at least 1")
            return
        until = time.monotonic() + self._patience_s()
        while not self._finished:
            leases = await wait_leases(self.master, name, asked, until, self._gone)
            if leases and self._is_batch and leases[0].nbytes <= self.master.config.BATCH_MAX_BYTES:
                await self._send_batch(leases)
            elif leases:
                await self._send_one(leases[0])
            elif self._gone.is_set():
                self._finished = True  # to nobody
            else:
                self._say_nothing_left(name)

    # ------------------------------------------------------------ which files

    def _asked(self) -> int | None:
        """How many files at most; None: that was no number."""
        if not self._is_batch:
            return 1
        files_max: int = self.master.config.BATCH_MAX_FILES
        text = self.get_query_argument("max", str(files_max))
        if not (text.isascii() and text.isdigit() and int(text[:9]) > 0):
            return None
        return min(files_max, int(text[:9]))

    def _patience_s(self) -> float:
        """How long the worker prefers to wait."""
        for preference in self.request.headers.get("Prefer", "").split(","):
            found = _PREFERENCE.fullmatch(preference.strip())
            if found and int(found[1]) > 0:
                seconds = min(WAIT_S_MAX, float(found[1]))
                self.set_header("Preference-Applied", f"wait={seconds:.0f}")
                return seconds
        return 0.0

    def _say_nothing_left(self, name: str) -> None:
        if not self.master.leases.is_done:
            self.answer(202, WAIT)
        else:
            self.master.dismiss(name)
            self.set_status(204)
            self.finish()

    # ------------------------------------------------------------ sending

    async def _send_one(self, lease: Lease) -> None:
        """One file, piece by piece; in a batch of its own if it is too big for one with others."""
        opened = await open_lease(self.master, self._threads, lease)
        if opened is None:
            return
        source, piece = opened
        try:
            self._begin(lease, source)
            await self._send_pieces(lease, source, piece)
        except (StreamClosedError, TimeoutError):
            self._abort([lease], BROKEN)
        except (OSError, HomeError) as error:
            cannot_read(self.master, lease, error)
            self._abort([], "")  # what was sent of it is worth nothing
        finally:
            source.close()

    def _begin(self, lease: Lease, source: Source) -> None:
        head = record_head(lease.path, source.nbytes) if self._is_batch else b""
        self.set_header("Content-Type", CONTENT_TYPE if self._is_batch else "application/octet-stream")
        self.set_header("Content-Length", str(len(head) + source.nbytes))
        if self._is_batch:
            self.write(head)
        else:
            self.set_header(constants.HTTP_HEADER_X_FILE_PATH, encode_path(lease.path))

    async def _send_pieces(self, lease: Lease, source: Source, piece: bytes) -> None:
        """Each is read while the one before it is sent."""
        read = asyncio.get_running_loop().run_in_executor
        while not source.is_at_end:
            self.write(piece)
            following = read(self._threads, source.next_piece)
            try:
                await self._flushed()
            finally:
                await asyncio.wait([following])  # the file is closed after us
                failed = following.exception()
            if failed is not None:
                raise failed
            piece = following.result()
            self.master.hear(lease)
        self.write(piece)
        await self._flushed()
        self.master.hear(lease)
        self.finish()

    async def _send_batch(self, leases: list[Lease]) -> None:
        """Files that were read as a whole, one after the other; if there are none, the next ones are taken."""
        files = await read_leases(self.master, self._threads, leases)
        if not files:
            return
        body = b"".join(part for lease, content in files for part in (record_head(lease.path, len(content)), content))
        self.set_header("Content-Type", CONTENT_TYPE)
        self.set_header("Content-Length", str(len(body)))
        self.write(body)
        try:
            await self._flushed()
        except (StreamClosedError, TimeoutError):
            self._abort([lease for lease, _ in files], BROKEN)
            return
        for lease, _ in files:
            self.master.hear(lease)
        self.finish()

    async def _flushed(self) -> None:
        """Until the system has taken all that was written.

        Raises:
            StreamClosedError, TimeoutError: the worker is gone, or takes nothing any more.
        """
        await asyncio.wait_for(self.flush(), STALLED_S)

    @property
    def _threads(self) -> ThreadPoolExecutor:
        threads: ThreadPoolExecutor = self.application["threads"]
        return threads

    def _abort(self, leases: list[Lease], reason: str) -> None:
        """End the connection: its answer cannot be completed."""
        for lease in leases:
            self.master.give_back(lease, reason)
        connection: Any = self.request.connection
        connection.stream.close()
        self._finished = True


class GetFiles(GetFile):
    """``GET /get_files?max=N``: the same with many small files, or one big one, in a body as `batches` has it."""

    _is_batch = True
