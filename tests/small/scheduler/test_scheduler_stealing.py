"""Tasks that wait at one worker while threads idle elsewhere are asked back."""

from __future__ import annotations

import random

import pytest

from distributed.scheduler.state import Settings
from distributed.scheduler.stealing import ANSWER_S, PAUSE_MAX_S
from distributed.testing.clockwork import Clockwork
from distributed.testing.scenarios import Stage

PATIENCE_S = Settings().steal_patience_s


@pytest.fixture
def stuck(stage: Stage) -> Stage:
    """w1 has one thread and the tasks a0 to a4 of 10 ms each; w2 has just come and idles."""
    stage("client c\nworker w1\nsubmit c f warm\ndone w1 warm s=0.01\nsubmit c f a0 a1 a2 a3 a4\nworker w2")
    return stage


def test_a_fair_share_of_what_waits_is_asked_for_the_last_first_sent(stuck: Stage) -> None:
    assert stuck(f"wait {PATIENCE_S}") == ["w1 <- return a3#1 a4#1"]


def test_what_comes_back_runs_where_somebody_idles(stuck: Stage) -> None:
    stuck(f"wait {PATIENCE_S}")
    assert stuck("returned w1 a3 a4") == ["w2 <- run a3#2 a4#2 +f"]


def test_all_is_asked_for_when_nothing_has_ended_for_longer_than_it_should_have_taken(stuck: Stage) -> None:
    stuck("left w2 expected\nwait 0.06\nworker w2")
    assert stuck(f"wait {PATIENCE_S}") == ["w1 <- return a1#1 a2#1 a3#1 a4#1"]
    assert stuck("returned w1 a1 a2 a3 a4") == ["w2 <- run a1#2 a2#2 a3#2 a4#2 +f"]
    assert "w1 <-" not in "".join(stuck("submit c f b1 b2"))  # nothing waits behind whatever runs there
    assert stuck("done w1 a0")[0].startswith("w1 <- run b")


def test_a_task_that_is_kept_is_not_asked_for_again(stuck: Stage) -> None:
    stuck(f"wait {PATIENCE_S}\nreturned w1 kept=a3,a4")
    assert stuck(f"wait {PATIENCE_S}") == ["w1 <- return a1#1 a2#1"]


def test_there_is_one_question_under_way_per_worker_unless_it_is_lost(stuck: Stage) -> None:
    stuck(f"wait {PATIENCE_S}")
    assert stuck(f"wait {ANSWER_S / 2}") == []
    assert stuck(f"wait {ANSWER_S}") == ["w1 <- return a0#1 a1#1 a2#1"]


def test_an_answer_that_comes_twice_counts_once(stuck: Stage) -> None:
    stuck(f"wait {PATIENCE_S}\nreturned w1 a3 a4")
    assert stuck("returned w1 a3#1 a4#1") == []
    assert stuck("why a3")[0].startswith("with-worker [w2]")


def test_a_task_that_ends_while_it_is_asked_for_has_ended(stuck: Stage) -> None:
    stuck(f"wait {PATIENCE_S}\ndone w1 a3\nreturned w1 a4 kept=a3")
    assert "a3 MEMORY" in stuck("states")
    assert not stuck.machine.state.workers["tcp://w1:1"].asked


