"""The Main's half of shipping: an offer is asked what it lacks of a workspace, and sent that and no more.

```text
Main                                                offer
 workspace_offer(workspace)                    ─▶   knows it: {"lacks": []}; that is all for a workspace it has
 workspace_offer(workspace, delta | manifest)  ─▶   {"lacks": [digest, ...]}
 workspace_fetch(workspace, sources)           ─▶   gets what others have, some seconds at a time
 workspace_blobs(workspace, ...)               ─▶   4 MiB each, a few in flight
```

What is *not* here: how the offer is reached (`call` is given), when to ship (`distributed.crews`), and what the offer
does with what it gets (`distributed.workspace.receiving`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

from distributed.dataclass import dataclass
from distributed.errors import BlobMismatchError, BlobMissingError, ProtocolError, ShippingTimeoutError
from distributed.protocol.codec import DEFAULT_LIMITS, encode
from distributed.workspace.incoming import PIECE_NBYTES
from distributed.workspace.manifest import Manifest

__all__ = ["BLOBS_MAX", "Call", "Contents", "Progress", "Shipped", "ship"]

BLOBS_MAX = 1024  # contents in one message
IN_FLIGHT_MAX = 3  # messages with contents: one is written to disk there, one is on its way, one is being read here
ROUNDS_MAX = 4  # of asking what lacks and sending it; more are needed only where a store evicts what just came
TIMEOUT_S = 60.0  # for one answer, and as much again for each 4 MiB in flight: a line with 1 Mbit/s takes 32 s
FETCH_ROUNDS_MAX = 200  # of 3 s each

Progress = Callable[[int, int], None]  # bytes that the offer has of those it lacked, bytes that it lacked


class Call(Protocol):
    """``await call(op, **content)`` asks an offer; whoever gives it adds what tells the tenant."""

    def __call__(self, op: str, /, **content: Any) -> Awaitable[Any]:
        """The offer's answer."""


class Contents(Protocol):
    """What contents are read from: a `Workspace`."""

    def read(self, digest: bytes) -> bytes:
        """The whole content."""

    def open(self, digest: bytes) -> BinaryIO:
        """To read a big one in pieces."""


@dataclass(slots=True, frozen=True)
class Shipped:
    """What it took.

    Attributes:
        message_nbytes: of all requests and answers as they are encoded, without the contents of files.
        blob_nbytes: contents of files that the Main sent.
        blobs: how many contents the offer lacked.
        fetched_nbytes: contents that the offer got from other offers.
        rounds: times that an answer was waited for before the next step.
    """

    message_nbytes: int
    blob_nbytes: int
    blobs: int
    fetched_nbytes: int
    rounds: int


