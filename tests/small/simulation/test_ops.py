"""Every op survives what its row in the table of the simulation says: lost, its answer lost, said twice."""

from __future__ import annotations

import pytest

from distributed.messages import MESSAGES
from distributed.testing.simulation.network import Tamper
from distributed.testing.simulation.rules import RULES, UNSENT
from distributed.testing.simulation.simulate import simulate

SEEDS = range(3_000, 3_060)
TIMES = 2  # each kind of loss is met so often

CASES = [
    *((op, "lose", None) for op in MESSAGES),
    *((op, "duplicate", None) for op in MESSAGES),
    *((answer, "lose", op) for op, rule in RULES.items() for answer in rule.answers),
]


def test_every_op_has_a_row():
    assert set(RULES) == set(MESSAGES)


def test_answers_are_ops_of_the_other_side():
    for op, rule in RULES.items():
        assert all(MESSAGES[answer].sender != MESSAGES[op].sender for answer in rule.answers), op


@pytest.mark.parametrize(("op", "kind", "after"), CASES)
def test_an_op_survives(op, kind, after):
    met = 0
    for seed in SEEDS:
        tamper = Tamper(kind, op, skip=met * 2, after=after)
        report = simulate(seed, tampers=[tamper])
        assert report.failure is None, (seed, str(report.failure))
        met += tamper.is_done
        if met == TIMES:
            return
    assert met or op in UNSENT or after in UNSENT, f"{op} was never sent: let the simulation do what sends it"
