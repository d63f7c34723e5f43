"""Faults to plant in what the machines do with actors."""

from __future__ import annotations

from distributed.testing.simulation.planted_fault import Fault

__all__ = ["ACTOR_FAULTS"]

ACTOR_FAULTS: tuple[Fault, ...] = (
    Fault(
        "actor-made-again",
        "An actor that is lost with its worker is made again in silence.",
        "distributed.scheduler.lifecycle",
        "lose_replicas",
        (("if task in state.actors:", "if False:"),),
        seeds=(11, 24),
    ),
    Fault(
        "actor-kept-by-copies",
        "Copies of the proxy keep an actor alive whose worker is gone.",
        "distributed.scheduler.failures",
        "_remove",
        (("or is_home(state, task, worker)", ""),),
        seeds=(53,),
    ),
    Fault(
        "actor-not-ended",
        "A released actor lives on at its worker.",
        "distributed.worker.machine",
        "WorkerMachine._drop",
        (("if self.state.actors:", "if False:"),),
        seeds=(11, 24),
    ),
    Fault(
        "actor-outlives-scheduler",
        "The actors of a worker outlive its scheduler.",
        "distributed.worker.machine",
        "WorkerMachine._scheduler_lost",
        (("turn.ended_actors += state.actors", "turn.ended_actors += ()"),),
        seeds=(42,),
    ),
)
