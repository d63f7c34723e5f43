"""The ops of an offer over real streams: leases, admission, tickets, bad input. Its rooms are made of air."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from distributed.calls import connect, read, rpc, write
from distributed.errors import (
    AuthenticationError,
    BadRequestError,
    CommClosedError,
    LeaseOverError,
    OfferFullError,
    OfferWithdrawnError,
    PermissionDeniedError,
    ProtocolError,
    StreamingOpError,
    WorkerStartError,
)
from distributed.offers import crowding
from distributed.offers.housing import Housing, Look, Order
from distributed.offers.records import Limits
from distributed.offers.server import Offer
from distributed.offers.wire import RoomWish, tenant_root, to_wire
from distributed.process.folders import PREFIX
from distributed.protocol.codec import ErrorReply
from distributed.security.credentials import Credential
from distributed.security.keys import Keyring, keyring_from_master
from distributed.testing.mains import PlainMain

KEYS = keyring_from_master(bytes(32))
ALICE = Credential("alice", bytes(range(32)))


class AirRoom:
    """An `Opened` without a process."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.place = {"room": order.room, "worker": f"tcp://air:{order.room[5:]}", "pid": 1}
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ends: list[str] = []
        self.is_slow = False

    async def look(self) -> Look:
        return Look(1000, True, 0, 0)

    async def close(self, is_graceful: bool) -> None:
        self.ends.append("gracefully")
        if self.is_slow:
            await asyncio.shield(self.ended)
        self.end()

    async def kill(self) -> None:
        self.ends.append("killed")
        self.end()

    def end(self, cause: str = "asked to") -> None:
        if not self.ended.done():
            self.ended.set_result(cause)


class AirOpener:
    """Makes rooms of air; `gate` closed: it waits; `error`: it fails."""

    def __init__(self) -> None:
        self.rooms: dict[str, AirRoom] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.is_closed = False

    async def open(
        self,
        order: Order,
        workspace: str | None,
        scratch: str,
        shares_path: str | None,
        progress: Callable[[str], None],
    ) -> AirRoom:
        progress(f"making {order.room}")
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        room = self.rooms[order.room] = AirRoom(order)
        return room

    async def close(self) -> None:
        self.is_closed = True


async def lay_out(order: Order, folder: str) -> None:
    os.mkdir(folder)


@asynccontextmanager
async def offering(folder: Any, **limits: Any) -> AsyncIterator[tuple[Offer, AirOpener]]:
    opener = AirOpener()
    housing = Housing(opener, lay_out, lambda path: None, folder=str(folder))
    offer = Offer(
        Limits(**{"cores": 2, **limits}), housing, keys=KEYS, find_key={ALICE.name: ALICE.key}.get, pythons=["3.11"]
    )
    offer.start(0)
    try:
        yield offer, opener
    finally:
        await offer.close()
        assert opener.is_closed
        assert not [name for name in os.listdir(folder) if name.startswith(PREFIX)]


async def test_a_room_is_opened_found_again_and_closed(tmp_path: Any) -> None:
    async with offering(tmp_path) as (offer, opener), PlainMain(offer.address, KEYS) as main:
        room = await main.open_room(workspace="ab" * 32, threads=1, memory_nbytes=5_000_000)
        assert await main.open_room(workspace="ab" * 32) == room
        order = opener.rooms["room-1"].order
        assert order.keys.key_by_role == main.keys.key_by_role and order.threads == 1
        assert (await main.wait_notice("progress"))["line"] == "making room-1"
        assert await main.call("close_room", room="room-1") == {"closed": True}
        assert (await main.wait_notice("room-ended"))["is_expected"]
        assert opener.rooms["room-1"].ends == ["gracefully"]


async def test_a_room_that_cannot_be_opened_says_why_and_leaves_nothing(tmp_path: Any) -> None:
    async with offering(tmp_path) as (offer, opener), PlainMain(offer.address, KEYS) as main:
        opener.error = WorkerStartError("no more processes")
        with pytest.raises(WorkerStartError, match="no more processes"):
            await main.open_room()
        assert (await main.offer.call("offer_status"))["rooms"] == []


