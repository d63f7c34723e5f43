"""Guests: somebody with a named credential gets in as that name, may do what guests may, and is cut off again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from distributed.comm import connect as connecting
from distributed.core import Server, connect, rpc, to_serialize
from distributed.errors import AuthenticationError, CommClosedError, PermissionDeniedError, RemoteError
from distributed.security import certificates, permissions
from distributed.security.certificates import mint
from distributed.security.credentials import Claims, Credential
from distributed.security.keys import Keyring, keyring, shared_keyring

KEY = b"a" * 32
ALICE = Credential("alice", KEY)


class Lender(Server):
    """Tells its callers who they are."""

    def __init__(self) -> None:
        self.keys_by_name = {"alice": KEY}
        super().__init__({"who": self.who, "secret": self.who}, find_key=self.keys_by_name.get)

    def who(self, stream: Any, blob: bytes = b"") -> dict[str, Any]:
        claims = stream.peer.claims
        return {"role": stream.peer.role, "name": stream.peer.name, "depth": claims.depth, "nbytes": len(blob)}


@pytest.fixture
def lent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The op ``who`` is open to guests."""
    monkeypatch.setitem(permissions._ROLES_BY_OP, "who", permissions._TENANTS)


@asynccontextmanager
async def lender(address: str = "tcp://127.0.0.1:0", tls: bool = False) -> AsyncIterator[Lender]:
    server = Lender()
    server.listen(address, tls=tls)
    try:
        yield server
    finally:
        server.stop()


async def test_a_guest_is_known_by_its_name_and_owners_have_none(lent: None) -> None:
    async with lender() as server, rpc(server.address, keys=ALICE.keyring()) as guest, rpc(server.address) as owner:
        assert await guest.who() == {"role": "guest", "name": "alice", "depth": None, "nbytes": 0}
        assert await guest.ping() == b"pong"
        assert await owner.who() == {"role": "client", "name": "", "depth": None, "nbytes": 0}


async def test_a_guest_sends_frames_but_no_pickles(lent: None) -> None:
    async with lender() as server, rpc(server.address, keys=ALICE.keyring()) as guest:
        assert (await guest.who(blob=bytes(3_000_000)))["nbytes"] == 3_000_000
        with pytest.raises(CommClosedError):
            await guest.who(blob=to_serialize(Path("x")))


async def test_a_guest_does_not_rebuild_what_somebody_elses_server_pickled(lent: None) -> None:
    class Strange(Exception):
        pass

    async with lender() as server:

        def raise_strange(stream: Any) -> None:
            raise Strange("boo")

        server.add_handlers({"who": raise_strange})
        async with rpc(server.address, keys=ALICE.keyring()) as guest:
            with pytest.raises(RemoteError, match="boo"):
                await guest.who()


async def test_a_guest_may_do_nothing_else() -> None:
    async with lender() as server, rpc(server.address, keys=ALICE.keyring()) as guest:
        for op in ("secret", "ops"):
            with pytest.raises(PermissionDeniedError, match="guest"):
                await guest[op]()


async def test_a_ticket_shows_what_it_is_narrowed_to(lent: None) -> None:
    seen: list[Claims] = []
    async with lender() as server:
        server.add_handlers({"who": lambda stream: seen.append(stream.peer.claims)})
        end = int(time.time()) + 100
        async with rpc(server.address, keys=ALICE.ticket("w1", end).ticket(depth=1).keyring()) as guest:
            await guest.who()
    assert seen == [Claims("w1", end, 1)]


async def test_a_connection_ends_with_the_ticket_that_opened_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "CLOCKS_DIFFER_S", 0)
    async with lender() as server:
        ended = asyncio.Event()
        stream = await connect(server.address, keys=ALICE.ticket(expires_unix_s=time.time() + 1).keyring())
        stream.add_close_callback(ended.set)
        stream.set_message_handler(lambda message: None)  # reads, and so sees the end
        await ended.wait()


async def test_one_who_was_withdrawn_is_cut_off_and_does_not_come_back(lent: None) -> None:
    async with lender() as server, rpc(server.address) as owner:
        stream = await connect(server.address, keys=ALICE.ticket(depth=3).keyring())
        await owner.who()
        del server.keys_by_name["alice"]
        assert server.cut_off("alice") == 1
        with pytest.raises(CommClosedError):
            await stream.read_message()
        with pytest.raises(AuthenticationError, match=r"does not admit 'alice'.*withdrawn"):
            await connect(server.address, keys=ALICE.keyring())
        assert (await owner.who())["role"] == "client"


@pytest.mark.parametrize("keys", [Credential("alice", b"b" * 32).keyring(), Credential("bob", KEY).keyring()])
async def test_another_key_or_name_does_not_get_in(keys: Keyring) -> None:
    async with lender() as server:
        with pytest.raises(AuthenticationError, match="does not admit"):
            await connect(server.address, keys=keys)


async def test_a_server_without_guests_lets_none_in() -> None:
    server = Server()
    server.listen(0)
    with pytest.raises(AuthenticationError, match="holds no key for role 'guest'"):
        await connect(server.address, keys=ALICE.keyring())
    server.stop()


# ---------------------------------------------------------------- with TLS


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """This user has a certificate; its fingerprint."""
    pytest.importorskip("cryptography")
    monkeypatch.setattr(certificates, "certificate_path", lambda: tmp_path / "own.tls")
    return mint(tmp_path / "own.tls").fingerprint


async def test_a_guest_has_no_certificate_and_knows_the_servers(certified: str, lent: None) -> None:
    alice = Credential("alice", KEY, certified)
    async with lender(tls=True) as server:
        async with rpc(server.address, keys=alice.keyring()) as guest, rpc(server.address) as owner:
            assert (await guest.who())["name"] == "alice"
            assert (await owner.who())["role"] == "client"
        async with rpc(server.address, keys=ALICE.keyring()) as guest:
            assert (await guest.who())["name"] == "alice"
        other = Credential("alice", KEY, "ab" * 32)
        with pytest.raises(AuthenticationError, match="its certificate is"):
            await connect(server.address, keys=other.keyring())


async def test_who_is_no_guest_still_needs_the_certificate(certified: str) -> None:
    uncertified = Keyring(keyring().key_by_role, pinned=certified)
    async with lender(tls=True) as server:
        stream = await connect(server.address, keys=uncertified)
        with pytest.raises(CommClosedError):
            await stream.read_message()


async def test_two_users_may_share_keys_without_sharing_a_certificate(certified: str) -> None:
    shared = keyring().key_by_role
    server = Server(keys=Keyring(shared, needs_certificate=False))
    server.listen(0, tls=True)
    for keys in (Keyring(shared, needs_certificate=False), Keyring(shared, pinned=certified)):
        async with rpc(server.address, keys=keys) as other:
            assert await other.ping() == b"pong"
    with pytest.raises(AuthenticationError, match="different key"):
        await connect(server.address, keys=shared_keyring(b"x" * 32))
    server.stop()
