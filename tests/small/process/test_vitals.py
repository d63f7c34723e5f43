"""What a nanny thinks of a process by what the kernel says of it."""

from __future__ import annotations

import os

from distributed.process.vitals import Pulse, Verdict, Vitals, read_vitals


def test_who_uses_the_processor_works() -> None:
    pulse = Pulse(30.0)
    looks = [("R", 1.0), ("R", 1.5), ("S", 1.5), ("D", 1.6)]
    verdicts = [pulse.look(Vitals(state, cpu_s), now) for now, (state, cpu_s) in enumerate(looks)]
    assert verdicts == [Verdict.WORKING, Verdict.WORKING, Verdict.QUIET, Verdict.WORKING]


def test_who_is_stopped_for_too_long_is_stopped() -> None:
    pulse = Pulse(5.0)
    assert pulse.look(Vitals("T", 1.0), 100.0) is Verdict.QUIET
    assert pulse.look(Vitals("T", 1.0), 104.9) is Verdict.QUIET
    assert pulse.look(Vitals("T", 1.0), 105.0) is Verdict.STOPPED


def test_who_went_on_meanwhile_is_not() -> None:
    pulse = Pulse(5.0)
    pulse.look(Vitals("T", 1.0), 100.0)
    assert pulse.look(Vitals("S", 1.1), 104.0) is Verdict.WORKING
    assert pulse.look(Vitals("T", 1.1), 106.0) is Verdict.QUIET
    assert pulse.look(Vitals("T", 1.1), 110.0) is Verdict.QUIET


def test_who_is_being_debugged_or_is_gone_says_nothing() -> None:
    pulse = Pulse(0.0)
    pulse.look(Vitals("S", 1.0), 0.0)
    assert pulse.look(Vitals("t", 1.0), 1.0) is Verdict.QUIET
    assert pulse.look(None, 100.0) is Verdict.QUIET


def test_the_kernel_is_asked() -> None:
    vitals = read_vitals(os.getpid())
    assert vitals is not None
    assert vitals.state == "R"
    assert vitals.cpu_s > 0
    assert read_vitals(2**22 + 1) is None  # no process has such a number
