"""A Main's connection with one offer: it joins, keeps its lease alive, ships workspaces, opens rooms, comes back.

What is *not* here: which crew wants a room (`crew`), and what an offer says and means (`distributed.offers.wire`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any, Protocol

from distributed.calls import rpc
from distributed.comm.addresses import is_loopback, parse_address
from distributed.comm.connect import connect_address
from distributed.comm.stream import Stream
from distributed.dataclass import dataclass
from distributed.errors import (
    AuthenticationError,
    CommClosedError,
    CredentialError,
    DistributedError,
    LeaseOverError,
    OfferWithdrawnError,
    PermissionDeniedError,
    ProtocolError,
)
from distributed.offers.answers import info_from_wire, lent_from_wire, notice_from_wire, room_from_wire
from distributed.offers.wire import LEASE_S, OfferInfo, OpenRoom, RoomWish, tenant_root, to_wire
from distributed.protocol.codec import ErrorReply
from distributed.protocol.failure import exception_from_reply
from distributed.security.credentials import Credential
from distributed.security.keys import Keyring
from distributed.workspace.manifest import Manifest
from distributed.workspace.shipping import Contents, Progress, Shipped, ship

__all__ = ["LinkEvents", "OfferLink", "Tenant", "must_dial"]

logger = logging.getLogger(__name__)

PAUSE_S_FIRST, PAUSE_S_MAX = 0.1, 5.0  # between two tries to reach an offer; doubled each time
CONNECT_S = 3.0
BEATS = 4  # per lease
ASK = (
    "if it is another user's, ask for a grant (`distributed grant NAME` there) and name its file in "
    "setup(credential=); if it is yours, use the same key file (DISTRIBUTED_KEY_FILE)"
)
SHIP_AGAIN_MAX = 3  # an offer under pressure may drop a workspace between its arrival and the room


class LinkEvents(Protocol):
    """What a link tells the Main; all on the Main's loop."""

    def on_here(self, link: OfferLink) -> None:
        """We are its tenant, and it lends something."""

    def on_gone(self, link: OfferLink, for_ever: bool, reason: BaseException) -> None:
        """It is out of reach, or lends nothing now."""

    def on_room_ended(self, link: OfferLink, room: str) -> None:
        """A room that was open is not any more."""

    def on_progress(self, link: OfferLink, line: str) -> None:
        """What the offer does for a room that was asked for, for people."""


@dataclass(slots=True, frozen=True)
class Tenant:
    """What a Main is for all offers.

    Attributes:
        id: 32 hex digits that only this Main knows.
        name: for people.
        keys: its own; its rooms get them.
        ticket_key: of the credential of which tickets are made, see `tickets`.
        lease_s: how long an offer keeps what we have there when it hears nothing of us.
    """

    id: str
    name: str
    keys: Keyring
    ticket_key: bytes
    lease_s: float = LEASE_S

    @property
    def credential(self) -> Credential:
        """What lets others in at our offers in our name; make tickets of it before it leaves us."""
        return Credential(tenant_root(self.id), self.ticket_key)