async def test_a_call_that_is_cancelled_takes_its_wish_back(tmp_path: Any) -> None:
    async with offering(tmp_path, rooms_max=1) as (offer, opener), PlainMain(offer.address, KEYS) as main:
        opener.gate.clear()
        first = asyncio.ensure_future(main.open_room(workspace="aa" * 32))
        second = asyncio.ensure_future(main.open_room(workspace="bb" * 32))
        await main.wait_notice("progress")
        second.cancel()
        while sum(tenant["wishes"] for tenant in (await main.offer.call("offer_status"))["tenants"]):
            await asyncio.sleep(0)
        opener.gate.set()
        assert (await first)["room"] == "room-1"


async def test_beats_are_answered_and_renew_the_lease(tmp_path: Any) -> None:
    """D14: a Main knows that its offer lives, and the offer that its Main does."""
    async with offering(tmp_path) as (offer, _), PlainMain(offer.address, KEYS, lease_s=0.5) as main:
        assert (await main.wait_notice("beat", 5))["number"] == 5


async def test_a_lease_that_runs_out_ends_with_a_last_word(tmp_path: Any) -> None:
    async with offering(tmp_path) as (offer, opener):
        stream = await connect(offer.address, keys=KEYS)
        tenant = secrets.token_hex(16)
        await write(stream, {"op": "join_offer", "tenant": tenant, "name": "silent", "keys": {
            role: bytes(32) for role in ("client", "worker")}, "lease_s": 0.01})  # fmt: skip
        assert (await read(stream))["lease_s"] == 0.5, "no shorter"
        async with rpc(offer.address, keys=KEYS) as calls:
            await calls.call("open_room", tenant=tenant, wish=to_wire(RoomWish("tcp://s:1")))
            ended = await read(stream)
            while ended["notice"] != "ended":
                ended = await read(stream)
            assert "lease" in ended["reason"]
            with pytest.raises(CommClosedError):
                await read(stream)
            assert opener.rooms["room-1"].ends == ["killed"]
            with pytest.raises(LeaseOverError):
                await calls.call("close_room", tenant=tenant, room="room-1")


async def test_a_second_stream_of_a_tenant_takes_the_place_of_the_first(tmp_path: Any) -> None:
    async with offering(tmp_path) as (offer, _), PlainMain(offer.address, KEYS) as main:
        first = main.stream
        assert (await main.join())["is_again"]
        while not first.closed():
            await asyncio.sleep(0)
        assert (await main.offer.call("offer_status"))["tenants"][0]["is_connected"]


async def test_guests_are_let_in_by_grants_and_may_not_do_the_owners_ops(tmp_path: Any) -> None:
    """D14: whom to admit: a grant lets another user's Main in, as a tenant and nothing else."""
    async with offering(tmp_path) as (offer, opener), PlainMain(offer.address, ALICE.keyring()) as guest:
        assert (await guest.open_room())["room"] == "room-1"
        for op in ("withdraw_offer", "return_offer", "offer_status", "ops"):
            with pytest.raises(PermissionDeniedError):
                await guest.offer.call(op)
        async with rpc(offer.address, keys=KEYS) as owner:
            assert (await owner.call("offer_status"))["tenants"][0]["grant"] == "alice"
            with pytest.raises(LeaseOverError):
                await owner.call("open_room", tenant=guest.tenant, wish=to_wire(RoomWish("tcp://s:1")))
        with pytest.raises(AuthenticationError):
            await connect(offer.address, keys=Credential("bob", bytes(32)).keyring())
        offer.dismiss("alice", "its grant has ended")
        assert (await guest.wait_notice("ended"))["reason"] == "its grant has ended"
        assert opener.rooms["room-1"].ends == ["killed"]


async def test_a_ticket_opens_rooms_for_its_workspace_only_and_ends_with_its_main(tmp_path: Any) -> None:
    """D20: what a Main hands to a room is worth less than what it has itself."""
    workspace, other = "aa" * 32, "bb" * 32
    async with offering(tmp_path) as (offer, opener), PlainMain(offer.address, KEYS) as main:
        own = Credential(tenant_root(main.tenant), main.ticket_key)
        ticket = own.ticket(workspace=workspace, expires_unix_s=time.time() + 100, depth=1)
        async with PlainMain(offer.address, ticket.keyring()) as below:
            await below.open_room(workspace=workspace)
            assert opener.rooms["room-1"].order.payer == main.tenant
            with pytest.raises(PermissionDeniedError):
                await below.open_room(workspace=other)
            last = ticket.ticket(depth=0).keyring()
            async with PlainMain(offer.address, last) as lowest:
                with pytest.raises(PermissionDeniedError):
                    await lowest.open_room(workspace=workspace)
            await main.leave()
            await below.wait_notice("ended")
            assert opener.rooms["room-1"].ends == ["killed"]
        with pytest.raises(AuthenticationError):
            await connect(offer.address, keys=ticket.keyring())


