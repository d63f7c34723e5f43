"""All invariants, gathered from the modules that hold them."""

from __future__ import annotations

from distributed.testing.simulation import (
    about_actors,
    about_clients,
    about_coordination,
    about_limits,
    about_nested,
    about_order,
    about_people,
    about_redundant,
    about_retrying,
    about_scheduler,
    about_stuck,
    about_workers,
)
from distributed.testing.simulation.rulebook import INVARIANTS, Invariant, Moment

__all__ = [
    "INVARIANTS",
    "Invariant",
    "Moment",
    "about_actors",
    "about_clients",
    "about_coordination",
    "about_limits",
    "about_nested",
    "about_order",
    "about_people",
    "about_redundant",
    "about_retrying",
    "about_scheduler",
    "about_stuck",
    "about_workers",
]
