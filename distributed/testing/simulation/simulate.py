"""One seed from beginning to end: `simulate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distributed.testing.simulation.chance import Chance
from distributed.testing.simulation.network import Tamper
from distributed.testing.simulation.plan import Plan, draw_plan
from distributed.testing.simulation.world import SimulationFailure, World

__all__ = ["Report", "simulate"]


@dataclass(slots=True)
class Report:
    """What came of one seed.

    Attributes:
        failure: the rule that did not hold; None: all is well.
        trace: hash of all that happened.
        faults: how many of each kind were injected; sent: messages by op.
        draws: length of the tape; seconds: of virtual time.
        lines: the story, if it was asked for; is_cut: parts of the plan were left out.
    """

    seed: int
    failure: SimulationFailure | None
    trace: str
    workers: int
    tasks: int
    events: int
    checks: int
    faults: Counter[str]
    sent: Counter[str]
    draws: int
    seconds: float
    lines: list[str]
    plan: Plan
    is_cut: bool


def simulate(
    seed: int,
    *,
    only: frozenset[str] | None = None,
    tampers: Sequence[Tamper] = (),
    mutate: Callable[[World], None] | None = None,
    is_told: bool = False,
) -> Report:
    """Run one seed.

    Args:
        only: names of the parts of the plan to keep, see `Plan.names`; None: all.
        tampers: what happens to certain messages, beside the faults of the plan.
        mutate: called with the world before anything runs; a test may patch machines there, to see whether it is found.
        is_told: keep the story.
    """
    chance = Chance(seed)
    plan = draw_plan(chance)
    if only is not None:
        plan = plan.only(only)
    world = World(chance, plan, is_told)
    world.network.tampers.extend(tampers)
    if mutate is not None:
        mutate(world)
    failure = None
    try:
        world.run()
    except SimulationFailure as error:
        failure = error
    return Report(
        seed, failure, world.trace.digest(), len(plan.workers), len(world.work.runs), world.events, world.checks,
        world.faults, world.network.sent, len(chance.tape), world.seconds(), world.trace.lines, plan,
        only is not None,
    )  # fmt: skip
