"""Every op survives what its row in the table of the simulation says: lost, its answer lost, said twice."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from distributed.messages import MESSAGES
from distributed.testing.simulation.network import Tamper
from distributed.testing.simulation.rules import RULES, UNSENT
from distributed.testing.simulation.simulate import simulate

SEEDS = range(3_000, 3_040)
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


@cache
def sent_by_seed() -> dict[int, Counter[str]]:
    """How often each op is sent in each seed when nothing is done to it."""
    return {seed: simulate(seed).sent for seed in SEEDS}


@pytest.mark.parametrize(("op", "kind", "after"), CASES)
def test_an_op_survives(op, kind, after):
    seeds = [seed for seed, sent in sent_by_seed().items() if sent[op] and (after is None or sent[after])]
    tampers = []
    for seed in seeds[:TIMES]:
        tampers.append(Tamper(kind, op, skip=len(tampers), after=after))
        report = simulate(seed, tampers=tampers[-1:])
        assert report.failure is None, (seed, str(report.failure))
    assert any(tamper.is_done for tamper in tampers) or {op, after} & UNSENT, f"{op} was not sent"
