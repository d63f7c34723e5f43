"""The machine of an offer: leases, wishes, rooms, memory, and what its owner wants."""

from __future__ import annotations

import pytest

from distributed.errors import LeaseOverError, OfferFullError, OfferWithdrawnError, WorkerStartError
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
    Leave,
    Refuse,
    ReturnOffer,
    RoomFailed,
    RoomGone,
    RoomOpened,
    State,
    Unwish,
    Wish,
    WithdrawOffer,
)
from distributed.offers.wire import RoomWish, tenant_root
from distributed.testing.offering import Play, of_kind
from distributed.units import MiB

# ---------------------------------------------------------------- wishes and rooms


def test_a_wish_begins_a_room_and_is_answered_when_that_is_open() -> None:
    play = Play()
    play.join()
    assert play.wish() == [Begin("room-1")]
    assert play.tell(RoomOpened("room-1", {"room": "room-1"})) == [Answer(1, {"room": "room-1"})]


def test_the_same_wish_gets_the_same_room_before_and_after_it_opened() -> None:
    play = Play()
    play.join()
    play.wish()
    assert play.wish() == []
    assert play.tell(RoomOpened("room-1", {"p": 1})) == [Answer(1, {"p": 1}), Answer(2, {"p": 1})]
    assert play.wish() == [Answer(3, {"p": 1})]
    assert play.wish(workspace="another") == [Begin("room-2")]


def test_the_same_workspace_of_two_tenants_is_two_rooms() -> None:
    play = Play()
    play.join("a")
    play.join("b")
    assert play.wish("a") == [Begin("room-1")]
    assert play.wish("b") == [Begin("room-2")]


def test_a_room_that_fails_tells_all_that_wait_and_the_next_wish_tries_again() -> None:
    play = Play()
    play.join()
    play.wish()
    play.wish()
    error = WorkerStartError("no")
    assert play.tell(RoomFailed("room-1", error)) == [Refuse(1, error), Refuse(2, error)]
    assert play.wish() == [Begin("room-2")]


def test_a_room_that_ends_by_itself_is_told_of() -> None:
    play = Play()
    play.join()
    room = play.open()
    (notice,) = play.tell(RoomGone(room, "signal SIGKILL"))
    assert notice.notice == {"notice": "room-ended", "room": room, "cause": "signal SIGKILL", "is_expected": False}


def test_a_closed_room_ends_gracefully_and_a_new_wish_opens_another() -> None:
    play = Play()
    play.join()
    room = play.open()
    (end,) = play.tell(CloseRoom(room, True))
    assert (end.room, end.grace_s) == (room, 10.0)
    assert play.wish() == [Begin("room-2")]
    (notice,) = play.tell(RoomGone(room, "asked to end"))
    assert notice.notice["is_expected"] is True


def test_whoever_waits_for_a_room_that_is_closed_hears_of_it() -> None:
    play = Play()
    play.join()
    play.wish()
    assert of_kind(play.tell(CloseRoom("room-1", False)), End) == [End("room-1", "closed by its Main", 0.0)]
    (refuse,) = of_kind(play.tell(RoomGone("room-1", "cancelled")), Refuse)
    assert isinstance(refuse.error, WorkerStartError)


def test_wishes_beyond_the_rooms_wait_and_the_tenant_with_fewest_rooms_comes_first() -> None:
    play = Play(rooms_max=2)
    for tenant in "ab":
        play.join(tenant)
    first = play.open("a", "1")
    second = play.open("a", "2")
    for room in (first, second):
        play.see(room, 1, is_idle=False)
    assert of_kind(play.wish("a", "3"), Begin) == of_kind(play.wish("b", "4"), Begin) == []
    assert of_kind(play.tell(RoomGone(first, "")), Begin) == [Begin("room-4")], "b's, who has none"


def test_an_idle_room_makes_room_for_a_wish_that_used_longest_ago_first() -> None:
    play = Play(rooms_max=2)
    play.join()
    old, new = play.open(workspace="1"), play.open(workspace="2")
    play.later(5)
    play.see(new, 1, is_idle=False)
    play.see(new, 1, is_idle=True)
    play.later(5)
    (end,) = of_kind(play.wish(workspace="3"), End)
    assert end.room == old
    assert play.wish(workspace="4") == [], "one that ends at a time is enough for one wish"
    assert of_kind(play.tell(RoomGone(old, "")), Begin) == [Begin("room-3")]


