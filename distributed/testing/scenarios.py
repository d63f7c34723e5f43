"""Stories about the scheduler machine, told and checked as text.

A `Stage` drives a real machine with one command per line and answers what the machine did, one line per effect; every
message passes through the real codec, and `invariants.check` runs after every event. `run_scenario` reads a file of
blocks ``commands / ---- / expected lines``; with the environment's ``REWRITE=1`` (looked at by the test, not here) the
expected lines are written anew, to be read as a diff.

Commands (``w1`` is a worker, its address ``tcp://w1:1``; ``w1/1`` names its first life, default the newest)::

    client c                              leave c
    worker w1 [threads=2] [nanny] [host=h] [name=n] [gpu:1 ...]
    left w1 [expected]                    died w1 [running=a,b] [cause=text]
    submit c f a b(a) ~t(b) [workers=w1,w2] [gpu:1] [priority=1] [retries=1]      ~: not wanted
    want c a b                            release c a b        cancel c a [reason=text]
    done w1 a b#2 [s=0.5] [nbytes=9]      failed w1 a          (#2: attempt; default: the one that runs)
    missing w1 a x@w2 y@w2                of a's dependencies, w2 has no x and no y
    added w1 x                            scatter w1 c x [nbytes=9]       removed w1 x
    heartbeat w1 [load=0.5]               wait 0.5             (seconds; the machine is woken when it asked to be)
    why a                                 story a              states
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from distributed.messages import (
    CLIENT,
    SCHEDULER,
    WORKER,
    CancelKeys,
    CancelTasks,
    DataAdded,
    DataRemoved,
    ForgetFunctions,
    Heartbeat,
    KeysCancelled,
    KeysDone,
    KeysFailed,
    KeysLost,
    Message,
    ReleaseData,
    ReleaseKeys,
    RunTasks,
    SubmitTasks,
    TasksDone,
    TasksFailed,
    TasksMissingData,
    TaskSpec,
    WantKeys,
    from_wire,
)
from distributed.protocol.codec import Limits, decode, encode, frame_lengths, unescape
from distributed.scheduler import effects, events
from distributed.scheduler.explain import why
from distributed.scheduler.invariants import check
from distributed.scheduler.machine import SchedulerMachine
from distributed.scheduler.state import Settings

__all__ = ["Stage", "run_scenario", "through_codec"]

SEPARATOR = "----"


def through_codec(message: Message, sender: str) -> Message:
    """What arrives when `message` is sent: encoded, decoded and checked as on a real connection."""
    raise NotImplementedError


@dataclass(slots=True)
class _Line:
    """One command taken apart: words, ``name=value`` options, ``name:amount`` resources."""

    verb: str
    words: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    resources: dict[str, float] = field(default_factory=dict)


class Stage:
    """A machine with a clock, driven by lines of text.

    Attributes:
        machine: the one under test.
        now: seconds; moved by ``wait`` only.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.machine = SchedulerMachine(settings)
        self.now = 0.0
        self._lives: dict[str, int] = {}  # the newest life of every worker
        self._sent: dict[str, set[str]] = {}  # functions that each client has sent

    def __call__(self, lines: str) -> list[str]:
        """Perform the commands; answers what the machine did, one line each."""
        answer: list[str] = []
        for text in lines.strip().splitlines():
            line = _parse(text)
            if line is not None:
                answer.extend(_VERBS[line.verb](self, line))
        return answer

    def handle(self, event: events.Event) -> list[str]:
        """Let the machine handle `event` and check its invariants; answers its effects as text."""
        self.machine.handle(event, self.now)
        check(self.machine)
        return [_describe(effect) for effect in self.machine.take_effects()]

    def from_client(self, client: str, message: Message) -> list[str]:
        """`client` sends `message`."""
        return self.handle(events.FromClient(client, through_codec(message, CLIENT)))

    def from_worker(self, worker: str, message: Message) -> list[str]:
        """`worker` (``w1`` or ``w1/1``) sends `message`."""
        address, incarnation = self._life(worker)
        return self.handle(events.FromWorker(address, incarnation, through_codec(message, WORKER)))

    def _life(self, worker: str) -> tuple[str, str]:
        name, _, life = worker.partition("/")
        return f"tcp://{name}:1", f"{name}/{life or self._lives.get(name, 1)}"