def test_a_task_that_comes_back_waits_for_data_lost_meanwhile(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f x y\ndone w1 x s=0.01\ndone w1 y s=0.01\nsubmit c f a0(x) a1(x) a2(x)")
    stage(f"worker w2\nwait {PATIENCE_S}\nremoved w1 x")
    assert stage("returned w1 a2") == []
    assert "a2 WAITING" in stage("states")


def test_a_queue_that_is_over_in_a_round_trip_stays(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f warm\ndone w1 warm s=0.001\nsubmit c f a0 a1 a2\nworker w2")
    assert stage(f"wait {PATIENCE_S / 2}\nsubmit c g z\ndone w1 a0 s=0.001\nwait {PATIENCE_S / 2}") == [
        "w2 <- run z#1 +g",
        "c <- done a0=result",
    ]


def test_data_that_takes_longer_to_move_than_the_queue_to_drain_keeps_its_tasks(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f warm\ndone w1 warm s=0.01\nscatter w1 c big nbytes=900000000")
    stage("scatter w1 c small nbytes=1000\nsubmit c f a0(big) a1(big) a2(big) b(small)\nworker w2")
    assert stage(f"wait {PATIENCE_S}") == ["w1 <- return b#1"]


@pytest.fixture
def sharing(stage: Stage) -> Stage:
    """On w1 runs b, and a0 to a3 wait; all need y but a0 and a1, which need x; w2 and w3 are about to idle."""
    stage("client c\nworker w1\nworker w2\nworker w3\nsubmit c f warm workers=w1\ndone w1 warm s=0.01")
    stage("submit c g long workers=w2\nsubmit c h long3 workers=w3\nscatter w1 c x y nbytes=1000")
    stage("submit c f b(y) a0(x) a1(x) a2(y) a3(y)")
    return stage


def test_p08_a_thief_takes_first_what_it_holds_all_inputs_of(sharing: Stage) -> None:
    """P08: divide_tasks example: stealing goes by shares"""
    sharing("scatter w2 c x nbytes=1000\ndone w2 long")
    assert sharing(f"wait {PATIENCE_S}") == ["w1 <- return a0#1 a1#1"]
    assert sharing("returned w1 a0 a1")[0].startswith("w2 <- run a0#2(x@w2+w1)")


def test_of_its_share_a_thief_takes_first_what_fewest_others_can_do(sharing: Stage) -> None:
    sharing("scatter w2 c y x nbytes=1000\nscatter w3 c y nbytes=1000\ndone w2 long\ndone w3 long3")
    assert sharing(f"wait {PATIENCE_S}") == ["w1 <- return a0#1 a1#1 a3#1"]


def test_a_restricted_task_moves_only_to_a_worker_that_matches(stage: Stage) -> None:
    stage("client c\nworker w1 gpu:9\nsubmit c f warm\ndone w1 warm s=0.01\nsubmit c f a b d gpu:1\nworker w2")
    assert stage("wait 3") == []
    assert stage("worker w3 gpu:1\nwait 1") == ["w3 accepted as w3/1", "w1 <- return b#1 d#1"]


def test_looking_in_vain_gets_rare(stage: Stage) -> None:
    stage("client c\nworker w1 gpu:9\nsubmit c f warm\ndone w1 warm s=0.01\nsubmit c f a b d gpu:1\nworker w2")
    stage(f"wait {4 * PAUSE_MAX_S}")
    assert stage.machine.state.steal_pause_s == PAUSE_MAX_S
    stage("done w1 a b d\nwait 1")
    assert stage.machine.state.steal_at is None


def test_a_worker_that_dies_while_it_is_asked_leaves_no_trace(stuck: Stage) -> None:
    stuck(f"wait {PATIENCE_S}")
    stuck("release c warm")
    assert stuck("left w1 expected")[0] == "w2 <- run a0#2 a1#2 a2#2 a3#2 a4#2 +f"
    assert stuck("worker w1\nwait 0.1")[0] == "w1 accepted as w1/2"


def test_a_task_that_is_asked_for_says_so(stuck: Stage) -> None:
    stuck(f"wait {PATIENCE_S}")
    assert stuck("why a4")[0].startswith("asked-back [w1]: a4 waits at w1 and is asked back")
    stuck("returned w1 a3 kept=a4")
    assert stuck("why a4")[0].startswith("with-worker [w1]")


def test_a_short_queue_is_looked_at_again_soon(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f warm\ndone w1 warm s=0.001\nsubmit c f a0 a1 a2\nworker w2")
    stage(f"wait {0.8 * PATIENCE_S}\ndone w1 a0 s=0.001")
    assert stage(f"wait {0.3 * PATIENCE_S}") == []
    assert stage.machine.state.steal_pause_s == 0.0
    assert stage(f"wait {PATIENCE_S}") == ["w1 <- return a2#1"]


# ---------------------------------------------------------------- makespan, in virtual time

ROUND_TRIP_S = 2 * 0.0005


def drawn(seed: int, order: str) -> dict[str, tuple[float, int]]:
    """100 long and 10,000 short tasks: seconds and bytes of the result by key, in the order in which they come."""
    draw = random.Random(seed)
    long = [(f"l{number}", (draw.uniform(0.5, 1.0), 8)) for number in range(100)]
    short = [(f"s{number}", (draw.uniform(0.001, 0.015), 8)) for number in range(10_000)]
    tasks = short + long if order == "long last" else long + short
    if order == "mixed":
        draw.shuffle(tasks)
    return dict(tasks)


@pytest.mark.parametrize("threads", [[1] * 2, [2] * 4, [1, 2, 4, 8], [1] * 16], ids=str)
@pytest.mark.parametrize(
    ("order", "functions"), [("long last", 1), ("long last", 2), ("mixed", 1), ("mixed", 2), ("long first", 1)]
)
def test_long_and_short_tasks_end_within_a_tenth_of_the_ideal(threads: list[int], order: str, functions: int) -> None:
    cost = drawn(sum(threads), order)
    cluster = Clockwork(threads, cost.__getitem__)
    cluster.submit(list(cost), function_of=lambda key: key[0] if functions == 2 else "f")
    end = cluster.run()
    assert cluster.ended == len(cost)
    assert end <= 1.1 * sum(seconds for seconds, _ in cost.values()) / sum(threads)
    assert cluster.idle_longest_s <= PATIENCE_S + 10 * ROUND_TRIP_S


def test_a_few_very_long_tasks_hold_nothing_up() -> None:
    cost = {f"s{number}": (0.0005, 8) for number in range(2000)} | {f"l{number}": (20.0, 8) for number in range(4)}
    keys = sorted(cost, key=lambda key: hash_of(key))
    cluster = Clockwork([1] * 5, cost.__getitem__)
    cluster.submit(keys)
    short_ended = 0.0
    while cluster.ended < 2000:
        cluster.run_until(cluster.now + 0.1)
        short_ended = cluster.now
    assert short_ended <= 1.1 + 20 * PATIENCE_S  # one thread is left for them


def hash_of(key: str) -> float:
    """A fixed shuffle."""
    return random.Random(key).random()


def test_a_worker_that_joins_late_takes_its_share_of_what_waits_elsewhere() -> None:
    cluster = Clockwork([1], lambda key: (0.01, 8))
    cluster.submit(["warm"])
    cluster.run()
    cluster.submit([f"k{number}" for number in range(6)])
    begin = cluster.now
    cluster.join("tcp://late:1", 1)
    assert cluster.run() - begin <= 0.04 + PATIENCE_S
    assert {"k4", "k5"} <= set(cluster.workers["tcp://late:1"].data)


def test_tasks_that_share_data_spread_when_moving_it_is_quicker_than_waiting() -> None:
    cluster = Clockwork([1] * 4, lambda key: (0.02, 1_000_000 if key == "x" else 8))
    keys = [f"k{number}" for number in range(40)]
    cluster.submit(["x", *keys], [None] + [["x"]] * 40)
    assert cluster.run() <= 1.1 * (0.02 + 40 * 0.02 / 4)
