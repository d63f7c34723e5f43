"""The offer's half of shipping: ops that take in manifests and contents, tenant by tenant, and lay workspaces out.

Mount it on any server: ``server.add_handlers(receiver.handlers)``. What is *not* here: who a tenant is, and how other
offers are reached; the offer tells both by callables.

Rights: what one credential sent, it (and nobody else) need not send again; see `distributed.workspace.spaces`. A
request is checked in every respect before anything is kept: a content must belong to the manifest of a workspace that
this tenant has told of, have the size that stands there, and be what its digest says.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from distributed.core import Handler
from distributed.dataclass import dataclass
from distributed.errors import BadRequestError, DistributedError, QuotaExceededError, UnknownWorkspaceError
from distributed.workspace.dialing import dial
from distributed.workspace.holding import Holding
from distributed.workspace.incoming import PIECE_NBYTES
from distributed.workspace.laying import remove
from distributed.workspace.limits import DEFAULT_LIMITS, WorkspaceLimits
from distributed.workspace.manifest import DIGEST_NBYTES
from distributed.workspace.shipping import BLOBS_MAX, Call
from distributed.workspace.spaces import OWNER, Spaces

__all__ = ["Caller", "Receiver"]

logger = logging.getLogger(__name__)

THREADS = 4  # for disks; one tenant has at most half of them at a time
TENANT_THREADS = 2
REQUESTS_MAX = 64  # of one tenant at a time; a Main has a handful
IN_HAND_NBYTES_MAX = 16 * PIECE_NBYTES  # of contents that came and are not on disk, or were read and have not left
FETCH_S = 3.0  # of one request to fetch; the Main asks again, and so learns how it goes on
SOURCES_MAX = 16

_WORKSPACE = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")


@dataclass(slots=True, frozen=True)
class Caller:
    """Who calls an op.

    Attributes:
        tenant: the Main's lease; what is held for it ends with it.
        space: the credential it showed: `OWNER` (empty), or the name of a grant. Contents are shared within a space.
    """

    tenant: str
    space: str = OWNER


class Receiver:
    """The workspaces of an offer's tenants.

    Args:
        spaces: where contents lie.
        caller_of: ``caller_of(stream, tenant)``: who calls, from the stream and the request's ``tenant``; raises
            what the caller shall get if it is no tenant here. An empty `tenant` is the one whose ticket the stream
            shows: so another offer comes, to fetch.
        limits: on each workspace.
        folds_case: workspaces are laid out where ``A`` and ``a`` are one file, see `laying.folds_case`.

    Attributes:
        handlers: the ops ``workspace_offer``, ``workspace_blobs``, ``workspace_get``, ``workspace_fetch``.
    """

    def __init__(
        self,
        spaces: Spaces,
        caller_of: Callable[[Any, str], Caller],
        limits: WorkspaceLimits = DEFAULT_LIMITS,
        folds_case: bool = False,
    ) -> None:
        self.handlers: dict[str, Handler] = {
            "workspace_offer": self.workspace_offer,
            "workspace_blobs": self.workspace_blobs,
            "workspace_get": self.workspace_get,
            "workspace_fetch": self.workspace_fetch,
        }
        self._spaces = spaces
        self._caller_of = caller_of
        self._limits = limits
        self._folds_case = folds_case
        self._tenants: dict[str, _Tenant] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="workspaces")
        self._leaving: set[asyncio.Task[None]] = set()
        self._layings: set[threading.Event] = set()  # of workspaces that are being laid out: set when not wanted

    # ------------------------------------------------------------ ops

    async def workspace_offer(
        self, stream: Any, workspace: str, delta: Any = None, manifest: Any = None, tenant: str = ""
    ) -> dict[str, Any]:
        """What is lacking here of a workspace: ``{"lacks": [digest, ...]}``, or how to tell us of it.

        ``{"unknown": True}``: send the manifest, or a delta from another one; ``{"unknown_base": True}``: send the
        manifest. Contents that lack are taken from then on, and kept for this tenant.
        """
        home = self._enter(stream, tenant, workspace)
        async with home.request():
            return await self._in_thread(home.holding.offer, workspace, delta, manifest)

    async def workspace_blobs(
        self,
        stream: Any,
        workspace: str,
        digests: list[bytes],
        offsets: list[int],
        blobs: list[bytes],
        tenant: str = "",
    ) -> dict[str, Any]:
        """Take in contents, or pieces of them from `offsets` on; ``{"lacks": count}`` that are still to come.

        At most 4 MiB at a time. BlobMismatchError: other bytes than announced.
        """
        home = self._enter(stream, tenant, workspace)
        nbytes = _check_blobs(digests, offsets, blobs)
        async with home.request(nbytes):
            return {"lacks": await self._in_thread(home.holding.take, workspace, digests, offsets, blobs)}

    async def workspace_get(
        self, stream: Any, workspace: str, digests: list[bytes], offset: int = 0, tenant: str = ""
    ) -> dict[str, Any]:
        """Contents for another offer of the same tenant, from the first on (that from `offset` on), as many as fit.

        ``{"digests", "offsets", "blobs"}`` as `workspace_blobs` takes them. What is not here is not among them.
        """
        home = self._enter(stream, tenant, workspace)
        _check_digests(digests)
        if type(offset) is not int or offset < 0:
            raise BadRequestError("workspace_get: offset is a number of bytes")
        if getattr(stream, "nbytes_unsent", 0) > IN_HAND_NBYTES_MAX:
            raise QuotaExceededError("unread bytes", stream.nbytes_unsent, IN_HAND_NBYTES_MAX, "read what was sent")
        async with home.request(PIECE_NBYTES):
            return await self._in_thread(home.holding.give, workspace, digests, offset)

    async def workspace_fetch(
        self, stream: Any, workspace: str, sources: list[list[str]], tenant: str = ""
    ) -> dict[str, Any]:
        """Get what lacks from other offers, for three seconds; ``{"lacks": [digest, ...], "failed": [address, ...]}``.

        A source is its address and a ticket for this workspace there; it has failed if nothing came from it.
        """
        home = self._enter(stream, tenant, workspace)
        _check_sources(sources)
        failed = []
        async with home.request(PIECE_NBYTES), home.fetching:
            deadline = asyncio.get_running_loop().time() + FETCH_S
            for address, ticket in sources:
                if not await self._fetch(home, workspace, address, ticket, deadline):
                    failed.append(address)
            return {"lacks": await self._in_thread(home.holding.lacking, workspace), "failed": failed}

    # ------------------------------------------------------------ for the offer

    async def lay_out(self, caller: Caller, workspace: str, folder: str) -> None:
        """Make `folder`, a writable copy of the workspace. Cancelled: nothing stays.

        Raises:
            UnknownWorkspaceError, BlobMissingError: it must be shipped (again) first.
            LayOutError: this file system cannot hold it.
            StoreFullError: no room on the disk.
        """
        _check_workspace(workspace)
        home = self._tenants.get(caller.tenant)
        if home is not None:
            await self._lay_out(home, workspace, folder)
            return
        home = _Tenant(Holding(self._spaces.of(caller.space), self._limits, self._folds_case), caller.space)
        try:  # it sent this workspace in an earlier life of ours, and nothing since: nobody would forget it
            await self._lay_out(home, workspace, folder)
        finally:
            self._let_go(home.holding.close)

    def forget(self, tenant: str, workspace: str | None = None) -> None:
        """Its lease has ended, or it needs `workspace` no more: nothing is held for it any longer."""
        home = self._tenants.get(tenant) if workspace is not None else self._tenants.pop(tenant, None)
        if home is None:
            return
        if workspace is None:
            self._let_go(home.holding.close)
        else:
            self._let_go(functools.partial(home.holding.drop, workspace))

    async def close(self) -> None:
        """Let go of everything, and wait for what threads still do."""
        for tenant in list(self._tenants):
            self.forget(tenant)
        for is_unwanted in self._layings:
            is_unwanted.set()
        while self._leaving:
            await asyncio.wait(self._leaving)
        await asyncio.to_thread(self._threads.shutdown)
        self._spaces.close()

    # ------------------------------------------------------------ private

    def _enter(self, stream: Any, tenant: Any, workspace: Any) -> _Tenant:
        """Who calls, once it may use this workspace here."""
        _check_workspace(workspace)
        if type(tenant) is not str:
            raise BadRequestError("a tenant is named by a text")
        claims = getattr(getattr(stream, "peer", None), "claims", None)
        if claims is not None and claims.workspace not in (None, workspace):
            raise BadRequestError(f"the ticket is for workspace {claims.workspace[:12]}, not for {workspace[:12]}")
        return self._tenant(self._caller_of(stream, tenant))

    def _tenant(self, caller: Caller) -> _Tenant:
        home = self._tenants.get(caller.tenant)
        if home is None:
            holding = Holding(self._spaces.of(caller.space), self._limits, self._folds_case)
            home = self._tenants[caller.tenant] = _Tenant(holding, caller.space)
        if home.space != caller.space:
            raise BadRequestError(f"tenant {caller.tenant!r} came with another credential before")
        return home

    def _in_thread(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    def _left(self, leaving: asyncio.Task[None]) -> None:
        self._leaving.discard(leaving)
        if not leaving.cancelled() and (error := leaving.exception()) is not None:
            logger.warning("what a tenant held could not be let go of: %s", error)

    async def _lay_out(self, home: _Tenant, workspace: str, folder: str) -> None:
        is_unwanted = threading.Event()
        self._layings.add(is_unwanted)
        try:
            async with home.turn:
                laying = self._in_thread(home.holding.lay_out, workspace, folder, lambda: not is_unwanted.is_set())
                try:
                    is_whole = await asyncio.shield(laying)
                except asyncio.CancelledError:
                    is_unwanted.set()  # the thread looks at it before each file
                    await asyncio.shield(self._track(self._undo(laying, folder)))
                    raise
        finally:
            self._layings.discard(is_unwanted)
        if not is_whole:  # we close
            raise UnknownWorkspaceError(workspace)

    async def _undo(self, laying: asyncio.Future[bool], folder: str) -> None:
        await asyncio.wait([laying])
        if laying.exception() is None and laying.result():  # it was whole before the thread looked
            await self._in_thread(remove, folder)

    def _let_go(self, function: Callable[[], None]) -> None:
        async def run() -> None:
            await self._in_thread(function)

        self._track(run())

    def _track(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Something that `close` waits for."""
        task = asyncio.ensure_future(work)
        self._leaving.add(task)
        task.add_done_callback(self._left)
        return task

    async def _fetch(self, home: _Tenant, workspace: str, address: str, ticket: str, deadline: float) -> bool:
        """Get from one source what it has of what lacks; whether anything came, or nothing lacked."""
        before = home.fetched_nbytes
        lacking = await self._in_thread(home.holding.lacking, workspace)
        try:
            if lacking:
                async with asyncio.timeout_at(deadline), dial(address, ticket) as call:
                    await self._fetch_all(call, home, workspace, lacking)
        except (DistributedError, OSError) as error:  # TimeoutError among them; what came is kept
            logger.debug("fetching workspace %s from %s: %r", workspace[:12], address, error)  # the Main hears of it
        return not lacking or home.fetched_nbytes > before

    async def _fetch_all(self, call: Call, home: _Tenant, workspace: str, lacking: list[bytes]) -> None:
        offset = home.holding.end_of(lacking[0])  # of what came of it in the request before
        while lacking:
            asked = lacking[:BLOBS_MAX]
            answer = await call("workspace_get", workspace=workspace, digests=asked, offset=offset)
            digests, offsets, blobs = _columns(answer)
            if not set(digests) <= set(asked):
                raise BadRequestError("workspace_get: contents came that were not asked for")
            await self._in_thread(home.holding.take, workspace, digests, offsets, blobs)
            home.fetched_nbytes += sum(map(len, blobs))
            if digests[:1] == asked[:1] and blobs[0]:
                offset = offsets[0] + len(blobs[0])
                if offset < (home.holding.nbytes_of(workspace, asked[0]) or 0):
                    continue  # the rest of a big one
            offset = 0
            done = asked.index(digests[-1]) + 1 if digests else len(asked)  # what was skipped is not there
            lacking = lacking[done:]


