"""Stories about the scheduler machine, told and checked as text.

A `Stage` drives a real machine with one command per line and answers what the machine did, one line per effect; every
message passes through the real codec, and `invariants.check` runs after every event. `run_scenario` reads a file of
blocks ``commands / ---- / expected lines``; with the environment's ``REWRITE=1`` (looked at by the test, not here) the
expected lines are written anew, to be read as a diff.

Commands (``w1`` is a worker, its address ``tcp://w1:1``; ``w1/1`` names its first life, default the newest)::

    client c                              leave c
    worker w1 [threads=2] [memory=9] [tags=a,b] [nanny] [host=h] [name=n] [gpu:1 ...]
    left w1 [expected]                    died w1 [running=a,b] [cause=text]
    submit c f a b(a) ~t(b) [workers=w1,w2] [others=yes] [platform=p*] [limit=9] [gpu:1] [priority=1] [retries=1]
           [actor=yes] [redundant=yes] [threads=2]   (~: not wanted; others: allow_other_workers; limit: memory of it)
    want c a b                            release c a b        cancel c a [reason=text]
    done w1 a b#2 [s=0.5] [nbytes=9]      failed w1 a          (#2: attempt; default: the one that runs)
    missing w1 a x@w2 y@w2                of a's dependencies, w2 has no x and no y
    returned w1 a b#2 [kept=d]            w1 gives back what it was asked for
    added w1 x                            scatter w1 c x [nbytes=9]       removed w1 x
    heartbeat w1 [load=0.5]               wait 0.5             (seconds; the machine is woken when it asked to be)
    paused w1 [no]                        retiring w1          alive w1
    nocopy w1 x y                         ask w1 x
    replicate o1 x y [copies=2] [workers=w1,w2]     rebalance o1 [x ...] [workers=w1,w2]     retire o1 w1 w2
    why a                                 story a              states
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from distributed.messages import (
    CLIENT,
    WORKER,
    AskHolders,
    CancelKeys,
    CopiesFailed,
    DataAdded,
    DataRemoved,
    DataRescued,
    Heartbeat,
    Message,
    ReleaseKeys,
    SubmitTasks,
    TasksDone,
    TasksFailed,
    TasksLent,
    TasksMissingData,
    TaskSpec,
    TasksRejoined,
    TasksReturned,
    TasksStopped,
    WantKeys,
    WorkerPaused,
    WorkerRetiring,
)
from distributed.scheduler import events
from distributed.scheduler.explain import why
from distributed.scheduler.invariants import check
from distributed.scheduler.machine import SchedulerMachine
from distributed.scheduler.state import Settings
from distributed.testing.describing import describe, short, through_codec

__all__ = ["Stage", "run_scenario", "through_codec"]

SEPARATOR = "----"


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
        return [describe(effect) for effect in self.machine.take_effects()]

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

    # ------------------------------------------------------------ verbs: clients

    def _client(self, line: _Line) -> list[str]:
        process = line.options.get("process", "")
        return [text for name in line.words for text in self.handle(events.ClientJoined(name, process))]

    def _leave(self, line: _Line) -> list[str]:
        self._sent.pop(line.words[0], None)
        return self.handle(events.ClientLeft(line.words[0]))

    def _submit(self, line: _Line) -> list[str]:
        client, function, *tasks = line.words
        digest = function.encode()
        sent = self._sent.setdefault(client, set())
        functions = {} if function in sent or function == "unsent" else {digest: b"code of " + digest}
        sent.add(function)
        workers = line.options.get("workers")
        spec = TaskSpec(
            digest,
            int(line.options.get("priority", "0")),
            int(line.options.get("retries", "0")),
            True,
            None if workers is None else tuple(self._addresses(workers.split(","))),
            tuple(line.resources.items()) or None,
            line.options.get("others") == "yes",
            line.options.get("platform"),
            int(line.options["limit"]) if "limit" in line.options else None,
            float(line.options["timeout"]) if "timeout" in line.options else None,
            parent=line.options.get("parent"),
            depth=int(line.options.get("depth", "0")),
            actor=line.options.get("actor") == "yes",
            redundant=line.options.get("redundant") == "yes",
            threads=int(line.options.get("threads", "1")),
        )
        specs = [spec, spec._replace(wanted=False)]
        keys, dependencies, spec_of = [], [], []
        for task in tasks:
            key, _, needs = task.removesuffix(")").partition("(")
            keys.append(key.removeprefix("~"))
            spec_of.append(int(key.startswith("~")))
            dependencies.append(needs.split(",") if needs else None)
        return self.from_client(client, SubmitTasks(
            functions,
            specs,
            spec_of if any(spec_of) else None,
            keys,
            [b"arguments"] * len(keys),
            dependencies if any(dependencies) else None,
        ))  # fmt: skip

    def _addresses(self, names: list[str]) -> list[str]:
        return [self._life(name)[0] if name in self._lives else name for name in names]

    def _want(self, line: _Line) -> list[str]:
        return self.from_client(line.words[0], WantKeys(line.words[1:]))

    def _release(self, line: _Line) -> list[str]:
        return self.from_client(line.words[0], ReleaseKeys(line.words[1:]))

    def _cancel(self, line: _Line) -> list[str]:
        return self.from_client(
            line.words[0], CancelKeys(line.words[1:], "force" in line.options, line.options.get("reason"))
        )

    # ------------------------------------------------------------ verbs: workers

    def _worker(self, line: _Line) -> list[str]:
        name = line.words[0]
        self._lives[name] = self._lives.get(name, 0) + 1
        address, incarnation = self._life(name)
        return self.handle(events.WorkerJoined(
            address,
            incarnation,
            line.options.get("name", name),
            int(line.options.get("threads", "1")),
            int(line.options["memory"]) if "memory" in line.options else None,
            "tcp://nanny:1" if "nanny" in line.words else None,
            line.resources,
            line.options.get("host", name),
            line.options.get("process", ""),
            tags=tuple(line.options["tags"].split(",")) if "tags" in line.options else (),
        ))  # fmt: skip

    def _left(self, line: _Line) -> list[str]:
        address, incarnation = self._life(line.words[0])
        is_expected = "expected" in line.words
        return self.handle(
            events.WorkerLeft(address, incarnation, "it left" if is_expected else "it broke", is_expected)
        )

    def _died(self, line: _Line) -> list[str]:
        address, incarnation = self._life(line.words[0])
        certificate: dict[str, Any] = {"cause": line.options.get("cause", "signal 9")}
        if "running" in line.options:
            certificate["running"] = line.options["running"].split(",")
        if "late" in line.options:
            certificate["late"] = line.options["late"].split(",")
        return self.handle(events.WorkerDied(address, incarnation, certificate))

    def _alive(self, line: _Line) -> list[str]:
        running = line.options["running"].split(",") if "running" in line.options else None
        return self.handle(events.WorkerAlive(*self._life(line.words[0]), running))

    def _attempts(self, words: list[str]) -> tuple[list[str], list[int]]:
        """Keys and attempts of ``key`` or ``key#attempt``."""
        pairs = [word.partition("#")[::2] for word in words]
        known = self.machine.state.tasks
        return [key for key, _ in pairs], [
            int(attempt) if attempt else known[key].attempt if key in known else 1 for key, attempt in pairs
        ]

    def _done(self, line: _Line) -> list[str]:
        keys, attempts = self._attempts(line.words[1:])
        count = len(keys)
        nbytes, seconds = int(line.options.get("nbytes", "1")), float(line.options.get("s", "0.001"))
        results: list[bytes | None] = [b"result of " + key.encode() for key in keys]
        return self.from_worker(
            line.words[0], TasksDone(keys, attempts, [nbytes] * count, results, [seconds] * count)
        )  # fmt: skip

    def _failed(self, line: _Line) -> list[str]:
        keys, attempts = self._attempts(line.words[1:])
        failures: list[list[Any]] = [["ValueError", f"{key} is bad", "", None] for key in keys]
        return self.from_worker(line.words[0], TasksFailed(keys, attempts, failures, [0.001] * len(keys)))

    def _missing(self, line: _Line) -> list[str]:
        keys, attempts = self._attempts(line.words[1:2])
        pairs = [pair.split("@") for pair in line.words[2:]]
        gone = [[key, self._life(worker)[0]] for key, worker in pairs]
        return self.from_worker(
            line.words[0], TasksMissingData(keys, attempts, [[key for key, _ in pairs]], [gone])
        )  # fmt: skip

    def _returned(self, line: _Line) -> list[str]:
        keys, attempts = self._attempts(line.words[1:])
        kept = line.options["kept"].split(",") if "kept" in line.options else []
        return self.from_worker(line.words[0], TasksReturned(keys, attempts, kept))

    def _said(self, line: _Line, kind: type[TasksLent] | type[TasksRejoined] | type[TasksStopped]) -> list[str]:
        return self.from_worker(line.words[0], kind(*self._attempts(line.words[1:])))

    def _rescued(self, line: _Line) -> list[str]:
        return self.from_worker(line.words[0], DataRescued(line.words[1:], [1] * len(line.words[1:])))

    def _added(self, line: _Line) -> list[str]:
        return self.from_worker(line.words[0], DataAdded(line.words[1:], [1] * len(line.words[1:]), None))

    def _scatter(self, line: _Line) -> list[str]:
        worker, client, *keys = line.words
        nbytes = int(line.options.get("nbytes", "1"))
        return self.from_worker(worker, DataAdded(keys, [nbytes] * len(keys), client))

    def _removed(self, line: _Line) -> list[str]:
        return self.from_worker(line.words[0], DataRemoved(line.words[1:]))

    def _heartbeat(self, line: _Line) -> list[str]:
        metrics = {name: float(value) for name, value in line.options.items()}
        return self.from_worker(line.words[0], Heartbeat([], metrics))

    def _paused(self, line: _Line) -> list[str]:
        return self.from_worker(line.words[0], WorkerPaused("no" not in line.words[1:]))

    def _retiring(self, line: _Line) -> list[str]:
        return self.from_worker(line.words[0], WorkerRetiring("asked to"))

    def _nocopy(self, line: _Line) -> list[str]:
        keys = line.words[1:]
        return self.from_worker(line.words[0], CopiesFailed(keys, [[] for _ in keys]))

    def _ask(self, line: _Line) -> list[str]:
        return self.from_worker(line.words[0], AskHolders(line.words[1:]))

    # ------------------------------------------------------------ verbs: orders

    def _replicate(self, line: _Line) -> list[str]:
        copies = int(line.options["copies"]) if "copies" in line.options else None
        order, *keys = line.words
        return self.handle(events.Replicate(order, tuple(keys), copies, self._named(line)))

    def _rebalance(self, line: _Line) -> list[str]:
        order, *keys = line.words
        return self.handle(events.Rebalance(order, tuple(keys) or None, self._named(line)))

    def _retire(self, line: _Line) -> list[str]:
        order, *workers = line.words
        return self.handle(events.Retire(order, tuple(self._addresses(workers)), "scaling down"))

    def _named(self, line: _Line) -> tuple[str, ...] | None:
        names = line.options.get("workers")
        return None if names is None else tuple(self._addresses(names.split(",")))

    # ------------------------------------------------------------ verbs: time and questions

    def _wait(self, line: _Line) -> list[str]:
        end = self.now + float(line.words[0])
        answer: list[str] = []
        while (wakeup := self.machine.next_wakeup) is not None and wakeup <= end:
            self.now = wakeup
            answer += self.handle(events.Tick())
        self.now = end
        return answer

    def _why(self, line: _Line) -> list[str]:
        answer = why(self.machine.state, line.words[0])
        blockers = " ".join(short(blocker) for blocker in answer.blockers)
        return [f"{answer.reason} [{blockers}]: {short(answer)}"]

    def _story(self, line: _Line) -> list[str]:
        return [
            f"{origin.name} -> {to.name}: {short(because)}"
            for _, origin, to, because, _ in self.machine.story(line.words[0])
        ]

    def _states(self, line: _Line) -> list[str]:
        return [f"{key} {task.state.name}" for key, task in self.machine.state.tasks.items()] or ["nothing"]


