"""All faults that are planted, one at a time, to see whether the simulation finds them."""

from __future__ import annotations

from distributed.testing.simulation.planted_actors import ACTOR_FAULTS
from distributed.testing.simulation.planted_again import AGAIN_FAULTS
from distributed.testing.simulation.planted_client import CLIENT_FAULTS
from distributed.testing.simulation.planted_coordination import COORDINATION_FAULTS
from distributed.testing.simulation.planted_fault import Fault
from distributed.testing.simulation.planted_life import LIFE_FAULTS
from distributed.testing.simulation.planted_nested import NESTED_FAULTS
from distributed.testing.simulation.planted_people import PEOPLE_FAULTS
from distributed.testing.simulation.planted_place import PLACE_FAULTS
from distributed.testing.simulation.planted_redundant import REDUNDANT_FAULTS
from distributed.testing.simulation.planted_stop import STOP_FAULTS
from distributed.testing.simulation.planted_stuck import STUCK_FAULTS
from distributed.testing.simulation.planted_worker import WORKER_FAULTS

__all__ = ["FAULTS", "Fault"]

FAULTS: tuple[Fault, ...] = (
    *LIFE_FAULTS,
    *PLACE_FAULTS,
    *STUCK_FAULTS,
    *WORKER_FAULTS,
    *CLIENT_FAULTS,
    *NESTED_FAULTS,
    *PEOPLE_FAULTS,
    *STOP_FAULTS,
    *COORDINATION_FAULTS,
    *ACTOR_FAULTS,
    *AGAIN_FAULTS,
    *REDUNDANT_FAULTS,
)