def test_an_idle_room_without_data_goes_before_one_that_holds_some() -> None:
    play = Play(rooms_max=2)
    play.join()
    holding, empty = play.open(workspace="1"), play.open(workspace="2")
    play.see(holding, 1, holds=100)
    play.later(5)
    assert [end.room for end in of_kind(play.wish(workspace="3"), End)] == [empty]


def test_a_room_that_was_opened_just_now_is_not_retired_at_once() -> None:
    play = Play(rooms_max=1)
    play.join()
    room = play.open(workspace="1")
    assert play.wish(workspace="2") == []
    assert [end.room for end in of_kind(play.later(2), End)] == [room]


def test_a_tenant_has_a_bound_of_its_own_on_rooms() -> None:
    play = Play(rooms_per_tenant_max=1)
    for tenant in "ab":
        play.join(tenant)
    room = play.open("a", "1")
    play.see(room, 1, is_idle=False)
    assert play.wish("a", "2") == []
    assert of_kind(play.wish("b", "3"), Begin) != []


def test_rooms_of_tickets_count_against_the_bound_of_the_main_that_made_them() -> None:
    """D16: no Main has more rooms than its bound by letting its rooms be Mains."""
    play = Play(rooms_per_tenant_max=2, wishes_per_tenant_max=1)
    play.join("a")
    play.join("below", owner=tenant_root("a"))
    play.join("deeper", owner=tenant_root("below"))
    play.join("b")
    for tenant in ("a", "below"):
        play.see(play.open(tenant), 1, is_idle=False)
    assert play.wish("deeper") == []
    (refuse,) = play.wish("below", "2")
    assert isinstance(refuse.error, OfferFullError)
    assert of_kind(play.wish("b"), Begin) != []


def test_a_wish_waits_no_longer_than_it_says_and_hears_what_is_short() -> None:
    play = Play(rooms_max=1)
    play.join()
    room = play.open(workspace="1")
    play.see(room, 1, is_idle=False)
    play.wish(workspace="2", wait_s=3.0)
    (refuse,) = play.later(4)
    assert isinstance(refuse.error, OfferFullError) and "1 of 1 rooms" in str(refuse.error)


def test_wishes_of_a_tenant_are_bounded() -> None:
    """D16: the queue of wishes that an offer keeps for a Main has a bound, and says so."""
    play = Play(rooms_max=1, wishes_per_tenant_max=2)
    play.join()
    play.see(play.open(workspace="0"), 1, is_idle=False)
    assert play.wish(workspace="1") == play.wish(workspace="2") == []
    (refuse,) = play.wish(workspace="3")
    assert isinstance(refuse.error, OfferFullError)


def test_a_wish_that_nobody_waits_for_begins_nothing() -> None:
    play = Play(rooms_max=1)
    play.join()
    room = play.open(workspace="0")
    play.see(room, 1, is_idle=False)
    play.wish(workspace="1")
    play.tell(Unwish(2))
    assert of_kind(play.tell(RoomGone(room, "")), Begin) == []


# ---------------------------------------------------------------- leases


def test_a_lease_that_is_not_renewed_ends_everything_of_its_tenant() -> None:
    """D14: a Main that is not heard of for its lease leaves nothing behind: rooms, wishes, keys, blobs."""
    play = Play(rooms_max=1)
    play.join(lease_s=10.0)
    room = play.open(workspace="1")
    play.see(room, 1, is_idle=False)
    play.wish(workspace="2")
    effects = play.later(11)
    assert [(end.room, end.grace_s) for end in of_kind(effects, End)] == [(room, 0.0)]
    assert [type(refuse.error) for refuse in of_kind(effects, Refuse)] == [LeaseOverError]
    assert [forget.tenant for forget in of_kind(effects, Forget)] == ["a"]
    play.tell(RoomGone(room, ""))
    assert not play.machine.tenants and not play.machine.rooms


def test_what_a_tenant_says_renews_its_lease() -> None:
    play = Play()
    play.join(lease_s=10.0)
    for _ in range(5):
        play.later(9)
        assert play.tell(Heard("a")) == []
    assert [type(effect) for effect in play.later(10)] == [Forget]


