"""`Roster`: who can be counted on, without a clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from distributed.faces.manager.roster import Roster, Standing


def test_ids_count_from_0_and_are_never_used_again() -> None:
    roster = Roster(10, 0)
    first = roster.join(0)
    roster.lose(first)
    assert [first, roster.join(1), roster.join(1)] == [0, 1, 2]


def test_a_worker_is_active_from_when_it_registers() -> None:
    roster = Roster(10, 0)
    worker = roster.join(0)
    assert roster.standing(worker, 1) is Standing.UNCONFIRMED
    roster.register(worker)
    assert roster.standing(worker, 1) is Standing.ACTIVE


def test_a_worker_that_was_never_heard_of_is_dead_or_unconfirmed_and_not_both() -> None:
    """M04: active / unconfirmed / dead disjoint and correct."""
    roster = Roster(10, 0)
    worker = roster.join(0)
    assert [roster.standing(worker, now) for now in (10, 10.1)] == [Standing.UNCONFIRMED, Standing.DEAD]
    assert roster.having(Standing.UNCONFIRMED, 10.1) == []


def test_a_silent_worker_lives_again_when_it_speaks() -> None:
    roster = Roster(10, 0)
    worker = roster.join(0)
    roster.register(worker)
    assert roster.standing(worker, 11) is Standing.DEAD
    roster.hear(worker, 12)
    assert roster.standing(worker, 13) is Standing.ACTIVE


def test_a_worker_whose_death_was_told_stays_dead() -> None:
    roster = Roster(10, 0)
    worker = roster.join(0)
    assert roster.take_deaths(11) == [worker]
    roster.hear(worker, 12)
    roster.register(worker)
    assert roster.standing(worker, 12) is Standing.DEAD
    assert roster.take_deaths(13) == []


def test_a_worker_that_we_do_not_read_is_not_silent() -> None:
    roster = Roster(10, 0)
    worker = roster.join(0)
    roster.hold_back(worker, True, 1)
    assert roster.standing(worker, 100) is Standing.UNCONFIRMED
    roster.hold_back(worker, False, 100)
    assert [roster.standing(worker, now) for now in (110, 111)] == [Standing.UNCONFIRMED, Standing.DEAD]


def test_everybody_is_pinged_twice_within_the_ttl() -> None:
    """M08: poll heartbeats at ttl/2."""
    roster = Roster(10, 0)
    assert [now for now in range(21) if roster.take_poll(now)] == [5, 10, 15, 20]


_NAMES = ["join", "hear", "register", "lose", "hold", "free", "deaths", "wait"]
_STEPS = st.lists(st.tuples(st.sampled_from(_NAMES), st.integers(0, 5)), max_size=60)


def act(roster: Roster, name: str, worker: int, now: float) -> None:
    if name == "hear":
        roster.hear(worker, now)
    elif name == "register":
        roster.register(worker)
    elif name == "lose":
        roster.lose(worker)
    elif name in ("hold", "free"):
        roster.hold_back(worker, name == "hold", now)


@given(_STEPS)
def test_whatever_happens_every_worker_has_one_standing_and_dies_once(steps: list[tuple[str, int]]) -> None:
    roster, now = Roster(5, 0), 0.0
    told: list[int] = []
    for name, number in steps:
        if name == "join":
            roster.join(now)
        elif name == "wait":
            now += number
        elif name == "deaths":
            told += roster.take_deaths(now)
        elif len(roster):
            act(roster, name, number % len(roster), now)
        roster.check(now)
    assert len(told) == len(set(told))
    assert set(told) <= set(roster.having(Standing.DEAD, now))