class _Tenant:
    """What one tenant holds, and how much of us it may use at a time."""

    def __init__(self, holding: Holding, space: str) -> None:
        self.holding = holding
        self.space = space
        self.turn = asyncio.Semaphore(TENANT_THREADS)
        self.fetching = asyncio.Lock()
        self.fetched_nbytes = 0  # ever
        self._count = 0
        self._nbytes = 0

    @contextlib.asynccontextmanager
    async def request(self, nbytes: int = 0) -> AsyncIterator[None]:
        """A turn, waited for unless too much waits already (QuotaExceededError)."""
        cure = "wait for answers"
        if self._count >= REQUESTS_MAX:
            raise QuotaExceededError("requests of one tenant at once", self._count + 1, REQUESTS_MAX, cure)
        if self._nbytes + nbytes > IN_HAND_NBYTES_MAX:
            raise QuotaExceededError("bytes of one tenant at once", self._nbytes + nbytes, IN_HAND_NBYTES_MAX, cure)
        self._count += 1
        self._nbytes += nbytes
        try:
            async with self.turn:
                yield
        finally:
            self._count -= 1
            self._nbytes -= nbytes


def _check_workspace(workspace: Any) -> None:
    if type(workspace) is not str or not _WORKSPACE.fullmatch(workspace):
        raise BadRequestError("a workspace is named by its id, 64 hex digits")


