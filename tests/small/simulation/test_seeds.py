"""Three hundred clusters under faults, and what they are made of."""

from __future__ import annotations

import pytest

from distributed.testing.simulation.invariants import INVARIANTS
from distributed.testing.simulation.many import run_some
from distributed.testing.simulation.simulate import simulate
from distributed.testing.simulation.telling import Summary, summary

CHUNK = 25
_found = Summary()


@pytest.mark.parametrize("first", range(0, 300, CHUNK))
def test_no_rule_is_broken(first):
    found, failed = run_some(range(first, first + CHUNK))
    _found.merge(found)
    assert not failed, f"python -m distributed.testing.simulation --seed {failed[0]}"


def test_a_seed_is_no_toy(capsys):
    found, _ = run_some(range(40))
    assert sorted(found.workers)[20] >= 3
    assert sorted(found.tasks)[20] >= 30
    assert sorted(found.events)[20] >= 300
    assert len(found.faults) >= 10
    with capsys.disabled():
        print("\n" + summary(_found if _found.events else found, 0.0))


def test_invariants_are_many_and_named():
    assert len({invariant.name for invariant in INVARIANTS}) == len(INVARIANTS) > 30
    assert len({invariant.sentence for invariant in INVARIANTS}) == len(INVARIANTS)


def test_one_seed_gives_one_trace():
    assert simulate(11).trace == simulate(11).trace != simulate(12).trace


def test_what_stalled_in_a_partition_does_not_come_after_what_was_sent_later():
    assert run_some([900140])[1] == []  # an old ack came after a newer one
