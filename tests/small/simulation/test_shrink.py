"""Failing seeds become small, and the door for planted faults works."""

from __future__ import annotations

import pytest

from distributed.scheduler import lifecycle
from distributed.testing.simulation.__main__ import main
from distributed.testing.simulation.shrink import shrink
from distributed.testing.simulation.simulate import simulate
from distributed.testing.simulation.telling import story


def forget_to_drop(state, task):
    """A planted fault: nobody is told to drop what is not needed any more."""
    for worker in tuple(task.who_has or ()):
        lifecycle.remove_replica(task, worker)


def test_a_planted_fault_is_found_and_made_small(monkeypatch):
    monkeypatch.setattr(lifecycle, "drop_replicas", forget_to_drop)
    report = next(report for seed in range(50) if (report := simulate(seed)).failure is not None)
    small = shrink(report, lambda only: simulate(report.seed, only=only))
    assert small.failure is not None
    assert small.failure.rule == report.failure.rule
    assert len(small.plan.names()) < len(report.plan.names()) / 2
    text = story(simulate(report.seed, only=frozenset(small.plan.names()), is_told=True))
    assert small.failure.rule in text
    assert f"--seed {report.seed} -v --only " in text


def test_the_story_can_be_told_again(monkeypatch, capsys):
    monkeypatch.setattr(lifecycle, "drop_replicas", forget_to_drop)
    seed = next(seed for seed in range(50) if simulate(seed).failure is not None)
    assert main(["--seed", str(seed)]) == 1
    told = capsys.readouterr().out
    arguments = told.strip().splitlines()[-1].partition("simulation ")[2].split()
    assert main(arguments) == 1
    assert capsys.readouterr().out == told


def test_a_plan_keeps_what_it_is_told_to_keep():
    names = simulate(3).plan.names()
    kept = frozenset(names[::2])
    assert frozenset(simulate(3, only=kept).plan.names()) <= kept


def test_a_world_can_be_patched_before_it_runs():
    def patch(world):
        world.scheduler.accept = lambda end: end.close()

    report = simulate(1, mutate=patch)
    assert report.failure is not None
    assert report.failure.rule.startswith("every task ends")


def test_a_good_seed_says_so(capsys):
    assert main(["--seed", "1"]) == 0
    assert "all rules hold" in capsys.readouterr().out


@pytest.mark.parametrize("jobs", [1])
def test_many_seeds_are_summed_up(jobs, capsys):
    assert main(["--seeds", "4", "--jobs", str(jobs)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("4 seeds in ")
    assert "invariants, asked" in said
