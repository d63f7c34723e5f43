"""Who gets which file of the pull recipe, and what happens to files whose worker is slow, dead or lying."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from distributed.recipes import leases as module
from distributed.recipes.leases import ACTIVE_S, ATTEMPTS_MAX, Leases
from distributed.recipes.rates import Rates

GRACE_S = 4.0


def leases(*files: str, workers: str = "ab", nbytes: int = 10) -> Leases:
    made = Leases(GRACE_S)
    for path in files:
        made.add(path, nbytes)
    for name in workers:
        made.register(name, 0.0)
    return made


def taken(made: Leases, name: str, now: float = 0.0, files_max: int = 1, nbytes_max: int = 10**6) -> list[str]:
    paths = [lease.path for lease in made.take(name, now, files_max, nbytes_max)]
    made.check()
    return paths


def test_a_name_is_registered_once() -> None:
    made = leases(workers="")
    assert [made.register("a", 0.0), made.register("a", 1.0), made.is_registered("b")] == [True, False, False]


def test_the_worker_not_heard_of_longest_is_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LESSEES_MAX", 3)
    made = leases("1", workers="abc")
    taken(made, "a")
    taken(made, "b", 1.0)
    made.register("d", 2.0)
    assert list(made.lessees) == ["a", "b", "d"]


def test_files_are_taken_in_their_order() -> None:
    made = leases("1", "2", "3")
    assert [taken(made, "a"), taken(made, "b"), taken(made, "a"), taken(made, "b")] == [["1"], ["2"], ["3"], []]
    assert made.is_busy


def test_nobody_is_busy_when_all_files_are_done() -> None:
    made = leases("1")
    taken(made, "a")
    made.finish("a", "1", 1.0)
    made.check()
    assert not made.is_busy


def test_without_statistics_a_file_is_timed_out_after_the_grace() -> None:
    """H13: no statistics yet: speed 0, the grace alone."""
    made = leases("1")
    taken(made, "a")
    assert [len(list(made.timed_out(now))) for now in (GRACE_S, GRACE_S + 0.01)] == [0, 1]
    assert made.next_timeout() == GRACE_S


def test_a_slow_worker_gets_the_time_that_its_speed_asks_for() -> None:
    """H13: start + bytes x seconds per byte < now - grace."""
    made = leases("1", "2", nbytes=100)
    taken(made, "a")
    made.finish("a", "1", 50.0)
    assert made.lessees["a"].processing_speed == 0.5
    assert made.lessees["a"].processing_speed_per_file == 50.0
    assert made.lessees["a"].estimate_file_processing_seconds(30) == 15.0
    taken(made, "a", 100.0)
    assert made.next_timeout() == 100 + 50 + GRACE_S


def test_a_file_whose_bytes_are_still_taken_is_not_timed_out() -> None:
    made = leases("1")
    (lease,) = made.take("a", 0.0)
    made.hear(lease, 60.0)
    assert not list(made.timed_out(60.0 + GRACE_S))


def test_the_earliest_started_of_the_timed_out_files_goes_first() -> None:
    """H14: a file that timed out is taken away from its worker, the earliest started first."""
    made = leases("1", "2", "3", workers="abc")
    for moment, name in enumerate("abc"):
        taken(made, name, float(moment))
    assert taken(made, "c", 5.5) == ["1"]
    assert taken(made, "a", 5.5) == ["2"]
    assert taken(made, "b", 5.5) == []
    assert not made.lessees["b"].leases


def test_a_fresh_file_goes_before_one_that_timed_out() -> None:
    made = leases("1", "2")
    taken(made, "a")
    assert taken(made, "b", 100.0) == ["2"]


def test_a_late_result_of_a_file_that_was_reassigned_counts() -> None:
    """H14: a late result is accepted; the slow worker's time is known from then on."""
    made = leases("1", nbytes=100)
    taken(made, "a")
    taken(made, "b", 10.0)
    assert made.has_held("a", "1")
    made.finish("a", "1", 20.0)
    made.check()
    assert not made.is_busy
    assert made.lessees["a"].processing_speed == 0.2
    assert made.lessees["b"].files_total == 0


def test_a_worker_that_never_had_the_file_is_not_believed() -> None:
    made = leases("1")
    taken(made, "a")
    assert not made.has_held("b", "1")


def test_a_file_given_back_waits_again_behind_the_others() -> None:
    made = leases("1", "2")
    taken(made, "a")
    made.give_back("a", "1", "its connection broke")
    assert [taken(made, "b"), taken(made, "b")] == [["2"], ["1"]]


def test_a_file_that_did_not_fit_is_the_next_one_and_costs_no_attempt() -> None:
    made = leases("1", "2")
    for _ in range(ATTEMPTS_MAX + 1):
        assert taken(made, "a") == ["1"]
        made.give_back("a", "1")
    assert not made.take_given_up()
    assert not made.has_held("a", "1")


def test_only_its_holder_gives_a_file_back() -> None:
    made = leases("1")
    taken(made, "a")
    made.give_back("b", "1", "never had it")
    assert made.lease_of("1") is made.lessees["a"].leases["1"]


def test_a_file_that_nobody_can_do_is_given_up_with_the_reason() -> None:
    made = leases("1")
    for _ in range(ATTEMPTS_MAX):
        taken(made, "a")
        made.give_back("a", "1", "it changes while it is read")
    assert made.take_given_up() == [("1", "it changes while it is read; given up after 5 attempts")]
    assert (made.take_given_up(), made.waiting_count, made.is_busy) == ([], 0, False)


