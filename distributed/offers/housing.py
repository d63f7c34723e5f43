"""`Housing`: the rooms of an offer, from the order to the last file removed. It decides nothing; `tenants` does.

    begin ─▶ workspace laid out ─▶ environment, process (`opening`) ─▶ on_opened
      ... ─▶ process gone ─▶ folder removed ─▶ on_gone

Each room has a folder of its own, which is locked by this process: what a killed offer left, the next one removes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from distributed.dataclass import dataclass, field
from distributed.offers.wire import RoomWish
from distributed.process.folders import Folder, make_folder
from distributed.security.keys import Keyring

__all__ = ["Housing", "Look", "Opened", "Opener", "Order"]

KILL_S = 5.0  # for a killed room to be gone


@dataclass(slots=True)
class Order:
    """A room to be made: its name, the wish for it, whose it is, and what it is allowed.

    Attributes:
        payer: the tenant whose share of the slots it uses: itself, or the Main that made its ticket.
        tenant_name: for people.
        keys: of the tenant, for all that the room does.
    """

    room: str
    wish: RoomWish
    tenant: str
    payer: str
    tenant_name: str
    keys: Keyring = field(repr=False)
    threads: int
    memory_limit_nbytes: int | None


@dataclass(slots=True)
class Look:
    """How a room is: what it takes, whether nothing runs or waits there, what it holds, how many slots run."""

    memory_nbytes: int
    is_idle: bool
    holds_nbytes: int
    running: int


class Opened(Protocol):
    """A room that is open."""

    @property
    def place(self) -> dict[str, Any]:
        """An `OpenRoom` as a dict."""

    @property
    def ended(self) -> asyncio.Future[str]:
        """Done when it has ended, by itself or not: why."""

    async def look(self) -> Look:
        """How it is now; within half a second."""

    async def close(self, is_graceful: bool) -> None:
        """End it; gracefully: others take over what it holds first."""

    async def kill(self) -> None:
        """End it at once."""


class Opener(Protocol):
    """What makes rooms of orders."""

    async def open(
        self,
        order: Order,
        workspace: str | None,
        scratch: str,
        shares_path: str | None,
        progress: Callable[[str], None],
    ) -> Opened:
        """A room that has met its scheduler; cancelled or failed, nothing stays.

        Args:
            workspace: folder where its workspace is laid out; None: it has none.
            scratch: folder of its own for all else.
            shares_path: see `Worker`.
            progress: told lines for people.
        """

    async def close(self) -> None:
        """Let go of processes and threads."""


class SharesServer(Protocol):
    """What tells rooms how many slots they may use, see `sharing`."""

    async def open_room(self, room: str, tenant: str, nthreads: int, weight: float = 1.0) -> str:
        """The path that its worker connects to."""

    def close_room(self, room: str) -> None:
        """It has ended."""

    def set_cores(self, cores: int) -> None:
        """So many slots there are."""

    def shares(self) -> dict[str, dict[str, float]]:
        """What tenants use."""

    async def close(self) -> None:
        """The end."""


LayOut = Callable[[Order, str], Awaitable[Any]]
Remove = Callable[[str], object]


@dataclass(slots=True)
class _Stay:
    """One room.

    Attributes:
        opened: once it is open; `why` it is to end, once it is; `is_over`: nothing is left to end.
        folder: as long as there is one.
        closing: what ends it; hurry: set when its grace is taken away.
    """

    order: Order
    life: asyncio.Task[None] | None = None
    opened: Opened | None = None
    folder: Folder | None = None
    why: str = ""
    is_over: bool = False
    closing: asyncio.Task[None] | None = None
    hurry: asyncio.Event = field(default_factory=asyncio.Event)


class Housing:
    """Makes and ends rooms.

    Args:
        opener: makes them.
        lay_out: ``await lay_out(order, folder)`` makes the order's workspace there.
        remove: removes a workspace, also where its users took away their own rights.
        sharing: tells them how many slots they may use; None: as many as they have.
        folder: where their folders are made; None: the system's place for temporary files.
        clear: awaited in the end, when nothing is left, to close what the other parts stand on.
    """

    def __init__(
        self,
        opener: Opener,
        lay_out: LayOut,
        remove: Remove,
        sharing: SharesServer | None = None,
        folder: str | None = None,
        clear: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._opener = opener
        self._lay_out = lay_out
        self._remove = remove
        self._sharing = sharing
        self._folder = folder
        self._clear_up = clear
        self._stays: dict[str, _Stay] = {}
        self._on_gone: Callable[[str, str], object] = lambda room, cause: None
        self._on_progress: Callable[[str, str, str], object] = lambda tenant, room, line: None

    def attach(self, on_gone: Callable[[str, str], object], on_progress: Callable[[str, str, str], object]) -> None:
        """Tell ``on_gone(room, cause)`` and ``on_progress(tenant, room, line)`` from now on."""
        self._on_gone, self._on_progress = on_gone, on_progress

    def begin(
        self,
        order: Order,
        on_opened: Callable[[str, dict[str, Any]], object],
        on_failed: Callable[[str, Exception], object],
    ) -> None:
        """Make a room; ``on_opened(room, place)`` and later `on_gone`, or ``on_failed(room, error)`` alone."""
        stay = self._stays[order.room] = _Stay(order)
        stay.life = asyncio.ensure_future(self._live(stay, on_opened, on_failed))

    def end(self, room: str, cause: str, grace_s: float) -> None:
        """End it, see `End`; one that ends gracefully can be told to hurry. No error if it is gone."""
        stay = self._stays.get(room)
        if stay is None:
            return
        is_first, stay.why = not stay.why, stay.why or cause
        if stay.is_over:
            return
        if stay.opened is None:
            assert stay.life is not None
            if is_first:  # a second time would disturb it in clearing up
                stay.life.cancel()
            return
        if stay.closing is None:
            stay.closing = asyncio.ensure_future(self._close(stay, stay.opened, grace_s))
        elif grace_s <= 0:
            stay.hurry.set()

    async def look(self) -> dict[str, Look]:
        """How all open rooms are now."""
        opened = {room: stay.opened for room, stay in self._stays.items() if stay.opened is not None}
        looks = await asyncio.gather(*(each.look() for each in opened.values()))
        return dict(zip(opened, looks, strict=True))

    def allow(self, cores: int) -> None:
        """So many slots are there for all rooms together."""
        if self._sharing is not None:
            self._sharing.set_cores(cores)

    def shares(self) -> dict[str, dict[str, float]]:
        """By tenant: ``slots`` in use, ``waiting``, ``slot_seconds``; empty without sharing."""
        return {} if self._sharing is None else self._sharing.shares()

    async def close(self) -> None:
        """End everything at once, and wait until nothing is left."""
        for room in list(self._stays):
            self.end(room, "the offer ends", 0.0)
        lives = [stay.life for stay in self._stays.values() if stay.life is not None]
        if lives:
            await asyncio.wait(lives)
        if self._sharing is not None:
            await self._sharing.close()
        await self._opener.close()
        if self._clear_up is not None:
            await self._clear_up()

    # ------------------------------------------------------------ private

    async def _live(
        self,
        stay: _Stay,
        on_opened: Callable[[str, dict[str, Any]], object],
        on_failed: Callable[[str, Exception], object],
    ) -> None:
        """All of a room's life."""
        room, cause, failure = stay.order.room, "", None
        try:
            stay.opened = await self._open(stay)
            on_opened(room, stay.opened.place)
            cause = await asyncio.shield(stay.opened.ended)
        except asyncio.CancelledError:
            if not stay.why:  # not by `end`: our loop stops
                raise
        except Exception as error:  # the boundary: whoever wished for it hears why
            failure = error
        finally:
            stay.is_over = True
            await self._clear(stay)
            del self._stays[room]
        if failure is not None and stay.opened is None:
            on_failed(room, failure)
        else:
            self._on_gone(room, stay.why or cause or f"its guard failed: {failure}")

    async def _open(self, stay: _Stay) -> Opened:
        order = stay.order
        stay.folder = make_folder(self._folder)
        workspace = None
        if order.wish.workspace is not None:
            workspace = os.path.join(stay.folder.path, "workspace")
            await self._lay_out(order, workspace)
        shares_path = None
        if self._sharing is not None:
            shares_path = await self._sharing.open_room(order.room, order.payer, order.threads)

        def progress(line: str) -> None:
            self._on_progress(order.tenant, order.room, line)

        return await self._opener.open(order, workspace, stay.folder.path, shares_path, progress)

    async def _close(self, stay: _Stay, opened: Opened, grace_s: float) -> None:
        if grace_s <= 0:
            await opened.kill()
            return
        retiring = asyncio.ensure_future(opened.close(is_graceful=True))
        hurrying = asyncio.ensure_future(stay.hurry.wait())
        waited: list[asyncio.Future[Any]] = [retiring, hurrying]
        await asyncio.wait(waited, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        hurrying.cancel()
        if not retiring.done():
            await opened.kill()
        await retiring  # its end comes with the process

    async def _clear(self, stay: _Stay) -> None:
        """Leave nothing of it."""
        if stay.closing is not None:
            await asyncio.wait([stay.closing], timeout=KILL_S)
        if self._sharing is not None:
            self._sharing.close_room(stay.order.room)
        folder, stay.folder = stay.folder, None
        if folder is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._remove_all, folder)

    def _remove_all(self, folder: Folder) -> None:
        self._remove(os.path.join(folder.path, "workspace"))
        folder.remove()