def _check_sources(sources: Any) -> None:
    rule = f"sources is a list of at most {SOURCES_MAX} pairs of address and ticket"
    if type(sources) is not list or len(sources) > SOURCES_MAX:
        raise BadRequestError(rule)
    for source in sources:
        if type(source) is not list or len(source) != 2 or not all(type(part) is str for part in source):
            raise BadRequestError(rule)


def _check_digests(digests: Any) -> None:
    if type(digests) is not list or len(digests) > BLOBS_MAX:
        raise BadRequestError(f"digests is a list of at most {BLOBS_MAX}")
    if any(type(digest) is not bytes or len(digest) != DIGEST_NBYTES for digest in digests):
        raise BadRequestError(f"a digest has {DIGEST_NBYTES} bytes")


def _check_blobs(digests: Any, offsets: Any, blobs: Any) -> int:
    """Columns of one message with contents; their bytes."""
    _check_digests(digests)
    if type(offsets) is not list or type(blobs) is not list or not len(offsets) == len(blobs) == len(digests):
        raise BadRequestError("digests, offsets and blobs are lists of the same length")
    if any(type(offset) is not int or offset < 0 for offset in offsets) or any(
        type(blob) is not bytes for blob in blobs
    ):
        raise BadRequestError("offsets are numbers of bytes, blobs are bytes")
    nbytes = sum(map(len, blobs))
    if nbytes > PIECE_NBYTES:
        raise QuotaExceededError("bytes of contents in one message", nbytes, PIECE_NBYTES, "send them in pieces")
    return nbytes


def _columns(answer: Any) -> tuple[list[bytes], list[int], list[bytes]]:
    """What another offer answered, checked."""
    if type(answer) is not dict:
        raise BadRequestError("workspace_get: the answer is no dict")
    digests, offsets, blobs = (answer.get(name) for name in ("digests", "offsets", "blobs"))
    _check_blobs(digests, offsets, blobs)
    return digests, offsets, blobs  # type: ignore[return-value]
