"""The machine of a crew: when calls run, which offers are asked, when it ends."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.crews.states import (
    AGAIN_S_FIRST,
    WORD_S,
    AskRoom,
    CloseAsked,
    Connected,
    CrewMachine,
    EndCrew,
    FailCalls,
    Needed,
    OfferGone,
    OfferHere,
    Phase,
    PlaceCalls,
    Resumed,
    RoomEnded,
    RoomOpened,
    RoomRefused,
    RoomState,
    SayWaiting,
    Superseded,
    Tick,
)

ERROR = ValueError("no")


def play(machine: CrewMachine, *events: Any, now: float = 0.0) -> list[Any]:
    """The effects of these events."""
    effects: list[Any] = []
    for event in events:
        machine.handle(event, now)
        effects += machine.take_effects()
    return effects


@pytest.fixture
def machine() -> CrewMachine:
    return CrewMachine(is_hopeful=False)


@pytest.fixture
def opened(machine: CrewMachine) -> CrewMachine:
    """With a room at the offer o."""
    effects = play(machine, OfferHere("o", True), Connected(), RoomOpened("o"))
    assert effects == [AskRoom("o"), PlaceCalls()]
    return machine


def test_offers_are_asked_at_once_and_calls_are_placed_when_the_scheduler_is_there(machine: CrewMachine) -> None:
    assert play(machine, OfferHere("o", True), OfferHere("p", True)) == [AskRoom("o"), AskRoom("p")]
    assert play(machine, RoomOpened("o")) == []
    assert machine.phase is Phase.OPENING
    assert play(machine, Connected()) == [PlaceCalls()]


def test_calls_are_placed_once_when_the_first_room_is_open(machine: CrewMachine) -> None:
    play(machine, Connected(), OfferHere("o", True), OfferHere("p", True))
    assert play(machine, RoomOpened("p")) == [PlaceCalls()]
    assert play(machine, RoomOpened("o")) == []
    assert machine.phase is Phase.OPEN


def test_a_room_that_was_refused_for_now_is_asked_for_again_later_and_later(machine: CrewMachine) -> None:
    play(machine, Connected(), OfferHere("o", True), RoomRefused("o", ERROR, False))
    assert machine.next_wakeup == AGAIN_S_FIRST
    assert play(machine, Tick(), now=AGAIN_S_FIRST) == [AskRoom("o")]
    play(machine, RoomRefused("o", ERROR, False), now=1.0)
    assert machine.next_wakeup == 1.0 + 2 * AGAIN_S_FIRST


def test_calls_fail_when_every_offer_has_refused_for_ever(machine: CrewMachine) -> None:
    play(machine, Connected(), OfferHere("o", True), OfferHere("p", True))
    assert play(machine, RoomRefused("o", ERROR, True)) == []
    assert play(machine, OfferGone("p", True, KeyError("p"))) == [FailCalls(ERROR)]
    assert machine.phase is Phase.FAILED


def test_calls_of_an_open_crew_fail_when_no_offer_lets_us_in_any_more(opened: CrewMachine) -> None:
    assert play(opened, OfferGone("o", True, ERROR)) == [FailCalls(ERROR)]
    assert opened.phase is Phase.FAILED


def test_as_long_as_others_may_be_found_there_is_hope() -> None:
    machine = CrewMachine(is_hopeful=True)
    assert play(machine, Connected(), OfferGone("o", True, ERROR)) == []
    machine.is_hopeful = False
    assert play(machine, OfferGone("o", True, ERROR)) == [FailCalls(ERROR)]


def test_an_opening_crew_gives_up_when_its_time_is_over() -> None:
    machine = CrewMachine(is_hopeful=True, fail_at=5.0)
    play(machine, Connected())
    (effect,) = play(machine, Tick(), now=5.0)
    assert type(effect) is FailCalls
    assert isinstance(effect.reason, TimeoutError)


def test_an_offer_that_went_meanwhile_opened_nothing(machine: CrewMachine) -> None:
    play(machine, Connected(), OfferHere("o", True), OfferGone("o", False, ERROR))
    assert play(machine, RoomOpened("o")) == []
    assert not machine.has_room
    assert play(machine, OfferHere("o", True)) == [AskRoom("o")]


def test_a_room_that_ended_is_opened_again_if_calls_need_it_and_else_when_they_do(opened: CrewMachine) -> None:
    assert play(opened, RoomEnded("o", True)) == [AskRoom("o")]
    play(opened, RoomOpened("o"))
    assert play(opened, RoomEnded("o", False)) == []
    assert opened.lacks_rooms
    assert play(opened, Needed()) == [AskRoom("o")]


def test_calls_of_an_open_crew_fail_when_its_last_offer_is_gone_for_ever(opened: CrewMachine) -> None:
    play(opened, OfferHere("p", True), RoomOpened("p"))
    assert play(opened, OfferGone("o", True, ERROR)) == []
    assert play(opened, OfferGone("p")) == []  # it may come back
    assert play(opened, OfferHere("p", True), RoomRefused("p", ERROR, True)) == [AskRoom("p")]
    assert play(opened, OfferGone("p", True, ERROR)) == [FailCalls(ERROR)]
    assert opened.phase is Phase.FAILED


def test_a_retiring_crew_asks_no_new_offer_for_a_room_that_nothing_needs(opened: CrewMachine) -> None:
    play(opened, Superseded())
    assert opened.phase is Phase.RETIRING
    assert play(opened, OfferHere("p", False)) == []
    assert play(opened, Needed()) == [AskRoom("p")]


def test_a_crew_whose_workspace_comes_back_is_open_again(opened: CrewMachine) -> None:
    play(opened, Superseded(), Resumed())
    assert opened.phase is Phase.OPEN


def test_a_crew_that_is_superseded_while_it_opens_runs_its_calls_first(machine: CrewMachine) -> None:
    assert play(machine, Superseded(), Connected(), OfferHere("o", True), RoomOpened("o")) == [
        AskRoom("o"),
        PlaceCalls(),
    ]
    assert machine.phase is Phase.RETIRING


def test_people_are_told_every_while_that_there_is_no_room(opened: CrewMachine) -> None:
    play(opened, OfferGone("o", False, ERROR), now=1.0)
    assert opened.next_wakeup == 1.0 + WORD_S
    assert play(opened, Tick(), now=1.0 + WORD_S) == [SayWaiting()]
    assert opened.next_wakeup == 1.0 + 2 * WORD_S
    play(opened, OfferHere("o", True), RoomOpened("o"), now=20.0)
    assert opened.next_wakeup is None


def test_a_closed_crew_does_nothing_any_more(opened: CrewMachine) -> None:
    assert play(opened, CloseAsked()) == [EndCrew()]
    assert play(opened, OfferHere("p", True), RoomEnded("o", True), Tick(), CloseAsked()) == []
    assert opened.offers["o"].room is RoomState.OPEN
    assert opened.next_wakeup is None
