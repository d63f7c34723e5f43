"""Tasks that make data do not run far ahead of those which use it up."""

from __future__ import annotations

import pytest

from distributed.scheduler.estimates import QUEUE_MEMORY
from distributed.testing.clockwork import Clockwork
from distributed.testing.scenarios import Stage

MB, GB = 10**6, 10**9
ROOTS = 10_000


def pipeline(roots: int, per_consumer: int) -> dict[str, list[str] | None]:
    """Roots of 100 MB; each consumer reads some of them and makes a number; one task sums these up."""
    graph: dict[str, list[str] | None] = {f"root{number}": None for number in range(roots)}
    for number in range(0, roots, per_consumer):
        graph[f"mean{number}"] = [f"root{number + other}" for other in range(per_consumer)]
    graph["sum"] = [key for key in graph if key.startswith("mean")]
    return graph


@pytest.mark.parametrize(("threads", "per_consumer"), [([2] * 4, 1), ([1] * 8, 2), ([2] * 4, 2)], ids=str)
def test_ten_thousand_roots_of_100_mb_fit_into_workers_of_1_gb(threads: list[int], per_consumer: int) -> None:
    graph = pipeline(ROOTS, per_consumer)

    def cost(key: str) -> tuple[float, int]:
        return (0.05, 100 * MB) if key.startswith("root") else (0.02, 8)

    cluster = Clockwork(threads, cost, memory_limit_nbytes=GB)
    cluster.submit(list(graph), list(graph.values()), lambda key: key == "sum", lambda key: key[0])
    cluster.run()
    assert cluster.ended == len(graph)
    for worker in cluster.workers.values():
        # Per thread: what its consumer reads and the next one fetches, and the root that runs meanwhile.
        numbers_nbytes = 8 * len(graph)
        assert worker.nbytes_peak - numbers_nbytes <= min(GB, worker.nthreads * (2 * per_consumer + 1) * 100 * MB)


def queue_of(stage: Stage, worker: str = "worker w1 threads=2", nbytes: int = 1) -> int:
    """How many tasks of 0.1 ms a worker gets at once when their results have so many bytes."""
    stage(f"client c\n{worker}\nsubmit c f warm\ndone w1 warm s=0.0001 nbytes={nbytes}")
    stage(f"submit c f {' '.join(f'k{number}' for number in range(1200))}")
    return len(stage.machine.state.workers["tcp://w1:1"].processing)


def test_big_results_come_one_per_thread(stage: Stage) -> None:
    assert queue_of(stage, nbytes=MB + 50_000) == 2


def test_small_results_queue_by_time(stage: Stage) -> None:
    assert queue_of(stage, nbytes=1000) == 1000


def test_queued_results_fill_a_part_of_the_memory_only(stage: Stage) -> None:
    assert queue_of(stage, "worker w1 threads=2 memory=1000000000", nbytes=500_000) == QUEUE_MEMORY * GB / 500_000


def test_however_small_its_memory_every_thread_gets_a_task(stage: Stage) -> None:
    assert queue_of(stage, "worker w1 threads=2 memory=1000", nbytes=500_000) == 2
