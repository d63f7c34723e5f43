"""Orders in numbers: trees of copies, bounds, evenness, silence; step by step they are told in the scenarios."""

from __future__ import annotations

import pytest

from distributed.errors import BadRequestError
from distributed.messages import AskHolders, CopyData, DataAdded, HoldersKnown
from distributed.scheduler.effects import DropWorker, OrderDone, ToWorker
from distributed.scheduler.events import FromWorker, Rebalance, Replicate, Retire, Tick, WorkerJoined
from distributed.scheduler.invariants import check
from distributed.scheduler.machine import SchedulerMachine
from distributed.scheduler.movement import ORDERS_MAX
from distributed.scheduler.orders import SERVES_MAX
from distributed.scheduler.outbox import HOLDERS_NAMED_MAX
from distributed.testing.scenarios import Stage


def machine_of(count: int) -> SchedulerMachine:
    """So many workers, without limits, of which the first has been given the data `x` by the only client."""
    stage = Stage()
    stage("client c\n" + "\n".join(f"worker w{number}" for number in range(count)))
    stage("scatter w0 c x nbytes=1000")
    return stage.machine


def rounds_of_copies(machine: SchedulerMachine) -> tuple[int, int, list[OrderDone]]:
    """Let every fetch under way end, all at once, until none begins: rounds, most takers of one source, ends."""
    rounds = busiest = 0
    ends: list[OrderDone] = []
    while True:
        effects = machine.take_effects()
        ends += [effect for effect in effects if isinstance(effect, OrderDone)]
        copies = [e for e in effects if isinstance(e, ToWorker) and isinstance(e.message, CopyData)]
        if not copies:
            return rounds, busiest, ends
        rounds += 1
        sources = [copy.message.holders[0][0] for copy in copies]  # type: ignore[attr-defined]
        busiest = max(busiest, *(sources.count(source) for source in sources))
        for copy in copies:
            life = machine.state.workers[copy.address].incarnation
            machine.handle(FromWorker(copy.address, life, DataAdded(["x"], [1000], None)), 1.0)


@pytest.mark.parametrize(("count", "rounds_max"), [(2, 1), (16, 6), (300, 12)])
def test_a_broadcast_is_a_tree(count: int, rounds_max: int) -> None:
    machine = machine_of(count)
    machine.handle(Replicate("o", ("x",)), 1.0)
    rounds, busiest, ends = rounds_of_copies(machine)
    assert rounds <= rounds_max
    assert busiest <= 2 * SERVES_MAX  # the effects of a round come from several events
    assert [end.result["copied"] for end in ends] == [count - 1]
    check(machine)


def test_orders_are_bounded_and_their_ids_are_their_own() -> None:
    machine = machine_of(2)
    for number in range(ORDERS_MAX):
        machine.handle(Replicate(f"o{number}", ("x",)), 1.0)
    machine.take_effects()
    for order in ("o0", "one more"):
        machine.handle(Replicate(order, ("x",)), 1.0)
        [end] = machine.take_effects()
        assert isinstance(end, OrderDone) and isinstance(end.error, BadRequestError)
    assert len(rounds_of_copies(machine)[2]) == 0  # nobody fetches twice for a thousand orders
    machine.handle(FromWorker("tcp://w1:1", "w1/1", DataAdded(["x"], [1000], None)), 1.0)
    assert len([e for e in machine.take_effects() if isinstance(e, OrderDone)]) == ORDERS_MAX


@pytest.mark.parametrize("event", [
    Rebalance("o", None, ("nobody",)), Retire("o", ("nobody",), ""), Replicate("o", ("x",), None, ("nobody",)),
])  # fmt: skip
def test_an_unknown_worker_is_named(event: Rebalance | Retire | Replicate) -> None:
    machine = machine_of(2)
    machine.handle(event, 1.0)
    [end] = machine.take_effects()
    assert isinstance(end, OrderDone) and "'nobody'" in str(end.error)


def test_askers_begin_at_different_holders() -> None:
    machine = machine_of(40)
    machine.handle(Replicate("o", ("x",)), 1.0)
    rounds_of_copies(machine)
    firsts = set()
    for number in range(5):
        machine.handle(FromWorker(f"tcp://w{number}:1", f"w{number}/1", AskHolders(["x", "unknown"])), 1.0)
        [effect] = machine.take_effects()
        assert isinstance(effect, ToWorker) and isinstance(effect.message, HoldersKnown)
        known, unknown = effect.message.holders
        assert unknown == [] and len(known) == len(set(known)) == HOLDERS_NAMED_MAX and effect.address not in known
        firsts.add(known[0])
    assert len(firsts) == 5


def test_moving_evens_out_bytes_not_keys(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2\nscatter w1 c big nbytes=1000")
    for number in range(10):
        stage(f"scatter w1 c small{number} nbytes=100")
    told = stage("rebalance o")
    assert told == ["w2 <- copy big@w1"]
    assert stage("added w2 big") == ["order o done: {'copied': 1, 'nbytes': 1000}", "w1 <- drop big"]


def test_who_slept_himself_blames_nobody_for_silence() -> None:
    machine = machine_of(1)
    machine.handle(Tick(), 500.0)  # the timer was due at 30: our process was stopped, or the machine asleep
    assert "tcp://w0:1" in machine.state.workers
    assert machine.next_wakeup is not None
    machine.handle(Tick(), machine.next_wakeup)
    assert [type(effect) for effect in machine.take_effects() if isinstance(effect, DropWorker)] == [DropWorker]


def test_the_timer_for_silence_is_not_set_anew_by_every_message() -> None:
    machine = machine_of(3)
    due = machine.next_wakeup
    for second in range(1, 20):
        for number in range(3):
            machine.handle(FromWorker(f"tcp://w{number}:1", f"w{number}/1", AskHolders([])), float(second))
        assert machine.next_wakeup == due
    machine.take_effects()
    machine.handle(WorkerJoined("tcp://w0:1", "w0/2", "w0", 1, None, None, {}, "w0"), 20.0)
    assert machine.next_wakeup == due


def test_a_worker_that_dies_while_it_retires_ends_the_order(stage: Stage) -> None:
    stage("client c\nworker w1 nanny\nsubmit c f a\nworker w2\nretire o w1")
    assert stage("died w1 running=a")[:2] == [
        "w1 dropped as w1/1: its nanny saw it die",
        "order o done: {'retired': ['w1']}",
    ]


def test_a_certificate_names_worker_and_attempt(stage: Stage) -> None:
    stage("client c\nworker w1 nanny\nsubmit c f a\ndied w1 running=a\nworker w2\nleft w2")
    assert stage.machine.state.tasks["a"].certificates == [
        {"cause": "signal 9", "running": ["a"], "worker": "tcp://w1:1", "attempt": 1},
        {"cause": "it broke", "worker": "tcp://w2:1", "attempt": 2},
    ]
