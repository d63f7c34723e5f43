"""Why: a sentence about a task, with what it was made of. Everybody who is asked gives one; see `Client.why`."""

from __future__ import annotations

__all__ = ["BLOCKERS_MAX", "Why"]

BLOCKERS_MAX = 20  # named; the sentence says how many there are


class Why(str):
    """A sentence, with what it was made of.

    Attributes:
        state: the task's state in lower case: at the scheduler, or what the future's `status` says if the scheduler
            need not be asked; "unknown" if there is no such task.
        reason: a word for programs: ``unknown``, ``done``, ``failed``, ``released``, ``running``, ``queued``,
            ``fetching``, ``lent``, ``coordination``, ``actor``, ``asked-back``, ``with-worker``, ``dependencies``,
            ``lost``, ``hung``, ``no-workers``, ``no-match``, ``paused``, ``retiring``, ``suspect``, ``resources``,
            ``busy``; from the client itself ``not-sent``, ``connecting``, ``cancelling``, ``cancelled``, ``closed``.
        blockers: keys (``dependencies``, ``fetching``) or addresses (others) that it waits for, at most 20.
    """

    __slots__ = ("blockers", "reason", "state")

    state: str
    reason: str
    blockers: list[str]

    def __new__(cls, text: str, state: str, reason: str, blockers: list[str] | None = None) -> Why:
        self = super().__new__(cls, text)
        self.state, self.reason, self.blockers = state, reason, (blockers or [])[:BLOCKERS_MAX]
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return Why, (str(self), self.state, self.reason, self.blockers)

    def to_wire(self) -> dict[str, object]:
        """As plain data, with ``text``; `from_wire` is the way back."""
        return {"text": str(self), "state": self.state, "reason": self.reason, "blockers": self.blockers}

    @classmethod
    def from_wire(cls, wire: dict[str, object]) -> Why:
        """The sentence that `to_wire` wrote."""
        blockers = wire.get("blockers")
        named = [str(name) for name in blockers] if isinstance(blockers, list) else []
        return cls(str(wire.get("text")), str(wire.get("state")), str(wire.get("reason")), named)