def test_a_main_that_comes_again_within_its_lease_finds_its_rooms() -> None:
    """D14: a broken connection does not end a lease."""
    play = Play()
    play.join(lease_s=10.0)
    room = play.open()
    play.tell(Disconnected("a", 1))
    play.later(9)
    (joined,) = play.join(lease_s=10.0, connection=2)
    assert joined.notice["is_again"] and joined.notice["rooms"] == [{"room": room}]
    play.tell(Disconnected("a", 1))
    assert play.machine.tenants["a"].connection == 2, "the end of the old stream is no news"


def test_a_tenant_that_leaves_ends_at_once_and_is_unknown_then() -> None:
    play = Play()
    play.join()
    room = play.open()
    effects = play.tell(Leave("a", "bye"))
    assert [type(effect) for effect in effects] == [End, Forget]
    (refuse,) = play.wish()
    assert isinstance(refuse.error, LeaseOverError)
    assert play.tell(RoomGone(room, "")) != []


def test_a_tenant_is_only_known_to_whoever_admitted_it() -> None:
    play = Play()
    play.join()
    assert isinstance(play.machine.why_not_joined("a", "mallory"), LeaseOverError)
    assert play.machine.why_not_joined("a", None) is None
    (refuse,) = play.tell(Wish("a", "mallory", 7, RoomWish("tcp://s:1")))
    assert isinstance(refuse.error, LeaseOverError)
    with pytest.raises(LeaseOverError):
        play.machine.tenant_of("a", "mallory")


def test_tenants_are_bounded() -> None:
    play = Play(tenants_max=1)
    play.join("a")
    assert isinstance(play.machine.why_not_joined("b", None), OfferFullError)


def test_calls_that_wait_for_one_room_are_bounded() -> None:
    play = Play()
    play.join()
    effects = [effect for _ in range(65) for effect in play.wish()]
    assert [effect.request for effect in of_kind(effects, Refuse)] == [65]


# ---------------------------------------------------------------- memory


def test_idle_rooms_are_retired_when_memory_is_short_for_a_wish() -> None:
    play = Play(memory_nbytes=200 * MiB, room_nbytes=50 * MiB)
    play.join()
    for number in range(3):
        play.see(play.open(workspace=str(number)), 50 * MiB)
        play.later(2)
    (end,) = play.wish(workspace="3")
    assert isinstance(end, End) and end.room == "room-1"
    assert of_kind(play.tell(RoomGone("room-1", "")), Begin) == [Begin("room-4")]


def test_idle_rooms_are_retired_when_others_grow() -> None:
    play = Play(memory_nbytes=100 * MiB, room_nbytes=10 * MiB)
    play.join()
    idle, busy = play.open(workspace="1"), play.open(workspace="2")
    play.later(2)
    assert [end.room for end in play.see(busy, 85 * MiB, is_idle=False)] == [idle]


def test_without_anything_idle_the_biggest_room_of_who_takes_most_is_killed() -> None:
    play = Play(memory_nbytes=100 * MiB, room_nbytes=10 * MiB)
    for tenant in "ab":
        play.join(tenant)
    rooms = [play.open("a", "1"), play.open("a", "2"), play.open("b", "3")]
    for room, nbytes in zip(rooms, (30, 25, 45), strict=True):
        play.see(room, nbytes * MiB, is_idle=False)
    (end,) = play.see(rooms[1], 27 * MiB, is_idle=False)
    assert (end.room, end.grace_s) == (rooms[0], 0.0) and "over its memory" in end.cause


def test_the_last_room_is_not_retired_for_what_it_holds_itself() -> None:
    play = Play(memory_nbytes=100 * MiB, room_nbytes=10 * MiB)
    play.join()
    small, big = play.open(workspace="1"), play.open(workspace="2")
    play.later(2)
    assert [end.room for end in play.see(big, 95 * MiB, holds=10)] == [small]


def test_a_single_room_is_left_to_its_nanny() -> None:
    play = Play(memory_nbytes=100 * MiB)
    play.join()
    room = play.open()
    assert play.see(room, 150 * MiB, is_idle=False) == []


