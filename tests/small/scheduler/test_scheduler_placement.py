"""Which worker gets which task."""

from __future__ import annotations

import pytest

from distributed.messages import Message, RunOptions, RunTasks, SubmitTasks, TasksDone, TaskSpec
from distributed.scheduler.effects import ToWorker
from distributed.scheduler.events import FromClient, FromWorker
from distributed.scheduler.queues import STALE_MAX, UNRESTRICTED, ReadyQueue
from distributed.scheduler.state import Settings
from distributed.testing.scenarios import Stage


def counts(told: list[str]) -> dict[str, int]:
    """How many tasks each worker got."""
    return {line.split()[0]: line.count("#") for line in told if "<- run" in line}


def keys(prefix: str, count: int) -> str:
    return " ".join(f"{prefix}{number}" for number in range(count))


def test_a_small_map_is_spread_evenly_over_threads(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2 threads=3\nsubmit c f warm\ndone w1 warm")
    assert counts(stage(f"submit c f {keys('a', 20)}")) == {"w1": 5, "w2": 15}


def test_each_thread_gets_one_task_of_an_unknown_function(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2 threads=3")
    assert counts(stage(f"submit c f {keys('a', 20)}")) == {"w1": 1, "w2": 3}


def test_single_tasks_go_to_idle_workers_in_turn(stage: Stage) -> None:
    stage("client c\nworker w1 threads=2\nworker w2 threads=2")
    told = [stage(f"submit c f {key}")[0].split()[0] for key in "abde"]
    assert told == ["w1", "w2", "w1", "w2"]


def test_long_tasks_do_not_queue_behind_each_other(stage: Stage) -> None:
    stage("client c\nworker w1 threads=2\nsubmit c f warm\ndone w1 warm s=10")
    assert counts(stage(f"submit c f {keys('a', 20)}")) == {"w1": 2}


def test_short_tasks_queue_up_to_the_target(stage: Stage) -> None:
    stage("client c\nworker w1 threads=2\nsubmit c f warm\ndone w1 warm s=0.01")
    assert counts(stage(f"submit c f {keys('a', 20)}")) == {"w1": 10}


def test_a_long_task_blocks_one_thread_only(stage: Stage) -> None:
    stage("client c\nworker w1 threads=2\nsubmit c f a\nsubmit c g b\ndone w1 a s=10\ndone w1 b s=0.01")
    assert counts(stage("submit c f long")) == {"w1": 1}
    assert counts(stage(f"submit c g {keys('a', 20)}")) == {"w1": 5}


def test_a_queue_has_a_depth() -> None:
    stage = Stage(Settings(depth_max=3))
    stage("client c\nworker w1 threads=2\nsubmit c f warm\ndone w1 warm s=0")
    assert counts(stage(f"submit c f {keys('a', 20)}")) == {"w1": 6}


def test_a_large_cluster_gets_messages_worth_sending(stage: Stage) -> None:
    stage("client c\nworker w0\nsubmit c f warm\ndone w0 warm s=0.0001")
    for number in range(1, 70):
        stage(f"worker w{number}")
    assert list(counts(stage(f"submit c f {keys('a', 60)}")).values()) == [10] * 6


def test_higher_priority_first_then_first_come(stage: Stage) -> None:
    stage("client c\nsubmit c f a b\nsubmit c f high priority=1\nsubmit c f low priority=-1\nworker w1")
    told = [stage(f"done w1 {key} s=1")[0] for key in ("high", "a", "b")]
    assert told == ["w1 <- run a#1", "w1 <- run b#1", "w1 <- run low#1"]


def test_a_task_with_dependencies_goes_before_fresh_ones(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f a next(a) other")
    assert stage("done w1 a s=0.05")[0] == "w1 <- run next#1(a@w1)"


def test_a_task_goes_to_the_holder_of_most_bytes(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2\nscatter w1 c small nbytes=10\nscatter w2 c big nbytes=1000")
    assert stage("submit c f a(small,big)") == ["w2 <- run a#1(small@w1,big@w2) +f"]


def test_of_two_holders_the_less_occupied_one_is_taken(stage: Stage) -> None:
    stage("client c\nworker w1 threads=2\nworker w2 threads=2\nscatter w1 c x\nscatter w2 c x\nsubmit c f a")
    assert stage("submit c f b(x)") == ["w2 <- run b#1(x@w2+w1) +f"]


def test_a_task_does_not_wait_for_a_busy_holder(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2\nscatter w1 c x\nsubmit c f a(x)")
    assert stage("submit c f b(x)") == ["w2 <- run b#1(x@w1) +f"]


def test_of_a_broadcast_only_some_holders_are_named_its_own_first(stage: Stage) -> None:
    stage("client c")
    for number in range(40):
        stage(f"worker w{number}\nscatter w{number} c x")
    for number in range(16):
        stage(f"submit c f a{number}(x)")
    told = stage("submit c f b(x)")[0]
    worker = told.split()[0]
    assert told.startswith(f"{worker} <- run b#1(x@{worker}+w0+")
    assert told.count("+w") == 15
    stage("left w3\nadded w3 x")
    assert len(stage.machine.state.tasks["x"].who_has or ()) == 39


def test_a_task_may_name_workers_by_address_name_or_host(stage: Stage) -> None:
    stage("client c\nworker w1 host=h1\nworker w2 host=h2 name=two\nworker w3 host=h2")
    assert counts(stage("submit c f a workers=two")) == {"w2": 1}
    assert counts(stage("submit c f b workers=h2")) == {"w3": 1}
    assert counts(stage("submit c f d workers=w1")) == {"w1": 1}
    assert counts(stage("submit c f e workers=w1,h2")) == {}
    assert counts(stage("done w3 b s=1")) == {"w3": 1}


def test_restricted_tasks_go_to_the_holder_among_their_workers(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2\nworker w3\nscatter w3 c x nbytes=5\nscatter w1 c x nbytes=5")
    assert counts(stage("submit c f a(x) workers=w2,w3")) == {"w3": 1}
    assert counts(stage("submit c f b(x) workers=w2,w3")) == {"w2": 1}


def test_restricted_tasks_of_equal_priority_go_before_others(stage: Stage) -> None:
    stage("client c\nsubmit c f any\nsubmit c f own workers=w1\nsubmit c f high priority=1\nworker w1")
    assert stage("why high")[0].startswith("with-worker")
    assert "own#1" in stage("done w1 high s=0.05")[0]
    assert "any#1" in stage("done w1 own s=0.05")[0]


def test_a_task_may_go_to_a_holder_that_has_not_just_reported(stage: Stage) -> None:
    stage("client c\nworker w1 gpu:1\nworker w2 gpu:1 threads=2\nscatter w2 c x nbytes=9\nsubmit c f a b gpu:1")
    stage("submit c f p(x) gpu:1\nworker w3 gpu:1")
    assert counts(stage("submit c f q(x) gpu:1")) == {}
    state = stage.machine.state
    holder = state.workers["tcp://w2:1"]
    assert list(holder.processing) and stage("why q")[0].startswith("resources")


def test_queues_for_one_worker_are_told_apart(stage: Stage) -> None:
    stage("client c\nsubmit c f a workers=w1\nsubmit c f b workers=w1 gpu:1")
    assert stage("worker w1") == ["w1 accepted as w1/1", "w1 <- run a#1 +f"]
    assert stage("why b")[0].startswith("no-match")
    assert stage("release c b") == []


def test_one_message_may_mix_tasks_with_and_without_dependencies(stage: Stage) -> None:
    stage("client c\nworker w1 threads=2\nscatter w1 c x")
    assert stage("submit c f d(x) e") == ["w1 <- run d#1(x@w1) e#1 +f"]


def test_what_a_full_worker_leaves_goes_to_those_with_room(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2 threads=2\nsubmit c f warm\ndone w1 warm s=0.01")
    stage("submit c f a1 a2 a3 a4 workers=w1")
    assert counts(stage(f"submit c f {keys('b', 10)}")) == {"w1": 1, "w2": 9}


def test_resources_are_reserved_while_they_are_used(stage: Stage) -> None:
    stage("client c\nworker w1 threads=4 gpu:2")
    assert counts(stage("submit c f a b d gpu:1")) == {"w1": 2}
    assert counts(stage("submit c f plain")) == {"w1": 1}
    assert "d#1" in stage("failed w1 a")[0]
    assert stage.machine.state.workers["tcp://w1:1"].resources_free == {"gpu": 0.0}


def test_a_worker_without_the_resource_never_gets_the_task(stage: Stage) -> None:
    stage("client c\nworker w1 cpu:1\nworker w2 gpu:0.5\nsubmit c f a gpu:1\nsubmit c f z gpu:1 workers=w1,w2")
    assert stage("why a")[0].startswith("no-match")
    assert counts(stage("worker w3 gpu:1")) == {"w3": 1}


def test_a_restricted_task_that_is_released_leaves_its_queue(stage: Stage) -> None:
    stage("client c\nsubmit c f a b workers=w1\nrelease c a")
    assert len(stage.machine.state.queues) == 1
    stage("release c b")
    assert not stage.machine.state.queues and not stage.machine.state.queues_by_token


def test_a_worker_is_served_again_when_its_resource_comes_free_not_before(stage: Stage) -> None:
    stage("client c\nworker w1 threads=2 gpu:1\nsubmit c f a b gpu:1\nsubmit c g x")
    assert "b#1" not in "".join(stage("done w1 x"))
    assert stage("done w1 a")[0] == "w1 <- run b#1"


def test_left_behind_entries_are_dropped_when_they_are_many(stage: Stage) -> None:
    stage("client c")
    many = [f"k{number}" for number in range(STALE_MAX + 10)]
    stage(f"submit c f keep {' '.join(many)}")
    stage(f"release c {' '.join(many)}")
    assert stage.machine.state.ready.entries < STALE_MAX
    assert stage.machine.state.ready.live == 1


def test_left_behind_entries_are_skipped(stage: Stage) -> None:
    stage("client c\nsubmit c f a b d\nsubmit c f high priority=1\nrelease c a d high")
    assert stage("worker w1") == ["w1 accepted as w1/1", "w1 <- run b#1 +f"]
    assert stage.machine.state.ready.entries == 0


def test_a_task_queued_twice_runs_once(stage: Stage) -> None:
    stage("client c d\nworker w1\nsubmit c f ~a b(a)\ndone w1 a s=1\ndone w1 b s=1\nsubmit c g x y")
    stage("want d a\nrelease d a\nwant d a")  # the first entry is left behind, then valid again
    assert stage.machine.state.ready.entries == 3
    assert stage("done w1 x") == ["w1 <- run a#2", "c <- done x=result"]
    assert stage("done w1 a") == ["w1 <- run y#1", "d <- done a=result"]
    assert stage.machine.state.ready.entries == 0


def test_what_was_lost_is_computed_before_what_becomes_ready_later(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2\nsubmit c f r s\nsubmit c f t1 t2\ndone w2 s s=1\ndone w1 r s=1")
    assert stage("left w2 expected") == ["c <- lost s (recomputing)"]
    stage("submit c f new(r)")  # it can run at once, before the other ones that wait
    assert "w1 <- run s#2 new#1(r@w1)" in stage("done w1 t2")


def test_a_level_of_left_behind_entries_has_no_next_task() -> None:
    queue = ReadyQueue(UNRESTRICTED)
    assert queue.pop(0) is None


def test_suspects_pass_a_level_of_left_behind_entries(stage: Stage) -> None:
    stage("client c\nworker w1 threads=2\nsubmit c f a priority=1\nsubmit c f b\nleft w1\nrelease c a")
    assert stage("worker w2") == ["w2 accepted as w2/1", "w2 <- run b#2 +f"]


def test_a_worker_reserved_for_a_suspect_that_is_released_serves_all_again(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2 threads=2\nsubmit c f s a b\nleft w1\nsubmit c f x y\ndone w2 a s=1")
    assert [worker.is_reserved for worker in stage.machine.state.workers.values()] == [True]
    assert stage("release c s") == ["w2 <- run x#1"]


def test_another_worker_is_reserved_when_the_reserved_one_leaves(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2 threads=2\nworker w3 threads=2\nsubmit c f s a b d e\nleft w1")
    stage("submit c f x y z\ndone w2 a s=1\ndone w3 d s=1")
    reserved = [worker.is_reserved for worker in stage.machine.state.workers.values()]
    assert reserved == [True, False]
    stage("left w2 expected\ndone w3 e s=1")
    assert [worker.is_reserved for worker in stage.machine.state.workers.values()] == [True]


def test_a_worker_that_leaves_takes_no_reservation_of_another_along(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2 threads=2\nworker w3 threads=2\nsubmit c f s a b d e\nleft w1")
    stage("submit c f x y z\ndone w2 a s=1\nleft w3 expected")
    assert [worker.is_reserved for worker in stage.machine.state.workers.values()] == [True]
    assert stage("done w2 b s=1")[0] == "w2 <- run s#2"


def test_a_worker_reserved_for_one_suspect_is_not_given_to_another(stage: Stage) -> None:
    stage("client c\nworker w1 threads=2\nworker w2 threads=2\nworker w3 threads=2 gpu:1\nworker w4 threads=2")
    stage("submit c f s workers=w1,w2\nsubmit c f t workers=w1,w3,w2\nsubmit c f a b d e g\nstates")
    stage("left w1")
    for _ in range(6):
        for worker in list(stage.machine.state.workers.values()):
            for key in list(worker.processing):
                stage(f"done {worker.name} {key} s=1")
    assert {line.split()[1] for line in stage("states")} == {"MEMORY"}


@pytest.fixture
def wish(stage: Stage) -> Stage:
    """Worker w1 runs a long task, so that `wish`, which prefers w1, waits; w2 idles."""
    stage("client c\nworker w1\nworker w2 tags=linux\nsubmit c f warm\ndone w1 warm s=10\nsubmit c f x workers=w1")
    stage("submit c f wish workers=w1 others=yes")
    return stage


def test_a_task_waits_a_while_for_the_worker_that_it_prefers(wish: Stage) -> None:
    assert wish("why wish") == ["busy [w1]: wish prefers w1; all 1 matching workers are busy."]
    assert wish("done w1 x s=10")[0] == "w1 <- run wish#1"


def test_a_task_goes_elsewhere_when_the_worker_it_prefers_is_busy_for_long(wish: Stage) -> None:
    assert wish(f"wait {Settings().loose_patience_s}") == ["w2 <- run wish#1 +f"]
    assert not wish.machine.state.loose


def test_each_task_that_a_preferred_worker_takes_renews_the_wait_of_the_others(wish: Stage) -> None:
    wish("submit c f wish2 workers=w1 others=yes\nwait 0.4\ndone w1 x s=10")
    assert wish("wait 0.4") == []
    assert wish("wait 0.2") == ["w2 <- run wish2#1 +f"]


def test_a_task_goes_elsewhere_when_no_worker_that_it_prefers_is_left(wish: Stage) -> None:
    assert "wish#1" in "".join(wish("release c warm\nleft w1 expected"))


def test_a_suspect_may_go_elsewhere_too(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f a workers=w1 others=yes\nworker w2")
    assert stage("left w1") == ["w2 <- run a#2 +f"]


def test_other_limits_hold_for_whoever_takes_a_task_instead(wish: Stage) -> None:
    assert wish("submit c f a workers=w9 others=yes platform=mac*\nwhy a") == [
        "no-match []: a may only run where a tag matches 'mac*'; none of the 2 workers is such a one."
    ]
    assert counts(wish("worker w3 tags=mac-arm64,fast")) == {"w3": 1}


def test_others_are_allowed_only_where_workers_are_named(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f a others=yes")
    assert stage("why a")[0].startswith("with-worker")


def test_memory_is_never_promised_twice(stage: Stage) -> None:
    stage("client c\nworker w1 threads=8 memory=1000")
    assert counts(stage("submit c f a b d limit=400")) == {"w1": 2}
    assert stage.machine.state.workers["tcp://w1:1"].resources_free == {"memory": 200.0}
    assert counts(stage("done w1 a")) == {"w1": 1}


def test_an_amount_of_memory_that_the_operator_names_wins(stage: Stage) -> None:
    stage("client c\nworker w1 threads=8 memory=1000 memory:500")
    assert counts(stage("submit c f a b limit=400")) == {"w1": 1}
    assert counts(stage("submit c f d memory:100 limit=400")) == {"w1": 1}  # asked for by name: counted once


def test_priorities_and_memory_limits_travel_to_the_worker(stage: Stage) -> None:
    stage("client c\nworker w1 threads=4 memory=1000")
    machine = stage.machine
    specs = [TaskSpec(b"f"), TaskSpec(b"f", priority=-3), TaskSpec(b"f", memory_limit_nbytes=200)]
    for number, spec_of in enumerate(([0], [1], [0, 1], [2])):
        keys = [f"k{number}{index}" for index in spec_of]
        message = SubmitTasks({b"f": b""}, specs, spec_of, keys, [b""] * len(keys), None)
        machine.handle(FromClient("c", message), 0.0)
        runs = [effect.message for effect in machine.take_effects() if isinstance(effect, ToWorker)]
        assert [(run.options, run.option_of) for run in runs if isinstance(run, RunTasks)] == [
            [(None, None)], [([RunOptions(-3)], None)], [([RunOptions(), RunOptions(-3)], [0, 1])],
            [([RunOptions(0, 200)], None)],
        ][number]  # fmt: skip
        machine.handle(FromWorker("tcp://w1:1", "w1/1", done_of(runs)), 0.0)
        machine.take_effects()


def done_of(runs: list[Message]) -> TasksDone:
    """All of `runs` has ended."""
    keys = [key for run in runs if isinstance(run, RunTasks) for key in run.keys]
    return TasksDone(keys, [1] * len(keys), [1] * len(keys), [None] * len(keys), [0.001] * len(keys))


def test_loose_queues_open_one_after_the_other(wish: Stage) -> None:
    wish("wait 0.3\nworker w3\nsubmit c g hold workers=w3\nsubmit c f other workers=w3 others=yes\nworker w4")
    assert counts(wish("wait 0.2")) == {"w2": 1}
    assert wish("why other") == ["busy [w3]: other prefers w3; all 1 matching workers are busy."]
    assert counts(wish("wait 0.3")) == {"w4": 1}


def test_a_suspect_need_not_wait_for_a_preferred_worker_that_has_left(stage: Stage) -> None:
    stage("client c\nworker w1\nworker w2\nsubmit c f s workers=w1,w2 others=yes\nsubmit c f long workers=w2")
    assert counts(stage("left w1")) == {}  # s waits until w2 is empty
    stage("worker w3")
    assert counts(stage("left w2 expected")) == {"w3": 1}