class OfferLink:
    """See the module; made and used on the Main's loop.

    Args:
        address: of the offer.
        tenant: who we are.
        credential: what lets us in; None: the key of this user.
        events: told what happens.

    Attributes:
        info: what it lends, as it said last; None: we have not been there yet.
        credential: as the argument.
        is_here: we are its tenant, and it lends something.
        is_hopeless: it does not let us in, and we do not try again.
        trouble: why it is not here, for people.
        shipped: the workspace that it got last; None: it has none of ours.
    """

    def __init__(self, address: str, tenant: Tenant, credential: Keyring | None, events: LinkEvents) -> None:
        self.address = address
        self.info: OfferInfo | None = None
        self.is_here = False
        self.is_hopeless = False
        self.trouble: BaseException | None = None
        self._tenant = tenant
        self.credential = credential
        self._events = events
        self._calls = rpc(address, keys=credential, patient=False)
        self._rooms: dict[str, OpenRoom] = {}
        self.shipped: Manifest | None = None
        self._shipping = asyncio.Lock()  # one after the other, so that each is the base of the next
        self._stream: Stream | None = None
        self._is_closed = False

    # ------------------------------------------------------------ the lease

    async def run(self) -> None:
        """Be its tenant, again and again, until `close`, or until it does not let us in."""
        pause_s = PAUSE_S_FIRST
        patience: asyncio.TimerHandle | None = None
        loop = asyncio.get_running_loop()
        while not self._is_closed and not self.is_hopeless:
            try:
                stream, joined = await self._join()
                if patience is not None:
                    patience.cancel()
                    patience = None
                pause_s = PAUSE_S_FIRST
                self._on_joined(joined)
                await self._listen(stream)
            except AuthenticationError as error:
                is_stranger = self.credential is None and AuthenticationError.SAME_KEY in str(error)
                self._lose(AuthenticationError(self.address, error.reason, ASK) if is_stranger else error, True)
                return
            except (PermissionDeniedError, CredentialError) as error:
                self._lose(error, True)
                return
            except DistributedError as error:
                if self.is_hopeless:
                    return
                self.trouble = error
                if isinstance(error, LeaseOverError) or not self.is_here:
                    self._lose(error)
                elif patience is None:  # what is open there stays so as long as the lease lasts
                    patience = loop.call_later(self._tenant.lease_s, self._lose, error)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    def give_up(self, reason: BaseException) -> None:
        """It will never be there again, such as one of ours whose process has ended."""
        self._lose(reason, for_ever=True)

    async def close(self) -> None:
        """Leave: everything of ours there ends."""
        self._is_closed = True
        stream = self._stream
        if stream is not None and not stream.closed():
            with contextlib.suppress(
                DistributedError, TimeoutError
            ):  # it is gone, and what is ours goes with the lease
                stream.write_message_nowait({"leave": True})
                async with asyncio.timeout(1.0):
                    await stream.close_after_flush()
        await self._calls.close()

    async def _join(self) -> tuple[Stream, dict[str, Any]]:
        stream = await connect_address(self.address, CONNECT_S, None, self.credential)
        tenant = self._tenant
        try:
            stream.write_message_nowait({
                "op": "join_offer", "tenant": tenant.id, "name": tenant.name, "lease_s": tenant.lease_s,
                "keys": dict(tenant.keys.key_by_role), "ticket_key": tenant.ticket_key,
            })  # fmt: skip
            async with asyncio.timeout(CONNECT_S):
                return stream, self._notice(await stream.read_message(), "joined")
        except TimeoutError:
            stream.close()
            raise CommClosedError(self.address, "it accepted the connection but does not answer") from None
        except BaseException:
            stream.close()
            raise

    async def _listen(self, stream: Stream) -> None:
        """Hear it out, until the stream closes or it has been silent for a whole lease."""
        self._stream = stream
        beating = asyncio.ensure_future(self._beat(stream))
        try:
            while True:
                async with asyncio.timeout(self._tenant.lease_s):
                    notice = self._notice(await stream.read_message())
                self._on_notice(notice)
        except TimeoutError:
            raise CommClosedError(self.address, f"it was silent for {self._tenant.lease_s:g} s") from None
        finally:
            self._stream = None
            beating.cancel()
            stream.close()

    async def _beat(self, stream: Stream) -> None:
        number = 0
        while not stream.closed():
            number += 1
            with contextlib.suppress(CommClosedError):  # the listener hears of it, too
                stream.write_message_nowait({"beat": number})
            await asyncio.sleep(self._tenant.lease_s / BEATS)

    def _notice(self, message: Any, kind: str | None = None) -> dict[str, Any]:
        if isinstance(message, ErrorReply):
            error = exception_from_reply(message, self.address, False)
            raise error if isinstance(error, DistributedError) else ProtocolError(str(error))
        notice = notice_from_wire(message, self.address)
        if kind is not None and notice["notice"] != kind:
            raise ProtocolError(f"the offer at {self.address} says {notice['notice']!r:.40} instead of {kind!r}")
        return notice

    # ------------------------------------------------------------ what it says

    def _on_joined(self, joined: dict[str, Any]) -> None:
        self.info = info_from_wire(joined["offer"], self.address)
        self.trouble = None
        there = {str(room["room"]) for room in joined["rooms"]}
        for room in [room for room in self._rooms if room not in there]:
            self._end_room(room)
        if not there:
            self.shipped = None  # it may be another one, that knows nothing
        if self.info.is_withdrawn:
            self._lose(OfferWithdrawnError(self.address))
        else:
            self._be_here()

    def _on_notice(self, notice: dict[str, Any]) -> None:
        kind = notice["notice"]
        if kind == "room-ended":
            self._end_room(str(notice["room"]))
        elif kind == "progress":
            self._events.on_progress(self, str(notice["line"]))
        elif kind in ("withdrawn", "returned"):
            self._on_lent(notice)
        elif kind == "ended":
            raise LeaseOverError(self.address)

    def _on_lent(self, notice: dict[str, Any]) -> None:
        assert self.info is not None
        self.info = lent_from_wire(self.info, notice)
        if self.info.is_withdrawn:
            self._lose(OfferWithdrawnError(self.address))
        else:
            self._be_here()

    def _be_here(self) -> None:
        if not self.is_here:
            self.is_here = True
            self._events.on_here(self)

    def _lose(self, reason: BaseException, for_ever: bool = False) -> None:
        if self.is_hopeless:  # it was said already
            return
        self.is_here = False
        self.is_hopeless = for_ever
        self.trouble = reason
        if not isinstance(reason, OfferWithdrawnError):  # whose rooms end one by one, in their grace
            for room in list(self._rooms):
                self._end_room(room)
        self._events.on_gone(self, for_ever, reason)

    def _end_room(self, room: str) -> None:
        if self._rooms.pop(room, None) is not None:
            self._events.on_room_ended(self, room)

    # ------------------------------------------------------------ workspaces and rooms

    async def ship(
        self,
        workspace: Contents,
        manifest: Manifest,
        sources: Sequence[tuple[str, str]] = (),
        progress: Progress | None = None,
    ) -> Shipped:
        """Have it hold the whole workspace. Arguments and errors as `workspace.shipping.ship`."""

        async def call(op: str, /, **content: Any) -> Any:
            return await self._calls.call(op, tenant=self._tenant.id, **content)

        async with self._shipping:
            shipped = await ship(call, workspace, manifest, self.shipped, sources=sources, progress=progress)
            self.shipped = manifest
            return shipped

    async def open_room(self, wish: RoomWish) -> OpenRoom:
        """A room there; CommClosedError: it is out of reach. Others as `distributed.offers.wire` lists them."""
        answer = await self._calls.call("open_room", tenant=self._tenant.id, wish=to_wire(wish))
        room = room_from_wire(answer, self.address)
        self._rooms[room.room] = room
        return room

    async def close_room(self, room: str) -> None:
        """It is not needed any more. No error if it is gone, or its offer."""
        self._rooms.pop(room, None)
        with contextlib.suppress(DistributedError):
            await self._calls.call("close_room", tenant=self._tenant.id, room=room, is_graceful=False)


def must_dial(offer: str) -> bool:
    """Whether rooms of the offer at this address cannot reach our schedulers, which listen on this machine only."""
    place = parse_address(offer)
    return place.scheme in ("tcp", "tls") and not is_loopback(place.host)
