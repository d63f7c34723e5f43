"""Whatever an offer says, a Main takes it or names what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.errors import ProtocolError
from distributed.offers.answers import info_from_wire, lent_from_wire, notice_from_wire, room_from_wire
from distributed.offers.wire import OfferInfo, OpenRoom, to_wire

INFO = OfferInfo("id", "tcp://o:1", 4, None, ["gpu"], "linux", "3.11", ["3.11"], 0, 64, False)
ROOM = OpenRoom("room-1", None, "tcp://w:1", "tcp://n:1", 7, 4, None, "3.11.9", None, "tcp://s:1")
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def test_what_offers_say_is_what_mains_hear() -> None:
    assert info_from_wire({**to_wire(INFO), "of a newer one": 1}, "o") == INFO
    assert room_from_wire(to_wire(ROOM), "o") == ROOM
    withdrawn = notice_from_wire({"notice": "withdrawn", "cores": 0, "memory_nbytes": 5, "grace_s": 1}, "o")
    assert lent_from_wire(INFO, withdrawn).is_withdrawn
    assert notice_from_wire({"notice": "of a newer one"}, "o")


@given(st.sampled_from(sorted(to_wire(INFO))), ANYTHING)
def test_an_offer_is_known_by_fields_of_the_right_types(name: str, value: Any) -> None:
    try:
        info = info_from_wire({**to_wire(INFO), name: value}, "tcp://o:1")
    except ProtocolError as error:
        assert f"its {name} is none" in str(error)
    else:
        assert type(info.cores) is int and 0 <= info.cores <= 65_536 and all(type(tag) is str for tag in info.tags)


@given(st.sampled_from(sorted(to_wire(ROOM))), ANYTHING)
def test_a_room_is_known_by_fields_of_the_right_types(name: str, value: Any) -> None:
    try:
        room = room_from_wire({**to_wire(ROOM), name: value}, "tcp://o:1")
    except ProtocolError as error:
        assert f"its {name} is none" in str(error)
    else:
        assert type(room.worker) is str and room.python[0].isdigit()


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {},
        {"notice": 5},
        {"notice": "joined"},
        {"notice": "joined", "offer": {}, "rooms": [{"room": 5}]},
        {"notice": "room-ended"},
        {"notice": "progress", "line": b"x"},
        {"notice": "withdrawn", "cores": "all"},
        {"notice": "returned", "cores": 10**9, "memory_nbytes": None},
    ],
)
def test_a_notice_that_lacks_what_is_read_of_it_is_refused(bad: Any) -> None:
    with pytest.raises(ProtocolError, match="the offer at tcp://o:1 says"):
        notice_from_wire(bad, "tcp://o:1")
