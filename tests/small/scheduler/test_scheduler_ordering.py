"""Graphs run depth first: few results are held at once.

The theory, for a reduction of n leaves in pairs. One thread that computes depth first holds at most one result per
level and the one just made: log2(n) + 2. With more threads each is somewhere else in the tree: T * (log2(n) + 2). Big
results stay within that, since nothing is queued behind the threads that make them. Of small ones a queue of leaves
lies at every worker, dealt before the reductions that use them were ready, and may be run ahead: at most the queue is
added, T * target / duration. Breadth first would be n.
"""

from __future__ import annotations

import random
from math import log2

import pytest

from distributed.scheduler.ordering import depth_first
from distributed.scheduler.state import Settings
from distributed.testing.clockwork import Clockwork
from distributed.testing.scenarios import Stage

LEAVES = 1024
DELAY_S = 0.0005
TASK_S = 0.001
SMALL, BIG = 8, 2_000_000  # bytes


def reduction(leaves: int, is_far: bool) -> dict[str, list[str] | None]:
    """A binary tree, breadth first; `is_far`: each level pairs its first half with its second."""
    graph: dict[str, list[str] | None] = {f"leaf{number}": None for number in range(leaves)}
    level, height = list(graph), 0
    while len(level) > 1:
        height += 1
        half = len(level) // 2
        left, right = (level[:half], level[half:]) if is_far else (level[::2], level[1::2])
        level = [f"sum{height}-{number}" for number in range(half)]
        graph.update((key, pair) for key, *pair in zip(level, left, right, strict=True))
    return graph


def bound(threads: int, nbytes: int) -> float:
    """What may be held at once, see above."""
    queue = Settings().queue_target_s / TASK_S if nbytes == SMALL else 0
    return threads * (log2(LEAVES) + 2 + queue)


def peak(graph: dict[str, list[str] | None], threads: list[int], nbytes: int) -> int:
    """Results held at once while `graph` is computed; its last task is wanted."""
    last = list(graph)[-1]
    cluster = Clockwork(threads, lambda key: (TASK_S, nbytes), delay_s=DELAY_S)
    cluster.submit(list(graph), list(graph.values()), wanted=lambda key: key == last)
    cluster.run()
    assert cluster.ended == len(graph) and cluster.held == {last}
    return cluster.held_peak


@pytest.mark.parametrize("is_far", [False, True], ids=["neighbours", "far apart"])
@pytest.mark.parametrize("threads", [[1], [4], [1, 1], [2, 2, 2, 2]], ids=str)
@pytest.mark.parametrize("nbytes", [SMALL, BIG], ids=["small", "big"])
def test_a_wide_reduction_holds_little_at_once(nbytes: int, threads: list[int], is_far: bool) -> None:
    assert peak(reduction(LEAVES, is_far), threads, nbytes) <= bound(sum(threads), nbytes)


def test_a_graph_in_any_order_of_submission_holds_little_at_once() -> None:
    graph = list(reduction(LEAVES, True).items())
    last = graph.pop()
    random.Random(1).shuffle(graph)
    assert peak(dict([*graph, last]), [1, 1], BIG) <= bound(2, BIG)


def test_a_fold_holds_two_results_however_its_arguments_are_ordered() -> None:
    graph: dict[str, list[str] | None] = {f"x{number}": None for number in range(200)}
    graph["sum0"] = None
    graph.update((f"sum{number + 1}", [f"x{number}", f"sum{number}"]) for number in range(200))
    assert peak(graph, [1], BIG) <= 3  # both, and the sum just made


def test_many_chains_are_finished_one_after_the_other() -> None:
    graph: dict[str, list[str] | None] = {f"a{number}": None for number in range(300)}
    for above, below in ("ba", "cb", "dc"):
        graph.update((f"{above}{number}", [f"{below}{number}"]) for number in range(300))
    graph["all"] = [f"d{number}" for number in range(300)]
    threads = [2, 2]
    cluster = Clockwork(threads, lambda key: (TASK_S, BIG), delay_s=DELAY_S)
    most: list[int] = []

    def cost(key: str) -> tuple[float, int]:
        most.append(sum(not key.startswith("d") for key in cluster.held))
        return TASK_S, BIG

    cluster.cost = cost
    cluster.submit(list(graph), list(graph.values()), wanted=lambda key: key == "all")
    cluster.run()
    assert max(most) <= 2 * sum(threads)  # of each chain under way the newest result and its successor


def order_of(stage: Stage, graph: str) -> list[str]:
    """Roots of `graph` in the order in which they are queued."""
    stage(f"client c\nsubmit c f {graph}")
    return [task.key for level in stage.machine.state.ready.levels.values() for task in level]


def test_roots_come_in_the_order_in_which_their_sinks_use_them(stage: Stage) -> None:
    assert order_of(stage, "a b x y p(x,a) q(y,b)") == ["x", "a", "y", "b"]


def test_what_needs_more_comes_first(stage: Stage) -> None:
    assert order_of(stage, "r x y s(x,y) t(r,s)") == ["x", "y", "r"]


def test_dependencies_may_be_listed_later_or_be_known_already(stage: Stage) -> None:
    stage("client c\nworker w1\nsubmit c f old\nleft w1 expected")
    stage("submit c f t(s,old) s(x,y) y x")
    state = stage.machine.state
    tasks = [state.tasks[key] for key in ("t", "s", "y", "x")]
    assert [task.key for task in depth_first(dict.fromkeys(tasks))] == ["x", "y"]
