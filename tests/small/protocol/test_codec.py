"""Values to bytes and back: what crosses unharmed, what is refused, and the bytes themselves."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed.errors import MessageTooLargeError, ProtocolError, UnencodableError
from distributed.protocol import codec
from distributed.protocol.codec import (
    SENTINEL,
    ErrorReply,
    Limits,
    decode,
    encode,
    encode_plain,
    frame_lengths,
    unescape,
)
from distributed.protocol.framing import NOTHING, MessageDecoder
from distributed.protocol.serialize import Serialized, to_serialize

BIG = 16 * 1024
SURROGATES = st.text(st.characters(exclude_categories=()), max_size=20)
EVIL = st.lists(st.sampled_from([b"\xc1", b"\x00", b"\x01", SENTINEL, SENTINEL * 1000]), max_size=8).map(b"".join)
EXTENSIONS = st.builds(
    msgpack.ExtType, st.integers(0, 127).filter(lambda code: code not in codec.RESERVED), st.binary(max_size=20) | EVIL
)
TIMESTAMPS = st.builds(msgpack.Timestamp, st.integers(-(2**40), 2**40), st.integers(0, 10**9 - 1))
INTEGERS = st.integers(-(2**63), 2**64 - 1)
BIG_BYTES = st.builds(
    lambda unit, extra: (unit * BIG)[: BIG + extra], st.sampled_from([b"\xc1\x00", b"x"]), st.integers(0, 3)
)
SCALARS = (
    st.none()
    | st.booleans()
    | INTEGERS
    | st.floats()
    | SURROGATES
    | st.binary(max_size=50)
    | EVIL
    | EXTENSIONS
    | TIMESTAMPS
)
KEYS = SURROGATES | INTEGERS | st.binary(max_size=20) | st.booleans() | st.none() | TIMESTAMPS
VALUES = st.recursive(
    SCALARS | BIG_BYTES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5) | st.tuples(inner, inner),
    max_leaves=20,
)


def decoded(buffers: list[Any], limits: Limits | None = None, **options: Any) -> Any:
    decoder = MessageDecoder(limits or Limits(), **options)
    decoder.feed(b"".join(buffers))
    message = decoder.next_message()
    assert message is NOTHING or not decoder.is_within_message()
    return message


def as_received(value: Any) -> Any:
    """What a message becomes on its way: tuples are lists; NaN is made comparable."""
    if isinstance(value, float) and math.isnan(value):
        return "not a number"
    if isinstance(value, (msgpack.ExtType, msgpack.Timestamp)):
        return value
    if isinstance(value, (list, tuple)):
        return [as_received(entry) for entry in value]
    if isinstance(value, dict):
        return {key: as_received(entry) for key, entry in value.items()}
    return value


@settings(max_examples=60)
@given(value=VALUES)
def test_any_nested_value_comes_back_as_it_was(value: Any) -> None:
    assert as_received(decoded(encode(value))) == as_received(value)


@settings(max_examples=60)
@given(value=VALUES)
def test_the_sentinel_stands_nowhere_in_a_header_but_at_its_end(value: Any) -> None:
    header = bytes(encode(value)[0])
    assert header.index(SENTINEL) == len(header) - len(SENTINEL)


@settings(max_examples=60)
@given(
    values=st.lists(VALUES, min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 40_000), min_size=1, max_size=20),
    in_place=st.booleans(),
)
def test_messages_in_a_row_arrive_whole_however_they_are_cut(
    values: list[Any], cuts: list[int], in_place: bool
) -> None:
    stream = b"".join(bytes(buffer) for value in values for buffer in encode(value))
    decoder, received, position, turn = MessageDecoder(Limits()), [], 0, 0
    while position < len(stream):
        count = cuts[turn % len(cuts)]
        turn += 1
        view = decoder.wanted()
        if in_place and view is not None:
            count = min(len(view), count, len(stream) - position)
            view[:count] = stream[position : position + count]
            decoder.filled(count)
        else:
            decoder.feed(stream[position : position + count])
        position += count
        while (message := decoder.next_message()) is not NOTHING:
            received.append(message)
    assert as_received(received) == as_received(values)
    assert not decoder.is_within_message()


@pytest.mark.parametrize("cut", [1, 2, 3, 7, BIG - 1, BIG, BIG + 1])
def test_half_a_sentinel_at_the_end_of_a_frame_is_only_data(cut: int) -> None:
    message = [b"x" * (BIG - 1) + b"\xc1", b"\x00" + b"y" * BIG, SENTINEL * 1000, b"\xc1" * 3, SENTINEL * BIG]
    stream = b"".join(encode(message)) * 2
    decoder, received = MessageDecoder(Limits()), []
    for start in range(0, len(stream), cut):
        decoder.feed(stream[start : start + cut])
        while (found := decoder.next_message()) is not NOTHING:
            received.append(found)
        if cut < 7 and start > 300:  # by single bytes only through the header
            decoder.feed(stream[start + cut :])
            received += [decoder.next_message(), decoder.next_message()]
            break
    assert received == [message, message]


@pytest.mark.parametrize("kind", [bytearray, memoryview])
@pytest.mark.parametrize("nbytes", [0, 5, BIG - 1, BIG])
def test_other_kinds_of_bytes_arrive_as_bytes(kind: Any, nbytes: int) -> None:
    message = decoded(encode({"data": kind(b"\xc1" * nbytes)}))
    assert message == {"data": b"\xc1" * nbytes}
    assert type(message["data"]) is bytes


@pytest.mark.parametrize("rows", [3, 300])
@pytest.mark.parametrize("take", [lambda a: a, lambda a: a.T, lambda a: a[::2, ::2], np.asfortranarray])
def test_memoryviews_of_any_layout_arrive_in_row_order(take: Any, rows: int) -> None:
    array = take(np.arange(rows * rows, dtype="i4").reshape(rows, rows))
    assert decoded(encode([memoryview(array)])) == [array.tobytes()]


def test_bytes_of_16_kib_are_never_copied_at_any_depth() -> None:
    data = bytes(BIG)
    view = memoryview(bytearray(BIG))
    _, first, second = encode({"a": [{"b": (data,)}], 7: view})
    assert first is data
    assert np.shares_memory(np.frombuffer(second, "u1"), np.frombuffer(view, "u1"))


# ---------------------------------------------------------------- objects


def test_an_array_crosses_without_a_copy() -> None:
    array = np.arange(10_000)
    header, head, frame = encode({"array": to_serialize(array)})
    assert np.shares_memory(np.frombuffer(frame, "i8"), array)

    decoder = MessageDecoder(Limits())
    decoder.feed(bytes(header) + bytes(head))
    assert decoder.next_message() is NOTHING
    view = decoder.wanted()
    assert view is not None
    view[:] = frame
    decoder.filled(len(view))
    received = decoder.next_message()["array"].load()
    assert (received == array).all()
    assert np.shares_memory(received, np.frombuffer(view, "i8"))
    received[0] = 5  # nobody else holds this memory


@pytest.mark.parametrize("encoder", [encode, encode_plain])
def test_frames_of_any_format_are_counted_in_bytes(encoder: Any) -> None:
    array = np.arange(10_000, dtype="f8")
    buffers = encoder(Serialized([b"", memoryview(array)]))
    assert sum(len(buffer) for buffer in buffers[1:]) == array.nbytes
    assert decoded(buffers).load() == array.tobytes()


def test_small_objects_ride_inline_and_empty_frames_take_no_room() -> None:
    assert len(encode(to_serialize({1, 2}))) == 1
    assert decoded(encode(to_serialize({1, 2}))).load() == {1, 2}
    payload = decoded(encode([Serialized([b"x" * BIG, b"", b"tail"]), Serialized([b"", b""])]))
    assert [bytes(frame) for frame in payload[0].frames] == [b"x" * BIG, b"", b"tail"]
    assert [bytes(frame) for frame in payload[1].frames] == [b"", b""]


def test_an_error_reply_is_told_from_a_dict_with_the_same_keys() -> None:
    fields = {"status": "uncaught-error", "type": "E", "text": "t", "traceback": "", "exception": b"\xc1\x00"}
    assert type(decoded(encode(fields))) is dict
    answer = decoded(encode([1, ErrorReply(fields)]))[1]
    assert type(answer) is ErrorReply
    assert answer == fields


# ---------------------------------------------------------------- refused by the sender


@pytest.mark.parametrize(
    "value",
    [{1, 2}, object(), np.int64(3), np.arange(3), 1j, frozenset(), Ellipsis, print],
    ids=lambda v: type(v).__name__,
)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: {"x": [v]}, lambda v: (1, (v,))])
def test_what_messages_cannot_carry_is_refused_with_type_and_cure(value: Any, wrap: Any) -> None:
    with pytest.raises(UnencodableError) as caught:
        encode(wrap(value))
    assert type(value).__name__ in str(caught.value)
    assert "to_serialize(value)" in str(caught.value)


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**400], ids=["2**64", "-2**63-1", "10**400"])
def test_integers_over_64_bits_are_refused(number: int) -> None:
    with pytest.raises(UnencodableError, match="int: it has more than 64 bits"):
        encode({"n": [number]})


@pytest.mark.parametrize("code", range(100, 110))
@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: [(1, (e,))], lambda e: {e: 1}, lambda e: {1: {"a": e}}])
def test_extension_types_of_the_protocol_are_refused_wherever_they_stand(code: int, wrap: Any) -> None:
    with pytest.raises(UnencodableError, match="100 to 109"):
        encode(wrap(msgpack.ExtType(code, b"")))


@pytest.mark.parametrize("key", [(1, 2), (), (msgpack.ExtType(101, b""),)])
def test_a_tuple_as_a_key_is_refused_because_it_would_arrive_as_a_list(key: Any) -> None:
    with pytest.raises(UnencodableError, match="tuple: as a key"):
        encode({"x": {key: 1}})


def nested(levels: int, wrap: Any = lambda inner: [inner]) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: (v,), lambda v: {"k": v}])
def test_nesting_crosses_to_511_levels_and_is_refused_far_above(wrap: Any) -> None:
    decoded(encode(nested(511, wrap)))
    with pytest.raises(UnencodableError, match="nested too deeply"):
        encode(nested(1100, wrap))
    with pytest.raises(UnencodableError, match="nested too deeply"):
        encode_plain(nested(1100, wrap))


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(UnencodableError, match="holds itself"):
        encode(endless)


def test_an_error_reply_holds_only_plain_values() -> None:
    with pytest.raises(UnencodableError, match="only plain values"):
        encode(ErrorReply(status="", type="", text="", traceback="", exception={1}))


@pytest.mark.parametrize(
    ("limits", "value", "what"),
    [
        (Limits(header_nbytes_max=100), "x" * 100, "message header"),
        (Limits(frame_count_max=1), [bytes(BIG)] * 2, "number of frames"),
        (Limits(message_nbytes_max=BIG), bytes(BIG + 1), "message"),
    ],
)
def test_the_sender_keeps_the_limits_too_and_names_the_setting(limits: Limits, value: Any, what: str) -> None:
    with pytest.raises(MessageTooLargeError, match=rf"^{what}: .* raise \w+_max$") as caught:
        encode(value, limits)
    assert caught.value.size > caught.value.limit


# ---------------------------------------------------------------- refused by the receiver


def packed(value: Any) -> bytes:
    data: bytes = msgpack.packb(value)
    return data


def extension(code: int, data: bytes) -> bytes:
    return packed(msgpack.ExtType(code, data))


def within_error_replies(levels: int) -> bytes:
    data = b"\xc0"
    for _ in range(levels):
        data = extension(104, data)
    return data


BAD_HEADERS = {
    "empty": b"",
    "reserved byte": b"\xc1",
    "truncated": b"\x92\x01",
    "two values": b"\x01\x02",
    "nested deeply": b"\x91" * 5000 + b"\xc0",
    "list as a key": b"\x81\x90\x01",
    "length no integer": extension(101, packed("x")),
    "length negative": extension(101, packed(-1)),
    "length true": extension(101, packed(True)),
    "length missing": extension(101, b""),
    "length an extension": extension(101, extension(5, b"")),
    "lengths no list": extension(103, packed(5)),
    "lengths empty": extension(103, packed([])),
    "lengths of text": extension(103, packed(["x"])),
    "lengths garbage": extension(103, b"\xc1"),
    "error no dict": extension(104, packed([])),
    "error without fields": extension(104, packed({"status": ""})),
    "error in errors": within_error_replies(3),
    "error in 500 errors": within_error_replies(500),  # each level would take 40 KiB of the C stack
    "frame in an error": extension(104, extension(101, packed(5))),
    "bad timestamp": b"\xc7\x03\xff123",
    "extension of msgpack's own": b"\xc7\x03\xfe123",
    "bad utf-8": b"\xa1\xff",
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_a_bad_header_is_a_protocol_error(name: str) -> None:
    decoder = MessageDecoder(Limits())
    decoder.feed(BAD_HEADERS[name].replace(b"\xc1", b"\xc1\x01") + SENTINEL)
    with pytest.raises(ProtocolError):
        decoder.next_message()


@pytest.mark.parametrize("value", [to_serialize(1), to_serialize(bytes(BIG)), [{"a": to_serialize({1})}]])
def test_a_peer_who_may_send_no_objects_can_send_none(value: Any) -> None:
    with pytest.raises(ProtocolError, match="may not send pickled objects"):
        decoded(encode(value), may_send_objects=False)
    assert decoded(encode([1, b"x" * BIG]), may_send_objects=False) == [1, b"x" * BIG]


@pytest.mark.parametrize(
    ("header", "limits", "what"),
    [
        (extension(101, packed(2**40)), Limits(), "message"),
        (packed([msgpack.ExtType(101, packed(2**62))] * 3), Limits(), "message"),
        (extension(103, packed([2**64 - 1, 2**64 - 1])), Limits(), "message"),
        (extension(103, packed([2**30] * 3)), Limits(message_nbytes_max=2**31), "message"),
        (extension(103, packed([0] * 10_001)), Limits(), "number of frames"),
    ],
)
def test_frames_over_a_limit_are_refused_before_anything_is_allocated(header: bytes, limits: Limits, what: str) -> None:
    decoder = MessageDecoder(limits)
    decoder.feed(header + SENTINEL)
    tracemalloc.start()
    try:
        with pytest.raises(MessageTooLargeError, match=f"^{what}: "):
            decoder.next_message()
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert decoder.wanted() is None


def test_frames_that_memory_cannot_hold_are_a_protocol_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(fileno: int, nbytes: int, flags: int) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("distributed.protocol.framing.mmap.mmap", exhausted)
    decoder = MessageDecoder(Limits())
    decoder.feed(extension(101, packed(2**33)) + SENTINEL)
    with pytest.raises(ProtocolError, match="no memory for a message of 8,589,934,592 bytes"):
        decoder.next_message()


def test_a_header_without_an_end_is_refused_at_the_limit() -> None:
    decoder = MessageDecoder(Limits(header_nbytes_max=1000))
    decoder.feed(b"x" * 1000)
    assert decoder.next_message() is NOTHING
    decoder.feed(b"x")
    with pytest.raises(MessageTooLargeError, match="message header: 1,001 is over"):
        decoder.next_message()


def test_a_whole_header_over_the_limit_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(MessageTooLargeError, match="message header"):
        decoded(encode("x" * 1000), Limits(header_nbytes_max=1000))


@settings(max_examples=150)
@given(
    chunks=st.lists(
        st.binary(max_size=60)
        | EVIL
        | st.sampled_from([SENTINEL, extension(101, packed(5)), extension(103, packed([2, 3]))]),
        max_size=12,
    )
)
def test_garbage_raises_only_protocol_errors_or_wants_more(chunks: list[bytes]) -> None:
    decoder = MessageDecoder(Limits(header_nbytes_max=3000, message_nbytes_max=2000))
    try:
        for chunk in chunks:
            decoder.feed(chunk)
            while decoder.next_message() is not NOTHING:
                pass
    except ProtocolError:
        pass
    assert decoder.nbytes_pending <= sum(map(len, chunks))


@settings(max_examples=100)
@given(value=VALUES, cut=st.integers(0), flips=st.lists(st.tuples(st.integers(0), st.integers(1, 255)), max_size=3))
def test_damaged_messages_raise_only_protocol_errors_or_want_more(value: Any, cut: int, flips: Any) -> None:
    stream = bytearray(b"".join(bytes(buffer) for buffer in encode(value)))
    for place, bits in flips:
        stream[place % len(stream)] ^= bits
    decoder = MessageDecoder(Limits(message_nbytes_max=2**24))
    decoder.feed(bytes(stream[: cut % (len(stream) + 1)]))
    try:
        while decoder.next_message() is not NOTHING:
            pass
    except ProtocolError:
        pass


def test_a_truncated_message_is_known_to_be_one() -> None:
    stream = b"".join(encode([1, b"\xc1" * BIG]))
    for end in (1, 5, stream.index(SENTINEL) + 2, BIG, len(stream) - 1):
        decoder = MessageDecoder(Limits())
        decoder.feed(stream[:end])
        assert decoder.next_message() is NOTHING
        assert decoder.is_within_message(), end


def test_raw_bytes_before_messages_can_be_taken() -> None:
    decoder = MessageDecoder(Limits())
    decoder.feed(b"\xc1")
    assert decoder.next_message() is NOTHING
    assert decoder.take(2) is None
    decoder.feed(b"\x00hel")
    assert decoder.take(2) == SENTINEL
    decoder.feed(b"lo" + b"".join(encode(5)))
    assert decoder.take(5) == b"hello"
    assert decoder.next_message() == 5
    assert repr(decoder.next_message()) == "NOTHING"


def test_the_two_looks_are_for_frames_only() -> None:
    header, *frames = encode([b"x" * BIG, to_serialize(1), msgpack.ExtType(5, b"y"), Serialized([b"p", b"q"])])
    plain = unescape(bytes(header)[: -len(SENTINEL)])
    _, lengths = frame_lengths(plain, Limits())
    assert lengths == [BIG, 1, 1]
    message = decode(plain, frames)
    assert (message[0], message[2]) == (b"x" * BIG, msgpack.ExtType(5, b"y"))
    assert repr(message[3]) == "<Serialized 2 bytes in 2 frames>"


def test_an_error_reply_beside_frames_keeps_its_kind() -> None:
    reply = ErrorReply(status="e", type="t", text="x", traceback="", exception=None)
    assert type(decoded(encode([reply, b"x" * BIG]))[0]) is ErrorReply


@pytest.mark.parametrize("nbytes", [BIG, 100_003, 4 * 2**20 - 1, 4 * 2**20, 5 * 2**20])
def test_buffers_are_received_at_addresses_that_suit_vector_instructions(nbytes: int) -> None:
    array = np.frombuffer(bytes(range(256)) * (nbytes // 256 + 1), "u1")[:nbytes]
    received = decoded(encode(to_serialize(array))).load()
    assert received.ctypes.data % 64 == 0 and (received == array).all()