async def test_who_came_with_a_ticket_can_make_no_credential_that_is_worth_more(tmp_path: Any) -> None:
    workspace = "aa" * 32
    async with offering(tmp_path) as (offer, _), PlainMain(offer.address, KEYS) as main:
        ticket = Credential(tenant_root(main.tenant), main.ticket_key).ticket(workspace=workspace, depth=0)
        async with PlainMain(offer.address, ticket.keyring()) as below:
            with pytest.raises(AuthenticationError):
                await connect(offer.address, keys=Credential(tenant_root(below.tenant), below.ticket_key).keyring())


async def test_joining_needs_a_stream_of_its_own_and_well_formed_content(tmp_path: Any) -> None:
    async with offering(tmp_path) as (offer, _), rpc(offer.address, keys=KEYS) as calls:
        good: dict[str, Any] = {"tenant": "ab" * 16, "name": "main", "keys": {"client": bytes(32), "worker": bytes(32)}}
        with pytest.raises(StreamingOpError):
            await calls.call("join_offer", **good)
        faults: list[dict[str, Any]] = [
            {"tenant": "short"}, {"tenant": 5}, {"name": ""}, {"name": "a\nb"}, {"keys": {}}, {"lease_s": "long"},
            {"keys": {"client": b"short", "worker": bytes(32)}}, {"keys": {"king": bytes(32)}}, {"ticket_key": b"x"},
            {"lease_s": float("nan")}, {"name": "n" * 201},
        ]  # fmt: skip
        for bad in faults:
            with pytest.raises(BadRequestError):
                await calls.call("join_offer", **(good | bad))


@pytest.mark.parametrize(
    "bad",
    [
        {"workspace": "../../etc"},
        {"entry": "os; system"},
        {"roots": ["/etc"]},
        {"roots": ["a/../../b"]},
        {"entry_file": ".."},
        {"threads": 0},
        {"threads": True},
        {"memory_nbytes": -1},
        {"wait_s": float("inf")},
        {"resources": {"GPU": -1}},
        {"scheduler": ""},
        {"name": "x" * 300},
        {"name": "red\x1b[31m"},
        {"scheduler": "tcp://s:1\nINFO forged"},
        {"roots": ["a" * 4000] * 20},
        {"color": "red"},
    ],
)
async def test_a_bad_wish_is_refused_by_the_name_of_its_field(tmp_path: Any, bad: dict[str, Any]) -> None:
    async with offering(tmp_path) as (offer, opener), PlainMain(offer.address, KEYS) as main:
        with pytest.raises(BadRequestError, match="wish for a room"):
            await main.call("open_room", wish={"scheduler": "tcp://s:1", **bad})
        assert not opener.rooms


async def test_an_environment_is_checked_before_its_wish_is_kept(tmp_path: Any) -> None:
    async with offering(tmp_path) as (offer, _), PlainMain(offer.address, KEYS) as main:
        for bad in ("x" * 100, [["a"] * 100_000, [], ""], [["#" + "x" * 4_000_000], [], ""]):
            with pytest.raises(ProtocolError, match="environment"):
                await main.open_room(environment=bad)


