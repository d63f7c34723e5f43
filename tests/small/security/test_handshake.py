"""The two handshake machines, without a socket."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from distributed.errors import AuthenticationError
from distributed.security.credentials import Credential
from distributed.security.handshake import (
    BRAND,
    CHALLENGE_NBYTES,
    HELLO_NBYTES,
    PROOF_NBYTES,
    ClientHandshake,
    ServerHandshake,
    refusal_without_tls,
)
from distributed.security.keys import Keyring, keyring_from_master

KEYS = keyring_from_master(b"k" * 32)
OTHER_KEYS = keyring_from_master(b"o" * 32)
CURE = "both sides need the same key file"


def client(
    role: str = "client",
    keys: Keyring = KEYS,
    nonce: bytes = b"C" * 32,
    channel: bytes = b"tcp server 1",
    may_be_forwarded: bool = False,
) -> ClientHandshake:
    return ClientHandshake("tcp://server:1", role, keys, nonce, channel, may_be_forwarded)


def server(keys: Keyring = KEYS, nonce: bytes = b"S" * 32, channel: bytes = b"tcp server 1") -> ServerHandshake:
    return ServerHandshake("tcp://client:2", keys, nonce, channel)


def only(role: str) -> Keyring:
    return Keyring({role: KEYS.key_by_role[role]})


@pytest.mark.parametrize("role", ["client", "worker", "readonly"])
@pytest.mark.parametrize("holds_all", [True, False])
def test_two_sides_with_the_same_key_agree_on_the_role(role: str, holds_all: bool) -> None:
    caller, listener = client(role, KEYS if holds_all else only(role)), server()
    hello = caller.hello()
    challenge = listener.challenge(hello)
    proof = caller.prove(challenge)
    assert listener.accept(proof) == role
    assert (len(hello), len(challenge), len(proof)) == (HELLO_NBYTES, CHALLENGE_NBYTES, PROOF_NBYTES) == (41, 104, 32)


def test_the_client_finds_out_that_the_server_has_another_key_and_tells_it_nothing() -> None:
    caller = client()
    challenge = server(OTHER_KEYS).challenge(caller.hello())
    with pytest.raises(AuthenticationError, match=f"^tcp://server:1: the server has a different key; {CURE}"):
        caller.prove(challenge)


def test_the_server_finds_out_that_the_client_has_another_key() -> None:
    listener = server()
    listener.challenge(client(keys=OTHER_KEYS).hello())
    impostor = client(keys=OTHER_KEYS)
    forged = impostor.prove(server(OTHER_KEYS).challenge(impostor.hello()))
    with pytest.raises(AuthenticationError, match=f"^tcp://client:2: the client has a different key; {CURE}"):
        listener.accept(forged)


def test_the_key_of_one_role_does_not_prove_another() -> None:
    only_readonly = Keyring({"client": KEYS.key_by_role["readonly"]})  # claims to be a client
    listener = server()
    caller = client("client", only_readonly)
    with pytest.raises(AuthenticationError):
        caller.prove(listener.challenge(caller.hello()))


def test_a_role_without_a_key_here_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(AuthenticationError, match="the key file here holds no key for role 'client'"):
        client("client", only("worker"))


def test_a_server_without_the_key_of_a_role_says_so() -> None:
    listener, caller = server(only("worker")), client("client")
    with pytest.raises(AuthenticationError, match="we hold no key for role 'client'"):
        listener.challenge(caller.hello())
    assert listener.refusal is not None
    assert len(listener.refusal) == CHALLENGE_NBYTES
    with pytest.raises(AuthenticationError, match="the server holds no key for role 'client'"):
        caller.prove(listener.refusal)


def test_a_recorded_proof_is_worth_nothing_the_next_time() -> None:
    caller, first = client(), server(nonce=b"1" * 32)
    hello = caller.hello()
    proof = caller.prove(first.challenge(hello))
    assert first.accept(proof) == "client"
    second = server(nonce=b"2" * 32)
    second.challenge(hello)
    with pytest.raises(AuthenticationError):
        second.accept(proof)


def test_a_recorded_challenge_is_worth_nothing_the_next_time() -> None:
    recorded = server().challenge(client(nonce=b"1" * 32).hello())
    with pytest.raises(AuthenticationError):
        client(nonce=b"2" * 32).prove(recorded)


def test_what_a_side_said_cannot_be_sent_back_to_it() -> None:
    caller, listener = client(), server()
    hello = caller.hello()
    challenge = listener.challenge(hello)
    with pytest.raises(AuthenticationError):
        listener.accept(challenge[-PROOF_NBYTES:])  # the server's own proof
    with pytest.raises(AuthenticationError):
        caller.prove(hello + bytes(CHALLENGE_NBYTES - HELLO_NBYTES))


def test_a_client_that_reached_another_server_than_it_called_leaves_without_a_proof() -> None:
    caller, other = client(channel=b"tcp server 1"), server(channel=b"tcp server 2")
    with pytest.raises(AuthenticationError, match=r"reached at another address .*forwarded port.*ALLOW_FORWARDING=1"):
        caller.prove(other.challenge(caller.hello()))


def test_a_forwarded_port_works_where_it_is_allowed() -> None:
    caller, other = client(channel=b"tcp server 1", may_be_forwarded=True), server(channel=b"tcp server 2")
    assert other.accept(caller.prove(other.challenge(caller.hello()))) == "client"


def test_somebody_in_between_cannot_change_what_the_server_says_of_its_channel() -> None:
    caller, other = client(channel=b"tcp server 1"), server(channel=b"tcp server 2")
    challenge = other.challenge(caller.hello())
    forged = challenge[:40] + hashlib.sha256(b"tcp server 1").digest() + challenge[72:]
    with pytest.raises(AuthenticationError, match="the server has a different key"):
        caller.prove(forged)


def test_each_side_is_told_when_only_one_speaks_tls() -> None:
    plain = server()
    with pytest.raises(AuthenticationError, match="speaks TLS"):
        plain.challenge(b"\x16\x03\x01".ljust(HELLO_NBYTES, b"x"))
    assert plain.refusal is not None
    assert plain.refusal.startswith(BRAND)
    assert len(plain.refusal) == CHALLENGE_NBYTES
    with pytest.raises(AuthenticationError, match="it listens with TLS; connect with tls:// instead of tcp://"):
        client().prove(refusal_without_tls())


def guest(credential: Credential) -> ClientHandshake:
    return ClientHandshake("tcp://server:1", "guest", credential.keyring(), b"C" * 32, b"tcp server 1")


def host(key: bytes | None = b"a" * 32) -> ServerHandshake:
    return ServerHandshake("tcp://client:2", KEYS, b"S" * 32, b"tcp server 1", lambda name: key)


ALICE = Credential("alice", b"a" * 32)


def test_a_guest_says_its_name_and_proves_its_key() -> None:
    caller, listener = guest(ALICE), host()
    hello = caller.hello()
    assert len(hello) == HELLO_NBYTES + listener.name_nbytes(hello[:HELLO_NBYTES])
    assert listener.accept(caller.prove(listener.challenge(hello))) == "guest"
    assert listener.name == "alice"
    assert listener.name_nbytes(client().hello()) == 0


@pytest.mark.parametrize("listener", [host(b"x" * 32), host(None)], ids=["another key", "no such name"])
def test_a_guest_who_is_not_admitted_cannot_tell_why_but_what_to_do(listener: ServerHandshake) -> None:
    caller = guest(ALICE)
    with pytest.raises(AuthenticationError, match=r"does not admit 'alice' .*withdrawn, has expired"):
        caller.prove(listener.challenge(caller.hello()))
    with pytest.raises(AuthenticationError):
        listener.accept(bytes(32))


def test_a_server_without_guests_says_so() -> None:
    caller, listener = guest(ALICE), server()
    with pytest.raises(AuthenticationError, match="no key for role 'guest'"):
        listener.challenge(caller.hello())
    assert listener.refusal is not None
    with pytest.raises(AuthenticationError, match="no key for role 'guest'"):
        caller.prove(listener.refusal)


def test_a_guest_cannot_come_under_another_name_than_it_proves() -> None:
    caller, listener = guest(ALICE), host()
    hello = caller.hello()
    forged = hello[:HELLO_NBYTES] + b"owner".ljust(len(hello) - HELLO_NBYTES, b"\0")
    with pytest.raises(AuthenticationError, match="does not admit"):
        caller.prove(listener.challenge(forged))


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n" * 2,
    "zeros": bytes(100),
    "older version": b"dstrbtd1\x01" + bytes(100),
    "newer version": b"dstrbtd3\x01" + bytes(100),
    "no such role": b"dstrbtd2\x09" + bytes(100),
    "role zero": b"dstrbtd2\x00" + bytes(100),
    "a message": b"\x81\xa2op\xa4ping\xc1\x00" * 10,
    "empty": b"",
    "short": b"dstrbtd2",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_the_server_refuses_garbage(name: str) -> None:
    with pytest.raises(AuthenticationError, match="not a client of this version"):
        server().challenge(GARBAGE[name][:HELLO_NBYTES])


@pytest.mark.parametrize("name", GARBAGE)
def test_the_client_refuses_garbage(name: str) -> None:
    with pytest.raises(AuthenticationError, match=r"not a server of this version|different key"):
        client().prove(GARBAGE[name][:CHALLENGE_NBYTES])


@pytest.mark.parametrize("proof", [b"", bytes(32), bytes(31), b"\xff" * 32])
def test_the_server_refuses_a_wrong_proof(proof: bytes) -> None:
    listener = server()
    listener.challenge(client().hello())
    with pytest.raises(AuthenticationError):
        listener.accept(proof)


def test_every_single_bit_of_the_challenge_counts() -> None:
    caller = client()
    challenge = server().challenge(caller.hello())
    for place in range(len(challenge)):
        damaged: Any = bytearray(challenge)
        damaged[place] ^= 1
        with pytest.raises(AuthenticationError):
            caller.prove(bytes(damaged))
