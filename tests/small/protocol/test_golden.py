"""The bytes on the wire, kept literally: whoever changes them breaks the peers of another version."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.protocol.codec import SENTINEL, ErrorReply, Limits, encode
from distributed.protocol.framing import MessageDecoder
from distributed.protocol.serialize import Serialized
from distributed.security.credentials import Credential
from distributed.security.handshake import ClientHandshake, ServerHandshake
from distributed.security.keys import keyring_from_master, role_key

FRAME = b"\xc1\x00" * 8192
ERROR = {"status": "uncaught-error", "type": "KeyError", "text": "'x'", "traceback": "tb", "exception": None}

GOLDEN: dict[str, tuple[Any, list[bytes]]] = {
    "plain": (
        {"op": "add", "x": 1, "y": [-1, 2.5, None, True, "ä"]},
        [b"\x83\xa2op\xa3add\xa1x\x01\xa1y\x95\xff\xcb@\x04\x00\x00\x00\x00\x00\x00\xc0\xc3\xa2\xc3\xa4\xc1\x00"],
    ),
    "with C1 in it": (
        {"data": b"\xc1\x00\xc1\x01\xc1", "n": 0xC1},
        [b"\x82\xa4data\xc4\x05\xc1\x01\x00\xc1\x01\x01\xc1\x01\xa1n\xcc\xc1\x01\xc1\x00"],
    ),
    "bytes in a frame": (
        {"op": "put", "data": FRAME},
        [b"\x82\xa2op\xa3put\xa4data\xc7\x03e\xcd@\x00\xc1\x00", FRAME],
    ),
    "an object inline": (
        ["call", Serialized([b"\x80\x05K\x01."])],
        [b"\x92\xa4call\xc7\x05f\x80\x05K\x01.\xc1\x00"],
    ),
    "an object in frames": (
        Serialized([b"\x80\x05head", b"x" * 16384, b""]),
        [b"\xc7\x06g\x93\x06\xcd@\x00\x00\xc1\x00", b"\x80\x05head", b"x" * 16384],
    ),
    "an error": (
        ErrorReply(ERROR),
        [
            b"\xc7Fh\x85\xa6status\xaeuncaught-error\xa4type\xa8KeyError\xa4text\xa3'x'\xa9traceback\xa2tb"
            b"\xa9exception\xc0\xc1\x00"
        ],
    ),
}


def plain(value: Any) -> Any:
    if isinstance(value, Serialized):
        return ["frames", *map(bytes, value.frames)]
    return [plain(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", GOLDEN)
def test_a_message_has_exactly_these_bytes(name: str) -> None:
    value, buffers = GOLDEN[name]
    assert [bytes(buffer) for buffer in encode(value)] == buffers


@pytest.mark.parametrize("name", GOLDEN)
def test_these_bytes_are_exactly_that_message(name: str) -> None:
    value, buffers = GOLDEN[name]
    decoder = MessageDecoder(Limits())
    decoder.feed(b"".join(buffers))
    message = decoder.next_message()
    assert type(message) is type(value)
    assert plain(message) == plain(value)


def test_the_sentinel_is_c1_00() -> None:
    assert SENTINEL == b"\xc1\x00"


MASTER = bytes(range(32))


@pytest.mark.parametrize(
    ("role", "key"),
    [  # computed with an HKDF of its own: hmac.new(bytes(32), master), hmac.new(that, info + 01)
        ("client", "b6411df092965ac15bf3886b63c0d50164b47a339f3d6b35bc885174c0695240"),
        ("worker", "2a42999d745865dc31a8aff72e6e3adf9b1f07049139f74893d07d9582b839b3"),
        ("readonly", "b711f9e87e4c9ea6cc6b4181caff7365bb37f896b3a1c322497a60d2b7fd899e"),
    ],
)
def test_the_key_of_a_role_follows_from_the_master_key(role: str, key: str) -> None:
    assert role_key(MASTER, role).hex() == key


def test_the_handshake_has_exactly_these_bytes() -> None:
    keys = keyring_from_master(MASTER)
    client = ClientHandshake("server", "client", keys, b"C" * 32, b"tcp ::1 8786")
    server = ServerHandshake("client", keys, b"S" * 32, b"tcp ::1 8786")
    hello = client.hello()
    assert hello == b"dstrbtd2\x01" + b"C" * 32
    challenge = server.challenge(hello)
    channel = bytes.fromhex("80ea2a59efb5c7617e38b4e6673a6192391c71bb8106e15216392a975cdcde3b")  # sha256
    proof_s = bytes.fromhex("fb1052d2482d614db34e17214ea2bea756571b9de19ab1580cbfb465f0f14685")
    assert challenge == b"dstrbtd2" + b"S" * 32 + channel + proof_s
    proof = client.prove(challenge)
    assert proof == bytes.fromhex("63fec1439f9f96cab619b94ba681064461b9f49eacae96b45d913b7a287a4c09")
    assert server.accept(proof) == "client"


def test_the_handshake_of_a_guest_has_exactly_these_bytes() -> None:
    keys = Credential("alice/d=1", MASTER).keyring()
    client = ClientHandshake("server", "guest", keys, b"C" * 32, b"tcp ::1 8786")
    server = ServerHandshake("client", keyring_from_master(MASTER), b"S" * 32, b"tcp ::1 8786", lambda name: MASTER)
    hello = client.hello()
    assert hello == b"dstrbtd2\x04" + b"C" * 32 + b"alice/d=1" + bytes(512 - 9)
    challenge = server.challenge(hello)
    assert challenge[:40] == b"dstrbtd2" + b"S" * 32
    assert challenge[72:].hex() == "4b7fdab65154f1a2ddea31be08bdf2c3d8fefa1c619d8e5419d0b5d3abb35a3d"
    proof = client.prove(challenge)
    assert proof.hex() == "aba60595cfd4844b97ce0aa3ce8c24479e6252852789f133f774dbdd2129914d"
    assert server.accept(proof) == "guest"
    assert Credential("alice", MASTER).ticket("w1", 5, 1).line() == (
        "guest:alice/w=w1,e=5,d=1:314fb5b15470b414859459efa7814e01bb585fe1d30f3cfe2679be2029ea9ae3:-"
    )


def test_the_fingerprint_of_a_key_is_fixed_and_tells_nothing_of_it() -> None:
    keys = keyring_from_master(MASTER)
    assert keys.fingerprint() == "b6f7c3ec9fe6bebe"
    assert repr(keys) == "<Keyring for client, worker, readonly>"