def test_a_worker_that_fails_on_everything_costs_no_file_while_others_work() -> None:
    """It asks ten times as often as the good one, which is the quickest way to use up attempts."""
    made, done = leases("1", "2", "3"), []
    for turn in range(100):
        now = turn / 10
        for path in taken(made, "a", now):
            made.give_back("a", path, "I am bad")
        if turn % 10 == 0:
            for path in taken(made, "b", now):
                made.finish("b", path, now)
                done.append(path)
    assert (sorted(done), made.take_given_up(), made.is_done) == (["1", "2", "3"], [], True)


def test_a_file_that_timed_out_goes_to_another_worker_first() -> None:
    made = leases("1")
    taken(made, "b")
    made.give_back("b", "1")
    assert taken(made, "a", 1.0) == ["1"]
    assert taken(made, "a", 20.0) == [], "it hangs on it already, and b asks, too"
    assert taken(made, "b", 20.0) == ["1"]


@pytest.mark.parametrize("other", ["registers", "left"])
def test_a_worker_that_failed_gets_the_file_again_when_nobody_else_asks(other: str) -> None:
    made = leases("1")
    if other == "left":
        taken(made, "b")
        made.give_back("b", "1")
    now = 0.0 if other == "registers" else ACTIVE_S + 1
    assert taken(made, "a", now) == ["1"]
    made.give_back("a", "1", "once")
    made.register("b", now)
    assert not made.is_done
    assert taken(made, "a", now) == ["1"]


def test_a_file_that_hangs_every_worker_is_given_up_and_each_gets_twice_the_time_of_the_one_before() -> None:
    made = leases("1", workers="abcdef")
    now, waits = 0.0, []
    for name in "abcde":
        assert taken(made, name, now) == ["1"]
        until = made.next_timeout()
        assert until is not None
        waits.append(until - now)
        now = until + 0.001
    assert taken(made, "f", now) == []
    assert waits == pytest.approx([4, 8, 16, 32, 64])
    assert made.take_given_up()[0][0] == "1"


def test_a_worker_that_only_asks_is_no_fault_of_the_files() -> None:
    made = leases("1", "2")
    for now in range(100):
        assert len(taken(made, "a", 1000.0 * now)) == 1
    assert not made.take_given_up()


def test_a_batch_ends_at_its_count_and_at_its_bytes() -> None:
    """H22: files in batch, bounded by their number and their bytes."""
    made = leases(*map(str, range(100)))
    assert len(taken(made, "a", files_max=7)) == 7
    assert len(taken(made, "a", files_max=50, nbytes_max=35)) == 3
    assert len(taken(made, "a", files_max=50, nbytes_max=0)) == 1


def test_a_batch_leaves_some_for_the_others() -> None:
    made = leases(*map(str, range(12)), workers="abc")
    assert len(taken(made, "a", files_max=256)) == 2


def test_the_files_of_a_batch_share_its_time() -> None:
    """H22: the time-out of each file of a batch is that of the whole; so are its statistics."""
    made = leases(*map(str, range(8)))
    batch = made.take("a", 0.0, 2, 1000)
    made.finish("a", batch[0].path, 4.0)
    assert made.lessees["a"].processing_speed_per_file == 2.0
    assert batch[1].timeout_at(GRACE_S) == 20 * 0.2 + GRACE_S


def test_only_what_is_missing_of_a_batch_is_taken_again() -> None:
    """H22: a batch that was reported in part returns only the missing files."""
    made = leases(*map(str, range(8)))
    batch = [lease.path for lease in made.take("a", 0.0, 2, 1000)]
    made.finish("a", batch[1], 1.0)
    while taken(made, "b", 1.0):
        made.finish("b", next(iter(made.lessees["b"].leases)), 1.0)
    assert taken(made, "b", 1000.0, 10) == [batch[0]]


def test_rates_are_those_of_the_last_ten_seconds() -> None:
    rates = Rates(0.0)
    assert rates.per_second(0.0) == (0.0, 0.0)
    rates.count(10, 1000, 0.2)
    rates.count(10, 1000, 0.4)
    assert rates.per_second(2.0) == (10.0, 1000.0)
    rates.count(30, 0, 9.0)
    assert rates.per_second(12.0) == (3.0, 0.0)


class AnyOrder(RuleBasedStateMachine):
    """Whatever workers do, both sides of every lease agree, and no file is lost: it waits, is leased or settled."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.paths = [str(number) for number in range(6)]
        self.made = leases(*self.paths, workers="abc")
        self.settled: set[str] = set()

    @rule(name=st.sampled_from("abc"), count=st.integers(1, 4))
    def take(self, name: str, count: int) -> None:
        self.made.take(name, self.now, count, 1000)

    @rule(name=st.sampled_from("abc"), path=st.sampled_from("012345"))
    def finish(self, name: str, path: str) -> None:
        if self.made.has_held(name, path):
            self.made.finish(name, path, self.now)
            self.settled.add(path)

    @rule(name=st.sampled_from("abc"), path=st.sampled_from("012345"), reason=st.sampled_from([None, "broke"]))
    def give_back(self, name: str, path: str, reason: str | None) -> None:
        self.made.give_back(name, path, reason)

    @precondition(lambda self: self.made.is_busy)
    @rule()
    def time_passes(self) -> None:
        self.now = (self.made.next_timeout() or self.now) + 0.001

    @invariant()
    def no_file_is_lost(self) -> None:
        self.made.check()
        self.settled |= {path for path, _ in self.made.take_given_up()}
        for path in self.paths:
            waits = path in self.made._waiting
            assert waits or self.made.lease_of(path) is not None or path in self.settled


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=25, stateful_step_count=40)
