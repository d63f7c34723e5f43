"""Frames that are lent: the decoder asks for them, within the limits, and only when all else is there."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from distributed.errors import MessageTooLargeError
from distributed.protocol.codec import Limits, encode
from distributed.protocol.framing import LOAN_NBYTES, NOTHING, MessageDecoder

LENT_MIN = 100_000
MESSAGE = {"small": b"s" * 20_000, "big": [b"b" * 100_000, b"c" * 200_000], "inline": b"i"}


def wire(message: Any) -> bytes:
    """As a lender sends it: in place of each big frame stands its length, for an address."""
    header, *frames = encode(message)
    lent = (struct.pack("<Q", len(frame)) if len(frame) >= LENT_MIN else bytes(frame) for frame in frames)
    return b"".join([header, *lent])


def borrowing(limits: Limits | None = None) -> MessageDecoder:
    decoder = MessageDecoder(limits or Limits())
    decoder.lent_nbytes_min = LENT_MIN
    return decoder


def take(decoder: MessageDecoder) -> None:
    """Fill what is lent, by the byte that belongs to its address."""
    for place, frame in decoder.loans():
        assert struct.unpack("<Q", place) == (len(frame),)
        frame[:] = (b"b" if len(frame) == 100_000 else b"c") * len(frame)
    decoder.loans_taken()


@pytest.mark.parametrize("chunk_nbytes", [1, 7, 4_096, 1_000_000])
def test_a_message_is_complete_when_its_loans_are_taken(chunk_nbytes: int) -> None:
    decoder = borrowing()
    data = wire(MESSAGE) + wire(["next"])
    for start in range(0, len(data), chunk_nbytes):
        decoder.feed(data[start : start + chunk_nbytes])
        assert decoder.next_message() is NOTHING
    assert len(decoder.loans()) == 2 and decoder.is_within_message()
    take(decoder)
    assert decoder.next_message() == MESSAGE
    assert decoder.loans() == []
    assert decoder.next_message() == ["next"]
    assert not decoder.is_within_message()


def test_loans_are_told_only_when_all_else_is_there() -> None:
    decoder = borrowing()
    data = wire(MESSAGE)
    decoder.feed(data[:-1])
    assert decoder.next_message() is NOTHING
    assert decoder.loans() == []
    decoder.feed(data[-1:])
    assert decoder.next_message() is NOTHING
    assert sorted(len(frame) for _, frame in decoder.loans()) == [100_000, 200_000]


def test_smaller_frames_are_not_lent() -> None:
    decoder = borrowing()
    message = [b"x" * (LENT_MIN - 1)]
    decoder.feed(wire(message))
    assert decoder.next_message() == message


def test_a_lent_frame_counts_towards_the_limits_before_anything_is_allocated() -> None:
    decoder = borrowing(Limits(message_nbytes_max=250_000))
    decoder.feed(wire(MESSAGE)[:-LOAN_NBYTES])
    with pytest.raises(MessageTooLargeError):
        decoder.next_message()
    assert decoder.loans() == []


def test_without_the_agreement_nothing_is_lent() -> None:
    decoder = MessageDecoder(Limits())
    decoder.feed(b"".join(map(bytes, encode(MESSAGE))))
    assert decoder.next_message() == MESSAGE


@pytest.mark.parametrize("chunk_nbytes", [1, 7, 1_000_000])
def test_a_frame_that_cannot_be_lent_follows_the_place_of_its_address(chunk_nbytes: int) -> None:
    decoder = borrowing()
    header, small, first, second = encode(MESSAGE)
    data = b"".join([header, small, struct.pack("<Q", len(first)), bytes(LOAN_NBYTES), second, *encode(["next"])])
    for start in range(0, len(data), chunk_nbytes):
        decoder.feed(data[start : start + chunk_nbytes])
        assert decoder.next_message() is NOTHING
    assert len(decoder.loans()) == 1
    take(decoder)
    assert decoder.next_message() == MESSAGE
    assert decoder.next_message() == ["next"]
