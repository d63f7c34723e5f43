"""What the protocol promises when a message is lost, comes twice, or overtakes another: one row for each op.

On a TCP stream a message is lost only together with the connection, and none comes twice or out of order. Where the
protocol claims to survive more than that (a heartbeat that never came, an answer of an old attempt), its row says so
and the simulator does it. A new op without a row fails a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["AT_ONCE", "BREAKS", "HARMLESS", "LATE", "RULES", "UNCOUNTED", "UNSENT", "Rule"]


class Loss(Enum):
    """What a lost message means."""

    BREAKS = "TCP: a lost message is a broken connection; a session goes on over the next one and sends it again"
    HARMLESS = "the next one says the same"


class Duplicate(Enum):
    """When a second copy may come without doing harm."""

    AT_ONCE = "right behind the first"
    LATE = "at any time on the same connection, as long as the tasks that it names are the same ones"
    UNCOUNTED = "right behind the first, past the account of the session, which would know it"


BREAKS, HARMLESS = Loss
AT_ONCE, LATE, UNCOUNTED = Duplicate


@dataclass(frozen=True, slots=True)
class Rule:
    """The row of one op.

    Attributes:
        lost, duplicated: what may happen to it.
        reordered: whether messages behind it may overtake it.
        answers: ops that answer it, for the tests that lose the answer; empty: it has none.
        why: for people, what tells the second copy or a late one.
    """

    lost: Loss
    duplicated: Duplicate
    reordered: bool
    answers: tuple[str, ...]
    why: str


_KEYS_TOLD = ("keys-done", "keys-failed", "keys-cancelled")
_TASK_ENDS = ("tasks-done", "tasks-failed", "tasks-missing-data")

RULES: dict[str, Rule] = {
    # client -> scheduler
    "submit-tasks": Rule(BREAKS, UNCOUNTED, False, _KEYS_TOLD, "a key that exists keeps its recipe and its holder"),
    "want-keys": Rule(BREAKS, UNCOUNTED, False, _KEYS_TOLD, "a client holds a key once"),
    "release-keys": Rule(BREAKS, UNCOUNTED, False, (), "what is not held is no error"),
    "cancel-keys": Rule(BREAKS, UNCOUNTED, False, ("keys-cancelled",), "unknown keys are no error"),
    "coordinate": Rule(BREAKS, UNCOUNTED, False, ("request-answered",), "requests are numbered"),
    "withdraw-requests": Rule(BREAKS, UNCOUNTED, False, (), "unknown requests are no error"),
    "take-items": Rule(BREAKS, UNCOUNTED, False, (), "unknown requests are no error"),
    "cancel-queued": Rule(BREAKS, UNCOUNTED, False, (), "what is not queued goes on"),
    "retry-keys": Rule(BREAKS, UNCOUNTED, False, ("keys-lost",), "what has not failed goes on"),
    "release-functions": Rule(BREAKS, UNCOUNTED, False, (), "unknown digests are no error"),
    # scheduler -> client
    "request-answered": Rule(BREAKS, UNCOUNTED, False, (), "a request has one answer; a second one is ignored"),
    "request-waits": Rule(BREAKS, UNCOUNTED, False, (), "for people"),
    "keys-done": Rule(BREAKS, UNCOUNTED, False, (), "the same status again; keys that are not held are ignored"),
    "keys-failed": Rule(BREAKS, UNCOUNTED, False, (), "as keys-done"),
    "keys-cancelled": Rule(BREAKS, UNCOUNTED, False, (), "as keys-done"),
    "keys-stuck": Rule(BREAKS, UNCOUNTED, False, (), "said twice it says the same"),
    "keys-printed": Rule(BREAKS, UNCOUNTED, False, (), "a line is shown twice"),
    "keys-lost": Rule(BREAKS, UNCOUNTED, False, (), "pending is pending"),
    "server-closing": Rule(BREAKS, AT_ONCE, False, (), "the end of the connection says the same"),
    # scheduler -> worker
    "run-tasks": Rule(BREAKS, AT_ONCE, False, _TASK_ENDS, "attempts tell what was said twice"),
    "cancel-tasks": Rule(BREAKS, AT_ONCE, False, (), "unknown keys are no error"),
    "stop-tasks": Rule(BREAKS, AT_ONCE, False, ("tasks-stopped",), "what has stopped has stopped"),
    "release-data": Rule(BREAKS, AT_ONCE, False, (), "unknown keys are no error"),
    "forget-functions": Rule(BREAKS, AT_ONCE, False, (), "unknown digests are no error"),
    "return-tasks": Rule(BREAKS, LATE, False, ("tasks-returned",), "attempts tell; others are kept"),
    "copy-data": Rule(BREAKS, AT_ONCE, False, ("data-added", "copies-failed"), "what is here is said to be here"),
    "holders-known": Rule(BREAKS, AT_ONCE, False, (), "holders are tried once each"),
    "equip-worker": Rule(BREAKS, AT_ONCE, False, ("worker-equipped", "equipment-failed"), "serials tell"),
    "dismiss-worker": Rule(BREAKS, AT_ONCE, False, ("worker-leaving",), "a worker ends once"),
    # worker -> scheduler
    "tasks-done": Rule(BREAKS, LATE, False, (), "attempts tell late answers to the same task"),
    "tasks-failed": Rule(BREAKS, LATE, False, (), "attempts tell late answers to the same task"),
    "tasks-missing-data": Rule(BREAKS, LATE, False, (), "attempts tell late answers to the same task"),
    "tasks-returned": Rule(BREAKS, LATE, False, (), "attempts tell late answers to the same task"),
    "tasks-stopped": Rule(BREAKS, LATE, False, (), "attempts tell late answers to the same task"),
    "data-rescued": Rule(BREAKS, AT_ONCE, False, (), "data that is not expected is dropped"),
    "tasks-lent": Rule(BREAKS, AT_ONCE, False, (), "the state, not a change of it"),
    "tasks-rejoined": Rule(BREAKS, AT_ONCE, False, (), "the state, not a change of it"),
    "data-added": Rule(BREAKS, AT_ONCE, False, (), "a replica is counted once"),
    "data-removed": Rule(BREAKS, AT_ONCE, False, (), "what is not held is no error"),
    "copies-failed": Rule(BREAKS, AT_ONCE, False, (), "a copy that is not ordered any more is no error"),
    "ask-holders": Rule(BREAKS, AT_ONCE, False, ("holders-known",), "asking changes nothing"),
    "tasks-printed": Rule(BREAKS, AT_ONCE, False, (), "a line is shown twice"),
    "worker-equipped": Rule(BREAKS, LATE, False, (), "who has answered is not waited for"),
    "equipment-failed": Rule(BREAKS, LATE, False, (), "as worker-equipped"),
    "heartbeat": Rule(HARMLESS, LATE, True, (), "the next one says the same"),
    "worker-paused": Rule(BREAKS, AT_ONCE, False, (), "the state, not a change of it"),
    "worker-retiring": Rule(BREAKS, AT_ONCE, False, ("dismiss-worker",), "a worker retires once"),
    "worker-leaving": Rule(BREAKS, AT_ONCE, False, (), "the end of the connection says the same, less politely"),
}

# Ops of the contract that no machine sends yet, so that nothing can happen to them.
UNSENT = frozenset({"data-removed"})
