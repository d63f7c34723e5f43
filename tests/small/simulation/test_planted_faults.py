"""Faults planted in the machines are found by the simulator; `planted` hunts all of them."""

from __future__ import annotations

import importlib

import pytest

from distributed.testing.simulation.planted import StaleFaultError, hunt, planted
from distributed.testing.simulation.planted_fault import Fault
from distributed.testing.simulation.planted_faults import FAULTS

FOUND = [fault for fault in FAULTS if fault.seeds]


@pytest.mark.parametrize("fault", FOUND, ids=lambda fault: fault.name)
def test_a_fault_is_found(fault):
    assert hunt(fault, fault.seeds) is not None, "hunt it anew: python -m distributed.testing.simulation.planted"


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if not fault.seeds], ids=lambda fault: fault.name)
def test_what_is_not_found_can_be_planted_and_says_why(fault):
    assert fault.note
    with planted(fault):
        pass


def test_faults_are_many_and_named():
    assert len({fault.name for fault in FAULTS}) == len({fault.sentence for fault in FAULTS}) == len(FAULTS)
    assert len(FOUND) >= 28
    for area in ("scheduler", "worker", "client", "ledger"):
        assert any(fault.module.startswith(f"distributed.{area}") for fault in FOUND), area


def test_the_right_code_comes_back():
    fault = FAULTS[0]
    function = getattr(importlib.import_module(fault.module), fault.function)
    right = function.__code__
    with pytest.raises(ZeroDivisionError), planted(fault):
        assert function.__code__ is not right
        raise ZeroDivisionError
    assert function.__code__ is right


def test_a_snippet_that_is_gone_is_said():
    fault = Fault("gone", "", FAULTS[0].module, FAULTS[0].function, (("no such code", ""),))
    with pytest.raises(StaleFaultError, match="gone: its snippet is 0 times"), planted(fault):
        pytest.fail("it was planted")
