"""How many workers the queued work would keep busy."""

from __future__ import annotations

import pytest

from distributed.scheduler.demand import desired_workers
from distributed.testing.scenarios import Stage

LONG = "wait 25\nalive w1\nalive w2\n" * 4
MAP = "submit c f " + " ".join(f"k{number}" for number in range(100))


@pytest.mark.parametrize(
    ("story", "target_s", "count"),
    [
        ("client c", 5, 0),
        ("client c\nworker w1", 5, 0),
        ("client c\nsubmit c f a", 5, 1),  # nobody is there yet
        (f"client c\n{MAP}", 5, 10),  # half a second each, for all we know
        (f"client c\nworker w1 threads=4\n{MAP}", 5, 3),
        (f"client c\nworker w1\nsubmit c f warm\ndone w1 warm s=2\n{MAP}", 5, 40),
        (f"client c\nworker w1\nsubmit c f warm\ndone w1 warm s=2\n{MAP}", 0.001, 100),  # never more than tasks
        (f"client c\nworker w1\nsubmit c f warm\ndone w1 warm s=0.001\n{MAP}", 5, 1),
        ("client c\nworker w1\nsubmit c f a\ndone w1 a", 5, 0),
        ("client c\nworker w1\nsubmit c f a b(a)", 5, 1),
        ("client c\nworker w1\nsubmit c f a gpu:1", 5, 0),  # more of the same would not help
        ("client c\nworker w1 gpu:1\nsubmit c f a b gpu:1", 0.1, 2),
        (f"client c\nworker w1\nworker w2\nsubmit c f a b\n{LONG}", 50, 2),  # they run, and will go on
        ("client c\nworker w1\nworker w2\nsubmit c f a b", 50, 1),
        ("client c\nworker w1 memory=100\nheartbeat w1 memory_nbytes=70\nsubmit c f a", 5, 2),
        ("client c\nworker w1 memory=100\nheartbeat w1 memory_nbytes=70", 5, 0),
        ("client c\nsubmit c f a b d\nrelease c a", 0.5, 2),  # what left the queue does not count
    ],
)
def test_the_queued_work_keeps_so_many_workers_busy(stage: Stage, story: str, target_s: float, count: int) -> None:
    stage(story)
    if "wait" in story:
        stage("heartbeat w1")
    assert desired_workers(stage.machine.state, target_s) == count
