"""Who may use how many slots of an offer: played in simulated minutes."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed.offers.shares import QUANTUM_S, Shares

DELAY_S = 0.001  # of a message to or from a room


class Room:
    """A room whose tasks take `seconds` each; a backlog as the engine has it: a few wait at the worker."""

    def __init__(self, name: str, tenant: str, nthreads: int, seconds: float, threads: int, stops_at: float) -> None:
        self.name, self.tenant, self.nthreads, self.seconds, self.threads = name, tenant, nthreads, seconds, threads
        self.stops_at = stops_at
        self.allowed, self.most, self.serial, self.running, self.used_s = 0, nthreads, 0, 0, 0.0


class Play:
    """An offer and its rooms on a clock of their own.

    Attributes:
        idle_s: slot-seconds that nobody had while somebody waited.
    """

    def __init__(self, cores: int) -> None:
        self.shares = Shares(cores)
        self.cores = cores
        self.rooms: dict[str, Room] = {}
        self.now = 0.0
        self.idle_s = 0.0
        self._heap: list[tuple[float, int, Any]] = []
        self._count = count()
        self._looked_at = 0.0
        self._news: deque[Any] = deque()

    def later(self, seconds: float, act: Any) -> None:
        heappush(self._heap, (self.now + seconds, next(self._count), act))

    def add(
        self, name: str, tenant: str, nthreads: int, seconds: float, *, threads: int = 1, weight: float = 1.0,
        at: float = 0.0, until: float = 1e9,
    ) -> None:  # fmt: skip
        """A room that wants all it can get from `at` to `until`."""
        room = self.rooms[name] = Room(name, tenant, nthreads, seconds, threads, until)

        def come() -> None:
            self.shares.open_room(name, tenant, nthreads, weight, self.now)
            self.shares.link(name, True)
            self._spread()
            self._begin(room)

        self.later(at, come)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            wakeup = self.shares.next_wakeup
            due = min(self._heap[0][0] if self._heap else end, end, end if wakeup is None else wakeup)
            self._pass(max(due, self.now))
            if due >= end:
                return
            if wakeup is not None and due >= wakeup:
                self.shares.tick(self.now)
                self._spread()
            while self._heap and self._heap[0][0] <= self.now:
                heappop(self._heap)[2]()

    def _pass(self, now: float) -> None:
        passed_s, self.now = now - self.now, now
        running = sum(room.running for room in self.rooms.values())
        assert running <= self.cores, "more tasks than slots"
        for room in self.rooms.values():
            room.used_s += passed_s * room.running
        wanting = [room for room in self.rooms.values() if room.serial and room.stops_at > now and room.threads == 1]
        if any(room.running < room.nthreads for room in wanting):
            self.idle_s += passed_s * (self.cores - running)

    def _begin(self, room: Room) -> None:
        while self.now < room.stops_at and room.running + min(room.threads, room.most) <= room.allowed:
            took = min(room.threads, room.most)
            room.running += took
            self.later(room.seconds, lambda took=took: self._end(room, took))
        self._report(room)

    def _end(self, room: Room, took: int) -> None:
        room.running -= took
        self._begin(room)

    def _report(self, room: Room) -> None:
        waiting = room.nthreads - room.running if self.now < room.stops_at else 0
        least = room.running + min(room.threads, room.most)
        said = (room.name, room.running, waiting, least, room.serial)
        self.later(DELAY_S, lambda: (self.shares.report(*said, self.now), self._spread()))

    def _spread(self) -> None:
        for news in self.shares.take_news():
            self.later(DELAY_S, lambda news=news: self._hear(news))

    def _hear(self, news: Any) -> None:
        room = self.rooms[news.room]
        room.allowed, room.most, room.serial = news.allowed, news.most, news.serial
        self._begin(room)

    def used_s(self, tenant: str) -> float:
        return sum(room.used_s for room in self.rooms.values() if room.tenant == tenant)


def open_room(shares: Shares, room: str, nthreads: int) -> None:
    """A room of a tenant of the same name, which can be told."""
    shares.open_room(room, room, nthreads, 1.0, 0.0)
    shares.link(room, True)


def test_d14_long_and_short_tasks_get_equal_shares() -> None:
    """D14: several Mains share a worker fairly: tasks of 1 s and of 10 ms, over a minute, within 10 %."""
    play = Play(2)
    play.add("a", "long", 2, 1.0)
    play.add("b", "short", 2, 0.01)
    play.run(60.0)
    assert play.used_s("long") == pytest.approx(60.0, rel=0.1)
    assert play.used_s("short") == pytest.approx(60.0, rel=0.1)
    assert play.idle_s < 0.06 * 120


def test_one_slot_is_shared_too() -> None:
    play = Play(1)
    play.add("a", "long", 1, 1.0)
    play.add("b", "middle", 1, 0.2)
    play.run(60.0)
    assert play.used_s("long") == pytest.approx(30.0, rel=0.1)
    assert play.used_s("middle") == pytest.approx(30.0, rel=0.1)


def test_a_tenant_with_many_rooms_gets_no_more_than_one_with_one() -> None:
    play = Play(4)
    for number in range(5):
        play.add(f"a{number}", "many", 4, 0.05)
    play.add("b", "one", 4, 0.05)
    play.run(30.0)
    assert play.used_s("many") == pytest.approx(60.0, rel=0.1)
    assert play.used_s("one") == pytest.approx(60.0, rel=0.1)
    assert all(room.used_s == pytest.approx(12.0, rel=0.15) for name, room in play.rooms.items() if name[0] == "a")


def test_a_heavier_tenant_gets_more() -> None:
    play = Play(3)
    play.add("a", "double", 3, 0.1, weight=2.0)
    play.add("b", "single", 3, 0.1)
    play.run(60.0)
    assert play.used_s("double") == pytest.approx(120.0, rel=0.1)


def test_what_one_does_not_use_others_have_and_it_is_no_credit() -> None:
    play = Play(4)
    play.add("a", "big", 4, 0.02)
    play.add("b", "modest", 1, 0.02)  # its one slot is less than half of the four
    play.run(30.0)
    assert play.used_s("modest") == pytest.approx(30.0, rel=0.05)
    assert play.used_s("big") == pytest.approx(90.0, rel=0.05)
    before_s = play.used_s("big")
    play.add("c", "modest", 4, 0.02)  # now it wants as much as it can get
    play.add("d", "new", 4, 0.02)
    play.run(30.0)
    for tenant, had_s in (("big", before_s), ("modest", 30.0), ("new", 0.0)):
        assert play.used_s(tenant) - had_s == pytest.approx(40.0, rel=0.1), tenant


def test_who_comes_again_has_no_credit() -> None:
    play = Play(2)
    play.add("a", "steady", 2, 0.05)
    play.add("b", "early", 2, 0.05, until=10.0)
    play.add("c", "early", 2, 0.05, at=30.0)
    play.run(30.0)
    before_s = play.used_s("steady")
    assert before_s == pytest.approx(10.0 + 40.0, rel=0.1)
    play.run(20.0)
    assert play.used_s("steady") - before_s == pytest.approx(20.0, rel=0.1)


def test_tasks_of_several_threads_get_theirs() -> None:
    play = Play(4)
    play.add("a", "wide", 4, 0.2, threads=3)
    play.add("b", "narrow", 4, 0.05)
    play.run(60.0)
    assert play.used_s("wide") == pytest.approx(120.0, rel=0.15)


def test_a_task_wider_than_the_offer_gets_all_of_it() -> None:
    play = Play(4)
    play.add("a", "wide", 4, 0.2, threads=4)
    play.add("b", "narrow", 4, 0.05)
    play.run(1.0)
    play.shares.set_cores(2, play.now)
    play._spread()
    play.cores = 4
    play.run(1.0)  # what runs beyond ends
    play.cores = 2
    before_s = play.used_s("wide")
    play.run(60.0)
    assert play.used_s("wide") - before_s == pytest.approx(60.0, rel=0.15)


def test_alone_it_is_allowed_everything_before_it_asks() -> None:
    shares = Shares(4)
    open_room(shares, "a", 4)
    assert [(news.allowed, news.most) for news in shares.take_news()] == [(4, 4)]
    assert shares.next_wakeup is None


def test_what_was_not_confirmed_is_not_given_to_another() -> None:
    shares = Shares(1)
    open_room(shares, "a", 1)
    (first,) = shares.take_news()
    shares.report("a", 0, 0, 1, first.serial, 0.0)
    open_room(shares, "b", 1)
    assert [(news.room, news.allowed) for news in shares.take_news()] == [("b", 0)]
    shares.report("b", 0, 1, 1, 0, 0.1)
    assert [(news.room, news.allowed) for news in shares.take_news()] == [("a", 0)]
    shares.report("a", 1, 0, 2, first.serial, 0.2)  # it had begun a task just before
    shares.report("a", 1, 0, 2, first.serial + 1, 0.3)
    assert shares.take_news() == []
    shares.report("a", 0, 0, 1, first.serial + 1, 0.4)
    assert [(news.room, news.allowed) for news in shares.take_news()] == [("b", 1)]


def test_a_room_that_ends_gives_all_back() -> None:
    shares = Shares(1)
    for room in ("a", "b"):
        open_room(shares, room, 1)
    shares.take_news()
    shares.report("b", 0, 1, 1, 0, 0.1)
    shares.take_news()
    shares.close_room("a", 0.2)
    shares.close_room("a", 0.2)
    assert [(news.room, news.allowed) for news in shares.take_news()] == [("b", 1)]
    assert shares.shares()["b"]["waiting"] == 1


def test_a_room_that_is_not_there_is_told_when_it_is() -> None:
    shares = Shares(2)
    shares.open_room("a", "t", 2, 1.0, 0.0)
    assert shares.take_news() == []
    shares.link("a", True)
    assert [news.allowed for news in shares.take_news()] == [2]
    shares.link("a", False)
    shares.set_cores(1, 0.5)
    assert shares.take_news() == []
    shares.link("a", True)
    (news,) = shares.take_news()
    assert (news.allowed, news.most) == (0, 1)  # it may be using both
    shares.report("a", 0, 0, 1, news.serial, 1.0)
    assert [news.allowed for news in shares.take_news()] == [1]
    for unknown in (lambda: shares.link("x", True), lambda: shares.report("x", 0, 0, 1, 0, 1.0)):
        unknown()


def test_a_new_process_in_a_room_has_been_told_nothing() -> None:
    shares = Shares(2)
    open_room(shares, "a", 2)
    (news,) = shares.take_news()
    shares.report("a", 2, 0, 3, news.serial, 0.1)
    shares.link("a", False)
    open_room(shares, "b", 2)
    shares.report("b", 0, 2, 1, 0, 0.2)
    assert [(news.room, news.allowed) for news in shares.take_news()] == [("b", 0)]
    shares.tick(0.3)
    shares.link("a", True)
    assert [(news.room, news.allowed) for news in shares.take_news()] == [("a", 0)]
    shares.report("a", 0, 0, 1, 0, 0.4)  # what the old one had is free
    assert [(news.room, news.allowed) for news in shares.take_news()] == [("b", 2)]


@settings(max_examples=4, deadline=None)
@given(
    st.integers(1, 8),
    st.lists(st.sampled_from([0.02, 0.05, 0.1, 0.4, 1.0]), min_size=2, max_size=5),
    st.lists(st.integers(1, 3), min_size=5, max_size=5),
)
def test_everybody_who_always_waits_gets_the_same(cores: int, lengths: list[float], counts: list[int]) -> None:
    play = Play(cores)
    for number, seconds in enumerate(lengths):
        for room in range(counts[number]):
            play.add(f"{number}.{room}", f"t{number}", cores, seconds, at=0.01 * room)
    play.run(60.0)
    share_s = cores * 60.0 / len(lengths)
    for number in range(len(lengths)):
        assert play.used_s(f"t{number}") == pytest.approx(share_s, rel=0.1, abs=1.5)
    assert play.idle_s < 0.15 * cores * 60.0


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 8), st.floats(0.5, 8), st.sampled_from([0.01, 0.1, 0.5])), max_size=8))
def test_rooms_come_and_go_and_no_slot_is_lost(visits: list[tuple[float, float, float]]) -> None:
    play = Play(3)
    play.add("steady", "steady", 3, 0.05)
    for number, (at, stay, seconds) in enumerate(visits):
        play.add(f"v{number}", f"v{number}", 3, seconds, at=at, until=at + stay)
    play.run(20.0)
    before_s = play.used_s("steady")
    play.run(5.0)
    assert play.used_s("steady") - before_s == pytest.approx(15.0, rel=0.02)  # alone again: it has them all
    assert QUANTUM_S < 1.0