_VERBS: dict[str, Callable[[Stage, _Line], list[str]]] = {
    "added": Stage._added,
    "alive": Stage._alive,
    "ask": Stage._ask,
    "cancel": Stage._cancel,
    "client": Stage._client,
    "died": Stage._died,
    "done": Stage._done,
    "failed": Stage._failed,
    "heartbeat": Stage._heartbeat,
    "leave": Stage._leave,
    "left": Stage._left,
    "lent": lambda stage, line: stage._said(line, TasksLent),
    "missing": Stage._missing,
    "nocopy": Stage._nocopy,
    "paused": Stage._paused,
    "rebalance": Stage._rebalance,
    "rejoined": lambda stage, line: stage._said(line, TasksRejoined),
    "release": Stage._release,
    "removed": Stage._removed,
    "replacing": lambda stage, line: stage.handle(events.WorkerReplacing(*stage._life(line.words[0]), line.words[1:])),
    "replicate": Stage._replicate,
    "rescued": Stage._rescued,
    "retire": Stage._retire,
    "retiring": Stage._retiring,
    "returned": Stage._returned,
    "scatter": Stage._scatter,
    "states": Stage._states,
    "stopped": lambda stage, line: stage._said(line, TasksStopped),
    "story": Stage._story,
    "submit": Stage._submit,
    "wait": Stage._wait,
    "want": Stage._want,
    "why": Stage._why,
    "worker": Stage._worker,
}


def run_scenario(text: str, stage: Stage | None = None) -> str:
    """The scenario `text` with what really happened in place of the expected lines: the same text if all is well.

    Blocks are separated by empty lines; lines of a block before ``----`` are commands, or comments that begin with #.
    """
    stage = stage or Stage()
    blocks = []
    for block in text.strip().split("\n\n"):
        told, separator, _ = block.partition(f"\n{SEPARATOR}")
        if separator or not _is_comment(told):
            told = "\n".join([told, SEPARATOR, *stage(told)])
        blocks.append(told)
    return "\n\n".join(blocks) + "\n"


def _is_comment(block: str) -> bool:
    return all(line.startswith("#") for line in block.splitlines())


def _parse(text: str) -> _Line | None:
    words = text.partition("#  ")[0].split() if not text.startswith("#") else []
    if not words:
        return None
    if words[0] not in _VERBS:
        raise ValueError(f"no such command: {text!r}; there are {', '.join(_VERBS)}")
    line = _Line(words[0])
    for word in words[1:]:
        name, colon, amount = word.partition(":")
        option, equals, value = word.partition("=")
        if equals:
            line.options[option] = value
        elif colon:
            line.resources[name] = float(amount)
        else:
            line.words.append(word)
    return line
