"""`Offer`: the server that lends what a machine's owner offers. It translates; `tenants` decides, `housing` does.

Ops and notices are described in `distributed.offers.wire`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distributed.comm.dialled import wait_here
from distributed.comm.stream import Stream
from distributed.core import Handler, Server
from distributed.driver import Driver
from distributed.errors import (
    BadRequestError,
    CommClosedError,
    LeaseOverError,
    PermissionDeniedError,
    ProtocolError,
    StreamingOpError,
)
from distributed.offers.crowding import why_too_many
from distributed.offers.housing import Housing, Order
from distributed.offers.records import (
    Allow,
    Answer,
    Begin,
    Cast,
    CloseOffer,
    CloseRoom,
    Disconnected,
    End,
    Forget,
    Heard,
    Join,
    Leave,
    Limits,
    Notify,
    Refuse,
    ReturnOffer,
    RoomFailed,
    RoomGone,
    RoomOpened,
    RoomSeen,
    State,
    Tick,
    Unwish,
    Wish,
    WithdrawOffer,
)
from distributed.offers.status import status_of
from distributed.offers.tenants import Tenants
from distributed.offers.wire import (
    LEASE_S,
    OFFER_PORT,
    TICKETS,
    OfferInfo,
    check_keys,
    check_lease,
    check_name,
    check_tenant,
    check_ticket_key,
    tenant_root,
    to_wire,
    wish_from_wire,
)
from distributed.protocol.failure import error_reply
from distributed.security.credentials import NO_CLAIMS, FindKey
from distributed.security.keys import Keyring
from distributed.units import MiB
from distributed.versions import PYTHON_MINOR
from distributed.workspace.receiving import Caller

__all__ = ["GRACE_S", "Offer"]

logger = logging.getLogger(__name__)

MESSAGE_NBYTES_MAX = 64 * MiB  # of one message of a Main, who may be a guest: the longest are manifests, 16 MiB

GRACE_S = 30.0  # of a withdrawal that names none
LOOK_S, LOOK_WANTING_S = 0.5, 0.1  # between two looks at all rooms; while a wish waits for one that is idle
LAST_WORD_S = 1.0  # for what was said to a tenant last to leave; then its streams are closed
END_S = 10.0  # for rooms to be gone, beyond the grace of the close


class Offer(Server):
    """Lends cores and memory of this machine to Mains that hold a credential.

    Args:
        limits: what is lent.
        housing: makes and ends rooms; closed with this.
        tags: what `platform=` may match.
        pythons: minor versions that rooms can have.
        workspace_ops: of a `Receiver`, served beside ours.
        forget: told of a tenant that is none any more, to let go of what is its own.
        keys: whom to let in; None: this user's key file.
        find_key: of grants, by name; None: nobody else is let in.
    """

    default_port = OFFER_PORT

    def __init__(
        self,
        limits: Limits,
        housing: Housing,
        *,
        tags: Sequence[str] = (),
        pythons: Sequence[str] = (),
        workspace_ops: Mapping[str, Handler] | None = None,
        forget: Callable[[str], object] | None = None,
        keys: Keyring | None = None,
        find_key: FindKey | None = None,
    ) -> None:
        super().__init__(keys=keys, max_buffer_size=MESSAGE_NBYTES_MAX, find_key=self._find_key)
        self._find_granted = find_key or (lambda name: None)
        self.housing = housing
        self.tags = list(tags)
        self.pythons = list(pythons)
        self.finished: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._machine = Tenants(limits)
        self._driver = Driver(
            self._machine,
            {
                Allow: lambda effect: housing.allow(effect.cores),
                Answer: self._answer,
                Begin: self._begin,
                Cast: self._cast,
                End: lambda effect: housing.end(effect.room, effect.cause, effect.grace_s),
                Forget: self._forget,
                Notify: self._notify,
                Refuse: self._refuse,
            },
            Tick,
            self._on_failure,
        )
        self._forget_there = forget or (lambda tenant: None)
        self._streams: dict[str, tuple[int, Any]] = {}  # of tenants that are connected: number and stream
        self._keys_of: dict[str, Keyring] = {}
        self._ticket_keys: dict[str, bytes] = {}  # of tenants, by the name of their tickets
        self._closing_streams: set[asyncio.Future[None]] = set()
        self._requests: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._looking: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        housing.attach(self._on_gone, self._on_progress)
        self.add_handlers(workspace_ops or {})
        self.add_handlers({
            "offer_info": self.offer_info,
            "join_offer": self.join_offer,
            "open_room": self.open_room,
            "close_room": self.close_room,
            "serve_scheduler": wait_here,
            "offer_status": self.offer_status,
            "withdraw_offer": self.withdraw_offer,
            "return_offer": self.return_offer,
        })  # fmt: skip

    # ------------------------------------------------------------ life

    def start(self, port: Any = None, address: str = "127.0.0.1", insecure: bool = False, tls: bool = False) -> Offer:
        """Listen, as `Server.listen`, and look after rooms."""
        self.listen(port, address, insecure, tls)
        self._machine.offer = self.address
        self._looking = asyncio.ensure_future(self._look_after())
        self._looking.add_done_callback(self._on_looked)
        return self

    async def close(self, reason: str = "closed", grace_s: float = 0.0) -> None:
        """End all rooms, within `grace_s`, then all tenants, then listen no more. A second call ends the grace."""
        self._driver.handle(CloseOffer(grace_s))
        if self.finished.done():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s + END_S):
                while self._machine.rooms:
                    self._empty.clear()
                    await self._empty.wait()
        if self.finished.done():
            return
        for tenant in list(self._machine.tenants):
            self._driver.handle(Leave(tenant, f"the offer ends: {reason}"))
        if self._looking is not None:
            self._looking.cancel()
        self._driver.stop()
        await self.housing.close()
        if self._closing_streams:
            await asyncio.wait(self._closing_streams, timeout=LAST_WORD_S)
        self.stop()
        if not self.finished.done():
            self.finished.set_result(reason)

    def close_soon(self, reason: str, grace_s: float = 0.0) -> None:
        """`close`, without waiting for it; `finished` tells."""
        self._closing = asyncio.ensure_future(self.close(reason, grace_s))

    @property
    def is_closing(self) -> bool:
        """Whether it ends, or has ended."""
        return self._machine.is_closed

    # ------------------------------------------------------------ ops

    def identity(self, stream: Any) -> dict[str, Any]:
        """Who this is: type, id, and whether it lends anything."""
        return {**super().identity(stream), "is_withdrawn": self._machine.is_withdrawn}

    def offer_info(self, stream: Any = None) -> dict[str, Any]:
        """What is lent here, see `OfferInfo`."""
        machine = self._machine
        info = OfferInfo(
            id=self.id,
            address=self.address,
            cores=machine.cores,
            memory_nbytes=machine.memory_nbytes,
            tags=self.tags,
            platform=sys.platform,
            python=PYTHON_MINOR,
            pythons=self.pythons,
            rooms=sum(room.state is State.OPEN for room in machine.rooms.values()),
            rooms_max=machine.limits.rooms_max,
            is_withdrawn=machine.is_withdrawn,
        )
        return to_wire(info)

    async def join_offer(
        self,
        stream: Any,
        tenant: str,
        name: str,
        keys: dict[str, bytes],
        lease_s: float = LEASE_S,
        ticket_key: bytes | None = None,
    ) -> dict[str, Any]:
        """Become a tenant, or be one again, on a stream of its own; see `distributed.offers.wire`."""
        tenant, name, lease_s = check_tenant(tenant), check_name(name), check_lease(lease_s)
        keyring, ticket_key = Keyring(check_keys(keys), needs_certificate=False), check_ticket_key(ticket_key)
        if not hasattr(stream, "read_message"):
            raise StreamingOpError("join_offer")
        owner = self._owner_of(stream)
        error = self._machine.why_not_joined(tenant, owner)
        if error is not None:
            raise error
        self._number += 1
        number = self._number
        _, former = self._streams.pop(tenant, (0, None))
        if former is not None:  # its Main has given it up, or we would not see another one
            former.close()
        self._streams[tenant] = (number, stream)
        self._keys_of[tenant] = keyring
        if (
            ticket_key is not None and stream.peer.claims == NO_CLAIMS
        ):  # else tickets of the ticket will do: no wider ones
            self._ticket_keys[tenant_root(tenant)] = ticket_key
        self._driver.handle(Join(tenant, owner, name, lease_s, number))
        try:
            await self._listen_to(stream, tenant)
        finally:
            if self._streams.get(tenant, (0, None))[0] == number:
                del self._streams[tenant]
            self._driver.handle(Disconnected(tenant, number))
            self._close_stream(stream)  # it is good for nothing else
        await stream.close_after_flush()  # so that nothing follows the last word
        raise LeaseOverError(self.address)

    async def open_room(self, stream: Any, tenant: str, wish: dict[str, Any]) -> dict[str, Any]:
        """A room for this tenant, see `RoomWish` and `OpenRoom`; waits until it is open."""
        checked = wish_from_wire(wish)
        claims = stream.peer.claims
        if claims.depth == 0 or claims.workspace not in (None, checked.workspace):
            raise PermissionDeniedError("open_room", f"guest with a ticket for {claims.workspace or 'any workspace'}")
        self._number += 1
        request = self._number
        answer = self._requests[request] = asyncio.get_running_loop().create_future()
        self._driver.handle(Wish(check_tenant(tenant), self._owner_of(stream), request, checked))
        try:
            opened: dict[str, Any] = await answer
            return opened
        finally:
            del self._requests[request]
            if answer.cancelled():
                self._driver.handle(Unwish(request))

    async def close_room(self, stream: Any, tenant: str, room: str, is_graceful: bool = True) -> dict[str, Any]:
        """The tenant does not need this room any more; whether it had it."""
        found = self._machine.tenant_of(check_tenant(tenant), self._owner_of(stream)).rooms
        if type(room) is not str or room not in found:
            return {"closed": False}
        self._driver.handle(CloseRoom(room, bool(is_graceful)))
        return {"closed": True}

    # ------------------------------------------------------------ ops of the owner

    def offer_status(self, stream: Any = None) -> dict[str, Any]:
        """What is lent, to whom, and what waits; for people and programs."""
        now = asyncio.get_running_loop().time()
        return {"offer": self.offer_info(), **status_of(self._machine, self.housing.shares(), now)}

    def withdraw_offer(
        self, stream: Any, cores: int | None = None, memory_nbytes: int | None = None, grace_s: float = GRACE_S
    ) -> dict[str, Any]:
        """Take so much back, None and None: everything; what is left. What is too much ends after `grace_s`."""
        for what, value in (("cores", cores), ("memory_nbytes", memory_nbytes)):
            if value is not None and (type(value) is not int or value < 0):
                raise BadRequestError(f"{what} is a number >= 0, or nothing; not {value!r:.100}")
        if type(grace_s) not in (int, float) or not 0 <= grace_s <= 86_400:
            raise BadRequestError("grace_s is a number of seconds, at most a day")
        self._driver.handle(WithdrawOffer(cores, memory_nbytes, grace_s))
        return self.offer_info()

    def return_offer(self, stream: Any) -> dict[str, Any]:
        """Lend everything again; what is lent."""
        self._driver.handle(ReturnOffer())
        return self.offer_info()

    def caller_of(self, stream: Any, tenant: str) -> Caller:
        """Whose call it is, for the ops of a `Receiver`; that renews its lease.

        Args:
            tenant: empty: the one whose ticket the stream shows, such as another offer's that fetches.
        Raises:
            LeaseOverError: it is no tenant here.
        """
        name = stream.peer.name or None
        if tenant == "":
            found = self._machine.tenant_by_root(name or "")
        else:
            found = self._machine.tenant_of(check_tenant(tenant), name)
            self._driver.handle(Heard(found.id))
        return self.caller_by_tenant(found.id)

    def caller_by_tenant(self, tenant: str) -> Caller:
        """The same for one that is known to be a tenant."""
        return Caller(tenant, self._machine.space_of(tenant))

    def dismiss(self, grant: str, reason: str) -> None:
        """End every tenant that this grant has let in, and its connections; `find_key` does not know it any more."""
        self._leave_all(grant, reason)
        asyncio.get_running_loop().call_later(LAST_WORD_S, self._show_out, grant, reason)

    def _leave_all(self, grant: str, reason: str) -> None:
        for tenant in [tenant.id for tenant in self._machine.tenants.values() if tenant.owner == grant]:
            self._driver.handle(Leave(tenant, reason))

    def _show_out(self, grant: str, reason: str) -> None:
        self._leave_all(grant, reason)  # those that joined meanwhile, on a connection that they had
        self.cut_off(grant)

    # ------------------------------------------------------------ performers

    def _begin(self, effect: Begin) -> None:
        room = self._machine.rooms[effect.room]
        tenant = self._machine.tenants[room.tenant]
        limit = room.wish.memory_nbytes or self._machine.memory_nbytes
        if limit is not None and self._machine.memory_nbytes is not None:
            limit = min(limit, self._machine.memory_nbytes)
        payer, keys = self._machine.payer_of(tenant.id), self._keys_of[tenant.id]
        order = Order(room.id, room.wish, tenant.id, payer, tenant.name, keys, room.threads, limit)
        self.housing.begin(order, self._on_opened, self._on_not_opened)

    def _answer(self, effect: Answer) -> None:
        request = self._requests.get(effect.request)
        if request is not None and not request.done():
            request.set_result(effect.place)

    def _refuse(self, effect: Refuse) -> None:
        request = self._requests.get(effect.request)
        if request is not None and not request.done():
            request.set_exception(effect.error)

    def _notify(self, effect: Notify) -> None:
        notice = effect.notice
        if notice["notice"] == "joined":
            notice = {**notice, "offer": self.offer_info()}
        self._say(effect.tenant, notice)

    def _cast(self, effect: Cast) -> None:
        for tenant in list(self._streams):
            self._say(tenant, effect.notice)

    def _say(self, tenant: str, notice: dict[str, Any]) -> None:
        _, stream = self._streams.get(tenant, (0, None))
        if stream is not None and not stream.closed():
            try:
                stream.write_message_nowait(notice)
            except CommClosedError:  # it does not read, or is gone just now; its lease runs on
                stream.close()

    def _forget(self, effect: Forget) -> None:
        logger.info("a tenant is gone: %s", effect.reason)
        self._say(effect.tenant, {"notice": "ended", "reason": effect.reason})
        _, stream = self._streams.pop(effect.tenant, (0, None))
        if stream is not None:
            self._close_stream(stream)
        self._keys_of.pop(effect.tenant, None)
        root = tenant_root(effect.tenant)
        if self._ticket_keys.pop(root, None) is not None:
            asyncio.get_running_loop().call_later(LAST_WORD_S, self.cut_off, root)
        self._forget_there(effect.tenant)

    def _close_stream(self, stream: Any) -> None:
        """Let it close when it has said all."""
        closing = asyncio.ensure_future(stream.close_after_flush())
        self._closing_streams.add(closing)
        closing.add_done_callback(self._closing_streams.discard)
        closing.add_done_callback(lambda done: done.cancelled() or done.exception())  # it is closed either way

    # ------------------------------------------------------------ what happens

    async def _listen_to(self, stream: Any, tenant: str) -> None:
        """What a tenant says until it leaves, or its stream closes (CommClosedError)."""
        while True:
            said = await stream.read_message()
            if type(said) is not dict:
                raise ProtocolError("a tenant says dicts: {'beat': number} or {'leave': True}")
            if said.get("leave"):
                self._driver.handle(Leave(tenant, "its Main has left"))
                return
            self._driver.handle(Heard(tenant))
            if type(said.get("beat")) is int:
                self._say(tenant, {"notice": "beat", "number": said["beat"]})

    def _on_stream(self, stream: Stream) -> None:
        others = [connection.stream.peer.name for connection in self._connections]
        error = why_too_many(stream.peer.name, others, self._machine.grant_of)
        if error is None:
            super()._on_stream(stream)
            return
        stream.write_message_nowait(error_reply(error))
        self._close_stream(stream)

    def _find_key(self, name: str) -> bytes | None:
        """Of a credential: a tenant's, for its tickets, or a grant."""
        if name.startswith(TICKETS):
            return self._ticket_keys.get(name)
        return self._find_granted(name)

    def _owner_of(self, stream: Any) -> str | None:
        """The name that a peer has shown, of a grant or a tenant's ticket; None: the owner's own key."""
        return stream.peer.name or None

    def _on_opened(self, room: str, place: dict[str, Any]) -> None:
        self._driver.handle(RoomOpened(room, place))

    def _on_not_opened(self, room: str, error: Exception) -> None:
        self._driver.handle(RoomFailed(room, error))
        self._note_empty()

    def _on_gone(self, room: str, cause: str) -> None:
        self._driver.handle(RoomGone(room, cause))
        self._note_empty()

    def _note_empty(self) -> None:
        if not self._machine.rooms:
            self._empty.set()

    def _on_progress(self, tenant: str, room: str, line: str) -> None:
        self._say(tenant, {"notice": "progress", "room": room, "line": line})

    async def _look_after(self) -> None:
        while True:
            is_wanting = any(room.state is State.ASKED for room in self._machine.rooms.values())
            await asyncio.sleep(LOOK_WANTING_S if is_wanting else LOOK_S)
            for room, look in (await self.housing.look()).items():
                self._driver.handle(RoomSeen(room, look.memory_nbytes, look.is_idle, look.holds_nbytes, look.running))

    def _on_looked(self, done: asyncio.Task[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self._on_failure(error)

    def _on_failure(self, error: BaseException) -> None:
        """Our own fault: nobody can be served any more, and whoever started us hears why."""
        if not self.finished.done():
            self.finished.set_exception(error)