async def ship(
    call: Call,
    workspace: Contents,
    manifest: Manifest,
    known: Manifest | None = None,
    *,
    sources: Sequence[tuple[str, str]] = (),
    progress: Progress | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Shipped:
    """Have the offer behind `call` hold everything of `manifest`.

    Args:
        call: asks the offer, ``await call(op, **content)``.
        workspace: whose ``read(digest)`` and ``open(digest)`` give contents; called in a thread.
        manifest: what the offer shall have.
        known: a manifest that the offer was given before, None: no idea. A good guess saves bytes, a wrong one a round.
        sources: other offers that have this workspace, or most of it, and are asked first: address, and a ticket for
            this workspace there (the line of a `Credential`), since an offer learns no other secret of ours.
        progress: told on the loop as contents arrive.
        timeout_s: for one answer, the time that contents take not counted.
    Raises:
        ShippingTimeoutError: the offer does not answer.
        BlobMissingError: the offer loses contents as fast as they come: its store is too small for all its tenants.
        WorkspaceChangedError: a file changed since the scan.
        What the offer answers, see `distributed.workspace.receiving`; and what `call` raises.
    """
    shipment = _Shipment(call, workspace, manifest, progress, timeout_s)
    lacking = await shipment.tell(known)
    for _ in range(ROUNDS_MAX):
        if not lacking:
            break
        if sources:
            lacking = await shipment.have_fetched(lacking, sources)
            sources = ()
        await shipment.send(lacking)
        if shipment.lacking_count:
            lacking = await shipment.tell(None)
        else:
            lacking = []
    if lacking:
        raise BlobMissingError(lacking[0].hex(), "the offer")
    return shipment.shipped()


class _Shipment:
    """One workspace on its way to one offer."""

    def __init__(
        self, call: Call, workspace: Contents, manifest: Manifest, progress: Progress | None, timeout_s: float
    ) -> None:
        self._call = call
        self._workspace = workspace
        self._manifest = manifest
        self._nbytes_by_digest: Mapping[bytes, int] = manifest.digests()
        self._progress = progress
        self._timeout_s = timeout_s
        self.lacking_count = 0  # as the offer last told
        self._message_nbytes = self._blob_nbytes = self._fetched_nbytes = self._rounds = 0
        self._lacked: dict[bytes, None] = {}  # all that it ever lacked
        self._arrived_nbytes = 0

    def shipped(self) -> Shipped:
        """What it took so far."""
        return Shipped(self._message_nbytes, self._blob_nbytes, len(self._lacked), self._fetched_nbytes, self._rounds)

    async def tell(self, known: Manifest | None) -> list[bytes]:
        """Tell the offer of the workspace in as few bytes as it takes; digests of what it lacks."""
        delta = None if known is None or known.id == self._manifest.id else self._manifest.delta(known)
        is_small = delta is not None and 2 * (len(delta.changed) + len(delta.removed)) < len(self._manifest)
        answer = await (self._offer(delta=delta.to_wire()) if delta is not None and is_small else self._offer())
        if "lacks" not in answer:
            answer = await self._offer(manifest=self._manifest.to_wire())
        return self._read_lacking(answer)

    async def have_fetched(self, lacking: list[bytes], sources: Sequence[tuple[str, str]]) -> list[bytes]:
        """Let the offer get from others what they have; what lacks after that."""
        for _ in range(FETCH_ROUNDS_MAX):
            if not sources or not lacking:
                break
            self._rounds += 1
            pairs = [list(source) for source in sources]
            answer = await self._ask("workspace_fetch", workspace=self._manifest.id, sources=pairs)
            left = self._read_lacking(answer)
            came = sum(map(self._nbytes_by_digest.__getitem__, lacking)) - sum(
                map(self._nbytes_by_digest.__getitem__, left)
            )
            self._fetched_nbytes += came
            self._arrived(came)
            failed = answer.get("failed", [])
            if type(failed) is not list:
                raise ProtocolError("workspace_fetch: the offer did not answer which sources failed")
            sources = [source for source in sources if source[0] not in failed]
            lacking = left
        return lacking

    async def send(self, lacking: list[bytes]) -> None:
        """Send contents, a few messages ahead of the answers."""
        if not lacking:
            return
        self._rounds += 1
        self.lacking_count = len(lacking)
        messages = self._messages(lacking)
        in_flight: deque[asyncio.Task[None]] = deque()
        try:
            while (message := await asyncio.to_thread(next, messages, None)) is not None:
                if len(in_flight) >= IN_FLIGHT_MAX:
                    await in_flight.popleft()
                in_flight.append(asyncio.ensure_future(self._send(*message)))
            while in_flight:
                await in_flight.popleft()
        finally:
            for task in in_flight:
                task.cancel()
            await asyncio.gather(*in_flight, return_exceptions=True)

    async def _send(self, digests: list[bytes], offsets: list[int], blobs: list[bytes]) -> None:
        answer = await self._ask(
            "workspace_blobs", workspace=self._manifest.id, digests=digests, offsets=offsets, blobs=blobs
        )
        nbytes = sum(map(len, blobs))
        self._blob_nbytes += nbytes
        self._arrived(nbytes)
        count = answer.get("lacks")
        if type(count) is not int:
            raise ProtocolError("workspace_blobs: the offer did not answer how much it lacks")
        self.lacking_count = min(self.lacking_count, count)  # answers overtake each other

    def _messages(self, lacking: list[bytes]) -> Iterator[tuple[list[bytes], list[int], list[bytes]]]:
        """Contents by the message: many small ones, or a piece of a big one. Reads files; run in a thread."""
        digests: list[bytes] = []
        blobs: list[bytes] = []
        room = PIECE_NBYTES
        for digest in lacking:
            nbytes = self._nbytes_by_digest[digest]
            if nbytes > PIECE_NBYTES:
                yield from self._pieces(digest, nbytes)
                continue
            if nbytes > room or len(digests) >= BLOBS_MAX:
                yield digests, [0] * len(digests), blobs
                digests, blobs, room = [], [], PIECE_NBYTES
            digests.append(digest)
            blobs.append(self._workspace.read(digest))
            room -= nbytes
        if digests:
            yield digests, [0] * len(digests), blobs

    def _pieces(self, digest: bytes, nbytes: int) -> Iterator[tuple[list[bytes], list[int], list[bytes]]]:
        with self._workspace.open(digest) as file:
            for offset in range(0, nbytes, PIECE_NBYTES):
                piece = file.read(min(PIECE_NBYTES, nbytes - offset))
                if len(piece) < min(PIECE_NBYTES, nbytes - offset):
                    raise BlobMismatchError(digest.hex(), "its file has become shorter meanwhile")
                yield [digest], [offset], [piece]

    async def _offer(self, **content: Any) -> dict[str, Any]:
        self._rounds += 1
        answer: dict[str, Any] = await self._ask("workspace_offer", workspace=self._manifest.id, **content)
        return answer

    async def _ask(self, op: str, /, **content: Any) -> dict[str, Any]:
        blob_nbytes = sum(map(len, content.get("blobs", ())))
        self._message_nbytes += _encoded_nbytes([0, 0, op, content]) - blob_nbytes
        timeout_s = self._timeout_s * (1 + (IN_FLIGHT_MAX if blob_nbytes else 0))
        try:
            async with asyncio.timeout(timeout_s) as limit:
                answer = await self._call(op, **content)
        except TimeoutError as error:
            if limit.expired():
                raise ShippingTimeoutError(op, timeout_s) from error
            raise
        if type(answer) is not dict:
            raise ProtocolError(f"{op}: the offer answered with no dict")
        self._message_nbytes += _encoded_nbytes([1, 0, answer])
        return answer

    def _read_lacking(self, answer: dict[str, Any]) -> list[bytes]:
        lacking = answer.get("lacks")
        if type(lacking) is not list or not all(
            type(digest) is bytes and digest in self._nbytes_by_digest for digest in lacking
        ):
            raise ProtocolError("the offer lacks what is no content of the workspace")
        self._lacked.update(dict.fromkeys(lacking))
        return list(dict.fromkeys(lacking))  # each is sent once, however often an offer names it

    def _arrived(self, nbytes: int) -> None:
        self._arrived_nbytes += nbytes
        if self._progress is not None and nbytes:
            total = sum(map(self._nbytes_by_digest.__getitem__, self._lacked))
            self._progress(min(self._arrived_nbytes, total), total)


def _encoded_nbytes(message: list[Any]) -> int:
    """What a message takes on a stream."""
    return sum(len(memoryview(buffer)) for buffer in encode(message, DEFAULT_LIMITS))