async def test_a_guest_leaves_tenants_and_connections_to_others(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(crowding.why_too_many, "__defaults__", (3,))
    limits = {"tenants_max": 3, "tenants_per_grant_max": 1}
    async with offering(tmp_path, **limits) as (offer, _), PlainMain(offer.address, ALICE.keyring()) as main:
        with pytest.raises(OfferFullError, match="'alice' has 1"):
            await PlainMain(offer.address, ALICE.keyring()).join()
        ticket = Credential(tenant_root(main.tenant), main.ticket_key).ticket(depth=1)
        with pytest.raises(OfferFullError, match="'alice' has 1"):
            await PlainMain(offer.address, ticket.keyring()).join()
        streams = [await connect(offer.address, keys=keys.keyring()) for keys in (ALICE, ticket, ALICE)]
        await write(streams[2], {"op": "ping"})
        answer = await read(streams[2])
        assert isinstance(answer, ErrorReply) and "'alice': 4 is over" in answer["text"]
        async with PlainMain(offer.address, KEYS), PlainMain(offer.address, KEYS):
            assert len(offer._machine.tenants) == 3


async def test_nobody_may_call_without_having_joined(tmp_path: Any) -> None:
    async with offering(tmp_path) as (offer, _), rpc(offer.address, keys=KEYS) as calls:
        with pytest.raises(LeaseOverError):
            await calls.call("open_room", tenant="ab" * 16, wish=to_wire(RoomWish("tcp://s:1")))
        with pytest.raises(LeaseOverError):
            await calls.call("close_room", tenant="ab" * 16, room="room-1")


async def test_tenants_beyond_the_bound_hear_so(tmp_path: Any) -> None:
    async with offering(tmp_path, tenants_max=1) as (offer, _), PlainMain(offer.address, KEYS):
        with pytest.raises(OfferFullError, match="1 tenants"):
            await PlainMain(offer.address, KEYS).__aenter__()


async def test_a_withdrawal_tells_tenants_and_kills_after_the_grace(tmp_path: Any) -> None:
    """D15: grace, then kill; the Main hears what is left, and when it is returned."""
    async with offering(tmp_path) as (offer, opener), PlainMain(offer.address, KEYS) as main:
        await main.open_room()
        opener.rooms["room-1"].is_slow = True
        left = await main.offer.call("withdraw_offer", grace_s=0.05)
        assert left["is_withdrawn"] and left["cores"] == 0
        assert (await main.wait_notice("withdrawn"))["grace_s"] == 0.05
        assert "withdrawn" in (await main.wait_notice("room-ended"))["cause"]
        assert opener.rooms["room-1"].ends == ["gracefully", "killed"]
        with pytest.raises(OfferWithdrawnError):
            await main.open_room()
        assert not (await main.offer.call("return_offer"))["is_withdrawn"]
        assert (await main.wait_notice("returned"))["cores"] == 2
        assert (await main.open_room())["room"] == "room-2"
        faults: list[dict[str, Any]] = [{"cores": -1}, {"memory_nbytes": "all"}, {"grace_s": -1}]
        for bad in [*faults, {"grace_s": float("nan")}]:
            with pytest.raises(BadRequestError):
                await main.offer.call("withdraw_offer", **bad)


async def test_an_offer_that_ends_tells_its_tenants_and_ends_rooms_within_the_grace(tmp_path: Any) -> None:
    async with offering(tmp_path) as (offer, opener), PlainMain(offer.address, KEYS) as main:
        await main.open_room()
        offer.close_soon("SIGTERM", 10.0)
        assert "the offer ends" in (await main.wait_notice("ended"))["reason"]
        assert opener.rooms["room-1"].ends == ["gracefully"]
        assert await offer.finished == "SIGTERM"


async def test_a_room_that_dies_by_itself_is_told_of(tmp_path: Any) -> None:
    async with offering(tmp_path) as (offer, opener), PlainMain(offer.address, KEYS) as main:
        await main.open_room()
        opener.rooms["room-1"].end("signal SIGKILL")
        assert (await main.wait_notice("room-ended"))["cause"] == "signal SIGKILL"
        assert (await main.open_room())["room"] == "room-2"


async def test_whoever_says_something_else_than_dicts_is_shown_out(tmp_path: Any) -> None:
    async with offering(tmp_path) as (offer, _), PlainMain(offer.address, KEYS) as main:
        await write(main.stream, [1, 2])
        while not main.stream.closed():
            await asyncio.sleep(0.001)
        assert (await main.join())["is_again"]


def test_keys_are_in_no_repr() -> None:
    order = Order("room-1", RoomWish("tcp://s:1"), "t", "t", "main", Keyring({"client": b"secret"}), 1, None)
    assert "secret" not in repr(order)
