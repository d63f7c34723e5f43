"""What one tenant has told an offer of: its workspaces, what each still lacks, and contents on their way.

Blocks for disk and lock; called in threads, by several at once. What is *not* here: requests and who may send them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from distributed.dataclass import dataclass, field
from distributed.errors import (
    BadRequestError,
    BlobMismatchError,
    BlobMissingError,
    ManifestError,
    QuotaExceededError,
    StoreFullError,
    UnknownWorkspaceError,
)
from distributed.workspace.incoming import PIECE_NBYTES, Incoming
from distributed.workspace.laying import lay_out
from distributed.workspace.limits import DEFAULT_LIMITS, WorkspaceLimits
from distributed.workspace.manifest import Delta, Manifest
from distributed.workspace.store import BlobStore, on_disk

__all__ = ["Holding"]

WORKSPACES_MAX = 16  # that are kept for one tenant; of older ones contents may go, and are shipped again when needed
ENTRIES_MAX = 100_000  # of all their manifests, some 400 bytes of memory each; two of the biggest
INCOMING_MAX = 8  # big contents on their way; whoever breaks off often loses the first of them

T = TypeVar("T")


@dataclass(slots=True)
class _Held:
    """One workspace, pinned in the store."""

    manifest: Manifest
    nbytes_by_digest: dict[bytes, int]
    lacking: dict[bytes, None] = field(default_factory=dict)  # in the order of the manifest; that and no set
    users: int = 0  # who lay it out just now


class Holding:
    """The workspaces of one tenant in the space of its credential.

    Args:
        store: the space.
        limits: on each of its workspaces.
        folds_case: workspaces are laid out where ``A`` and ``a`` are one file.
    """

    def __init__(self, store: BlobStore, limits: WorkspaceLimits = DEFAULT_LIMITS, folds_case: bool = False) -> None:
        self._store = store
        self._limits = limits
        self._folds_case = folds_case
        self._turn = threading.RLock()
        self._held_by_id: dict[str, _Held] = {}  # least recently offered first
        self._incoming: dict[bytes, Incoming] = {}
        self._is_closed = False

    # ------------------------------------------------------------ taking in

    def offer(self, workspace: str, delta: Any = None, manifest: Any = None) -> dict[str, Any]:
        """Hold a workspace from now on; the answer of the op ``workspace_offer``.

        Raises:
            ManifestError: manifest or delta break a rule, or are another workspace's.
            QuotaExceededError: it would not fit into this space even if that were empty.
            StoreFullError: no room for the manifest.
        """
        with self._turn:
            self._check_open(workspace)
            held = self._held_by_id.get(workspace) or self._load(workspace)
            if held is None and delta is not None:
                change = Delta.from_wire(delta, self._limits)
                base = self._manifest(change.base)
                if base is None:
                    return {"unknown_base": True}
                held = self._hold(base.apply(change, self._limits, folds_case=self._folds_case), workspace)
            elif held is None and manifest is not None:
                told = Manifest.from_wire(manifest, self._limits, folds_case=self._folds_case)
                held = self._hold(told, workspace)
            if held is None:
                return {"unknown": True}
            self._held_by_id[workspace] = self._held_by_id.pop(workspace)
            self._look_again(held)
            return {"lacks": list(held.lacking)}

    def lacking(self, workspace: str) -> list[bytes]:
        """Digests of what is still to come, in the order of the manifest."""
        with self._turn:
            return list(self._get(workspace).lacking)

    def nbytes_of(self, workspace: str, digest: bytes) -> int | None:
        """The size of a content of a workspace; None: that has no such content."""
        with self._turn:
            return self._get(workspace).nbytes_by_digest.get(digest)

    def end_of(self, digest: bytes) -> int:
        """Up to where a big content has come without a gap; 0: nothing of it is on its way."""
        with self._turn:
            incoming = self._incoming.get(digest)
            return 0 if incoming is None else incoming.end

    def take(self, workspace: str, digests: Sequence[bytes], offsets: Sequence[int], blobs: Sequence[bytes]) -> int:
        """Keep contents, or pieces of them; how many contents of the workspace are still to come.

        What is not lacking is ignored: two who send the same do not harm each other.

        Raises:
            BadRequestError: a content that is none of this workspace's.
            BlobMismatchError: other bytes than announced; of whole contents then none is kept.
            StoreFullError: no room.
        """
        with self._turn:
            held = self._get(workspace)
            whole: list[tuple[bytes, bytes]] = []
            pieces: list[tuple[bytes, int, bytes]] = []
            for digest, offset, blob in zip(digests, offsets, blobs, strict=True):
                nbytes = held.nbytes_by_digest.get(digest)
                if nbytes is None:
                    text = f"the content {digest.hex()[:16]}... is none of workspace {workspace[:16]}..."
                    raise BadRequestError(f"{text}: only what an offer lacks of a workspace is sent to it")
                if digest in held.lacking:
                    if offset == 0 and len(blob) == nbytes:
                        whole.append((digest, blob))
                    else:
                        pieces.append((digest, offset, blob))
            if whole:
                self._with_room(workspace, lambda: self._store.put_all(whole))
                for digest, _ in whole:
                    held.lacking.pop(digest, None)
            for digest, offset, blob in pieces:
                self._take_piece(workspace, held, digest, offset, blob)
            return len(held.lacking)

    def _take_piece(self, workspace: str, held: _Held, digest: bytes, offset: int, blob: bytes) -> None:
        nbytes = held.nbytes_by_digest[digest]
        if offset % PIECE_NBYTES or len(blob) != min(PIECE_NBYTES, nbytes - offset):
            what = (
                f"bytes {offset:,} to {offset + len(blob):,} of {nbytes:,} came, and a piece is {PIECE_NBYTES:,} bytes"
            )
            raise BlobMismatchError(digest.hex(), what)
        incoming = self._incoming.get(digest)
        if incoming is None:
            if len(self._incoming) >= INCOMING_MAX:
                self._store.abandon(self._incoming.pop(next(iter(self._incoming))))
            incoming = self._with_room(workspace, lambda: self._store.begin(digest, nbytes))
            self._incoming[digest] = incoming
        is_over = True
        try:
            self._store.write(incoming, offset, blob)
            is_over = incoming.is_complete
            if is_over:
                self._store.finish(incoming)
                held.lacking.pop(digest, None)
        finally:
            if is_over:  # kept, or wrong
                del self._incoming[digest]
                self._store.abandon(incoming)

    # ------------------------------------------------------------ giving out

    def give(self, workspace: str, digests: Sequence[bytes], offset: int) -> dict[str, Any]:
        """Contents from the first of `digests` on, that one from `offset` on, as many as fit into one answer."""
        with self._turn:
            held = self._held_by_id.get(workspace) or self._load(workspace)
            if held is None:
                raise UnknownWorkspaceError(workspace)
            nbytes_by_digest = held.nbytes_by_digest
        found: list[bytes] = []
        offsets: list[int] = []
        blobs: list[bytes] = []
        for digest in digests:
            nbytes = nbytes_by_digest.get(digest)
            if nbytes is None:
                raise BadRequestError(f"the content {digest.hex()[:16]}... is none of workspace {workspace[:16]}...")
            if found and sum(map(len, blobs)) + nbytes > PIECE_NBYTES:
                break
            with contextlib.suppress(BlobMissingError):  # then it is not among the answers
                blobs.append(self._piece(digest, nbytes, offset))
                found.append(digest)
                offsets.append(offset)
            offset = 0
        return {"digests": found, "offsets": offsets, "blobs": blobs}

    def _piece(self, digest: bytes, nbytes: int, offset: int) -> bytes:
        if offset == 0 and nbytes <= PIECE_NBYTES:
            return self._store.read(digest, nbytes)
        with self._store.open(digest) as file:
            file.seek(offset)
            return file.read(PIECE_NBYTES)

    def lay_out(self, workspace: str, folder: str, is_wanted: Callable[[], bool]) -> bool:
        """See `laying.lay_out`; it is held meanwhile, and from then on.

        Raises:
            UnknownWorkspaceError: nobody told of it in this space, or long ago.
        """
        with self._turn:
            self._check_open(workspace)
            held = self._held_by_id.get(workspace) or self._load(workspace)
            if held is None:
                raise UnknownWorkspaceError(workspace)
            self._look_again(held)
            for digest in held.lacking:
                raise BlobMissingError(digest.hex(), self._store.folder)
            held.users += 1
        try:
            return lay_out(held.manifest, self._store, folder, is_wanted)
        except BlobMissingError:
            with self._turn:
                held.lacking = dict.fromkeys(self._store.lacks(held.nbytes_by_digest))
            raise
        finally:
            with self._turn:
                held.users -= 1

    # ------------------------------------------------------------ letting go

    def drop(self, workspace: str) -> None:
        """Hold it no longer; its contents stay until room is short."""
        with self._turn:
            if self._held_by_id.pop(workspace, None) is not None:
                self._store.unpin(workspace)

    def close(self) -> None:
        """Hold nothing any more, ever."""
        with self._turn:
            self._is_closed = True
            for workspace in list(self._held_by_id):
                self.drop(workspace)
            for incoming in self._incoming.values():
                self._store.abandon(incoming)
            self._incoming.clear()

    # ------------------------------------------------------------ private

    def _hold(self, manifest: Manifest, workspace: str) -> _Held:
        if manifest.id != workspace:
            raise ManifestError(
                "", f"it is the manifest of {manifest.id[:12]}, not of {workspace[:12]} as the request says"
            )
        nbytes_by_digest = manifest.digests()
        nbytes = sum(map(on_disk, nbytes_by_digest.values()))
        if nbytes > self._store.nbytes_max:
            cure = "exclude files from the workspace, or ask the machine's owner for a bigger store"
            raise QuotaExceededError("bytes of a workspace, in blocks", nbytes, self._store.nbytes_max, cure)
        self._store.pin(workspace, nbytes_by_digest)
        held = self._held_by_id[workspace] = _Held(manifest, nbytes_by_digest)
        try:
            while self._holds_much() and self._drop_oldest(workspace):
                continue
            self._with_room(workspace, lambda: self._store.put_manifest(manifest))
            held.lacking = dict.fromkeys(self._store.lacks(nbytes_by_digest))
        except BaseException:
            self.drop(workspace)
            raise
        return held

    def _holds_much(self) -> bool:
        entries = sum(len(held.manifest) for held in self._held_by_id.values())
        return len(self._held_by_id) > WORKSPACES_MAX or entries > ENTRIES_MAX

    def _load(self, workspace: str) -> _Held | None:
        """Hold a workspace that this space knows from earlier."""
        manifest = self._store.manifest(workspace, self._limits)
        return None if manifest is None else self._hold(manifest, workspace)

    def _look_again(self, held: _Held) -> None:
        """What lacked may have come for another workspace meanwhile; what was there is pinned."""
        if held.lacking:
            still = {digest: held.nbytes_by_digest[digest] for digest in held.lacking}
            held.lacking = dict.fromkeys(self._store.lacks(still))

    def _manifest(self, workspace: str) -> Manifest | None:
        held = self._held_by_id.get(workspace)
        return self._store.manifest(workspace, self._limits) if held is None else held.manifest

    def _get(self, workspace: str) -> _Held:
        self._check_open(workspace)
        if workspace not in self._held_by_id:
            raise UnknownWorkspaceError(workspace)
        return self._held_by_id[workspace]

    def _check_open(self, workspace: str) -> None:
        if self._is_closed:  # the lease ended while a thread was on its way here
            raise UnknownWorkspaceError(workspace)

    def _with_room(self, workspace: str, action: Callable[[], T]) -> T:
        """Do what takes room in the store; if there is none, other workspaces of this tenant let go of theirs."""
        while True:
            try:
                return action()
            except StoreFullError:
                if not self._drop_oldest(workspace):
                    raise

    def _drop_oldest(self, keep: str) -> bool:
        for workspace, held in self._held_by_id.items():
            if workspace != keep and not held.users:
                self.drop(workspace)
                return True
        return False
