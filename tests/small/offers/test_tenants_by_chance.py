"""The machine of an offer under whatever happens: every call is answered once, nothing stays, late news is no news."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from distributed.errors import WorkerStartError
from distributed.offers.records import (
    Answer,
    Begin,
    CloseOffer,
    CloseRoom,
    Disconnected,
    End,
    Heard,
    Leave,
    Notify,
    Refuse,
    ReturnOffer,
    RoomFailed,
    RoomGone,
    RoomOpened,
    RoomSeen,
    State,
    Unwish,
    WithdrawOffer,
)
from distributed.testing.offering import Play, of_kind
from distributed.units import MiB

# ---------------------------------------------------------------- by chance

names = st.sampled_from("abc")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("join"), names),
        st.tuples(st.just("leave"), names),
        st.tuples(st.just("wish"), names, st.sampled_from("12345")),
        st.tuples(st.just("opened"), st.integers(0, 9)),
        st.tuples(st.just("failed"), st.integers(0, 9)),
        st.tuples(st.just("gone"), st.integers(0, 9)),
        st.tuples(st.just("seen"), st.integers(0, 9), st.integers(0, 120), st.booleans()),
        st.tuples(st.just("close"), st.integers(0, 9)),
        st.tuples(st.just("unwish"), st.integers(1, 30)),
        st.tuples(st.just("later"), st.sampled_from([0.3, 3.0, 40.0])),
        st.tuples(st.just("withdraw"), st.sampled_from([None, 1])),
        st.tuples(st.just("return")),
    ),
    max_size=60,
)


@example([("join", "a"), ("wish", "a", "1"), ("leave", "a"), ("join", "a")])
@given(steps)
def test_whatever_happens_every_call_is_answered_once_and_nothing_stays(plan: list[Any]) -> None:
    play = Play(memory_nbytes=200 * MiB, rooms_max=3, rooms_per_tenant_max=2, wishes_per_tenant_max=2)
    asked: set[int] = set()
    answered: list[int] = []
    began: dict[str, None] = {}  # rooms that have, or may have, a process

    def hear(effects: list[Any]) -> None:
        for effect in effects:
            if isinstance(effect, (Answer, Refuse)):
                answered.append(effect.request)
            elif isinstance(effect, Begin):
                assert effect.room not in began
                began[effect.room] = None
            elif isinstance(effect, End):
                assert effect.room in began

    def any_room(index: int, state: State) -> str | None:
        rooms = [room.id for room in play.machine.rooms.values() if room.state is state]
        return rooms[index % len(rooms)] if rooms else None

    for step in plan:
        match step:
            case ("join", tenant):
                hear(play.join(tenant, lease_s=60.0))
            case ("leave", tenant):
                hear(play.tell(Leave(tenant, "bye")))
            case ("wish", tenant, workspace):
                hear(play.wish(tenant, workspace, wait_s=30.0))
                asked.add(play.requests)
            case ("opened", index) if (room := any_room(index, State.STARTING)) is not None:
                hear(play.tell(RoomOpened(room, {"room": room})))
            case ("failed", index) if (room := any_room(index, State.STARTING)) is not None:
                del began[room]
                hear(play.tell(RoomFailed(room, WorkerStartError("no"))))
            case ("gone", index) if (room := any_room(index, State.RETIRING)) is not None:
                del began[room]
                hear(play.tell(RoomGone(room, "")))
            case ("seen", index, size, is_idle) if (room := any_room(index, State.OPEN)) is not None:
                hear(play.see(room, size * MiB, is_idle, running=0 if is_idle else 1))
            case ("close", index) if (room := any_room(index, State.OPEN)) is not None:
                hear(play.tell(CloseRoom(room, True)))
            case ("unwish", request):
                asked -= {request} - set(answered)
                hear(play.tell(Unwish(request)))
            case ("later", seconds):
                hear(play.later(seconds))
            case ("withdraw", cores):
                hear(play.tell(WithdrawOffer(cores, None, 1.0)))
            case ("return",):
                hear(play.tell(ReturnOffer()))
    hear(play.tell(CloseOffer(0.0)))
    for room in list(began):
        hear(play.tell(RoomGone(room, "")))
    assert not play.machine.rooms
    assert len(answered) == len(set(answered)), "no call is answered twice"
    assert asked <= set(answered)


def test_late_news_of_rooms_and_tenants_that_are_gone_change_nothing() -> None:
    play = Play()
    for event in (
        Heard("x"), Disconnected("x", 1), Leave("x", ""), Unwish(9), CloseRoom("r", True), RoomOpened("r", {}),
        RoomFailed("r", WorkerStartError("")), RoomGone("r", ""), RoomSeen("r", 1, True),
    ):  # fmt: skip
        assert play.tell(event) == []
    assert not of_kind(play.machine.take_effects(), Notify)