def test_sixteen_workspaces_in_turn_stay_within_the_memory() -> None:
    play = Play(memory_nbytes=200 * MiB, room_nbytes=40 * MiB)
    play.join()
    for number in range(16):
        begun = of_kind(play.wish(workspace=str(number)), Begin)
        while not begun:
            effects = play.later(1)
            for end in of_kind(effects, End):
                effects += play.tell(RoomGone(end.room, ""))
            begun = of_kind(effects, Begin)
            for room in list(play.machine.rooms.values()):
                if room.state is State.RETIRING:
                    begun += of_kind(play.tell(RoomGone(room.id, "")), Begin)
        play.tell(RoomOpened(begun[0].room, {"room": begun[0].room}))
        play.see(begun[0].room, 40 * MiB)
        assert sum(room.memory_nbytes for room in play.machine.rooms.values()) <= 200 * MiB


# ---------------------------------------------------------------- the owner's will


def test_a_withdrawn_offer_ends_all_rooms_within_the_grace_and_refuses_wishes() -> None:
    """D15: the owner takes everything back: grace, then kill; wishes hear why."""
    play = Play()
    play.join()
    room = play.open()
    effects = play.tell(WithdrawOffer(None, None, 30.0))
    assert of_kind(effects, Allow) == [Allow(0)]
    assert [cast.notice["notice"] for cast in of_kind(effects, Cast)] == ["withdrawn"]
    assert [(end.room, end.grace_s) for end in of_kind(effects, End)] == [(room, 30.0)]
    play.tell(RoomGone(room, ""))
    (refuse,) = play.wish()
    assert isinstance(refuse.error, OfferWithdrawnError)


def test_a_returned_offer_takes_up_wishes_again() -> None:
    """D15: what was withdrawn comes back at will."""
    play = Play(memory_nbytes=500 * MiB)
    play.join()
    play.tell(WithdrawOffer(None, None, 0.0))
    effects = play.tell(ReturnOffer())
    assert effects == [Allow(2), Cast({"notice": "returned", "cores": 2, "memory_nbytes": 500 * MiB})]
    assert play.wish() == [Begin("room-1")]


def test_some_cores_withdrawn_end_only_what_runs_beyond_them_after_the_grace() -> None:
    """D15: a part is taken back: slots shrink at once, and what still runs too much is killed, least lost first."""
    play = Play(cores=4)
    play.join()
    small, big = play.open(workspace="1"), play.open(workspace="2")
    play.see(small, 1, is_idle=False, running=1)
    play.see(big, 1, is_idle=False, running=3)
    assert of_kind(play.tell(WithdrawOffer(1, None, 5.0)), Allow) == [Allow(3)]
    assert [end.room for end in of_kind(play.later(6), End)] == [small]
    assert play.machine.cores == 3 and not play.machine.is_withdrawn


def test_withdrawn_memory_retires_idle_rooms_at_once_and_kills_busy_ones_after_the_grace() -> None:
    play = Play(memory_nbytes=100 * MiB, room_nbytes=10 * MiB)
    play.join()
    idle, busy, other = (play.open(workspace=name) for name in "123")
    play.later(2)
    play.see(busy, 40 * MiB, is_idle=False)
    play.see(other, 30 * MiB, is_idle=False)
    assert [end.room for end in of_kind(play.tell(WithdrawOffer(None, 50 * MiB, 5.0)), End)] == [idle]
    play.tell(RoomGone(idle, ""))
    assert [end.room for end in of_kind(play.later(6), End)] == [busy]


def test_all_cores_withdrawn_one_by_one_is_a_whole_withdrawal() -> None:
    play = Play()
    play.tell(WithdrawOffer(1, None, 0.0))
    play.tell(WithdrawOffer(1, None, 0.0))
    assert play.machine.is_withdrawn


def test_an_offer_that_closes_is_never_lent_again() -> None:
    play = Play()
    play.join()
    play.tell(CloseOffer(0.0))
    assert play.tell(ReturnOffer()) == []
    assert isinstance(play.machine.why_not_joined("b", None), OfferWithdrawnError)


def test_a_room_that_is_ended_in_its_grace_may_be_told_to_hurry() -> None:
    play = Play()
    play.join()
    play.open()
    play.tell(WithdrawOffer(None, None, 60.0))
    assert of_kind(play.tell(Leave("a", "bye")), End)[0].grace_s == 0.0
