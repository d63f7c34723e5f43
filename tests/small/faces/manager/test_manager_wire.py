"""What manager and worker say to each other, and what they do not take."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

from distributed.errors import ProtocolError, UnpicklableError
from distributed.faces.manager import wire
from distributed.protocol.codec import Limits, encode_plain
from distributed.protocol.framing import MessageDecoder
from distributed.protocol.serialize import Serialized, loads_payload

READY = {"pid": 1, "host": "h"}


def through_the_codec(message: Any) -> Any:
    decoder = MessageDecoder(Limits(), True)
    decoder.feed(b"".join(encode_plain(message)))
    return decoder.next_message()


@pytest.mark.parametrize("value", [":ping", ":stop", None, {1: (2, {3})}, bytes(100_000), range(3)])
def test_any_picklable_message_crosses_unharmed(value: Any) -> None:
    """M11: any picklable message incl. ':ping' strings."""
    kind, payload = wire.read_from_worker(through_the_codec([wire.MESSAGE, wire.pack(value)]))
    assert (kind, loads_payload(payload)) == (wire.MESSAGE, value)


def test_an_array_may_be_changed_as_soon_as_it_was_packed() -> None:
    array = numpy.arange(100_000)
    payload = wire.pack(array)
    array[:] = 0
    assert loads_payload(payload)[-1] == 99_999


def test_what_cannot_be_pickled_is_told_at_once() -> None:
    with pytest.raises(UnpicklableError, match="a message"):
        wire.pack(value for value in ())


@pytest.mark.parametrize(
    "message",
    [None, [], [wire.BEAT], [True, None], ["beat", None], [99, None], [wire.STOP, None], [wire.MESSAGE, "text"],
     [wire.PONG, "1"], [wire.REGISTER, None], [wire.REGISTER, {"pid": 0, "host": "h"}],
     [wire.REGISTER, {"pid": 1, "host": "h" * 300}]],
)  # fmt: skip
def test_a_manager_does_not_take_what_no_worker_says(message: Any) -> None:
    with pytest.raises(ProtocolError):
        wire.read_from_worker(message)


@pytest.mark.parametrize(
    "message",
    [[wire.REGISTER, READY], [wire.WELCOME, None], [wire.WELCOME, {"beat_s": 0, "start": None}],
     [wire.WELCOME, {"beat_s": 1, "start": "text"}], [wire.PING, None], [wire.MESSAGE, 1]],
)  # fmt: skip
def test_a_worker_does_not_take_what_no_manager_says(message: Any) -> None:
    with pytest.raises(ProtocolError):
        wire.read_from_manager(message)


def test_both_take_what_the_other_says() -> None:
    assert wire.read_from_worker([wire.REGISTER, READY]) == (wire.REGISTER, READY)
    welcome = {"beat_s": 2.5, "start": Serialized([b"x"])}
    assert wire.read_from_manager([wire.WELCOME, welcome]) == (wire.WELCOME, welcome)
