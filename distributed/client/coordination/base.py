"""What locks, queues and their like have in common: a name, a client, pickles, and how they ask."""

from __future__ import annotations

from typing import Any

from distributed.client.client import Client
from distributed.client.coordination.errand import NOTHING, Errand
from distributed.client.inside import get_client
from distributed.client.session import Session
from distributed.ids import unique_id
from distributed.messages import RequestAnswered
from distributed.units import parse_seconds

__all__ = ["Named", "is_done", "seconds"]


class Named:
    """Base of all of them. Handles are cheap: what counts is the name, at whichever client it is said.

    A handle can be sent to a task; there it uses the client of its worker.

    Args:
        name: shared by all who mean the same one; None: a new one that nobody has.
        client: None: the one that `get_client` finds when it is needed.
    """

    kind = ""

    def __init__(self, name: str | None = None, client: Client | None = None) -> None:
        self.name = unique_id(self.kind) if name is None else name
        self._client = client
        self._is_found = client is None  # the client is found when it is needed

    @property
    def client(self) -> Client:
        """Whose session is used; ValueError if there is none."""
        if self._client is None or (self._is_found and self._client.status == "closed"):
            self._client = get_client()
        return self._client

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name,)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name}>"

    def _session(self) -> Session:
        return self.client._live()

    def _names(self) -> list[str]:
        return [self.name]

    def _errand(
        self, verb: str, *, count: int = 0, waits: bool = False, timeout_s: float | None = None, item: Any = NOTHING
    ) -> Errand:
        return Errand(
            self._session(), self.kind, self._names(), verb, count=count, waits=waits, timeout_s=timeout_s, item=item
        )


def seconds(timeout: str | float | None) -> float | None:
    """Seconds of what users give as ``timeout=``; None: as long as it takes."""
    return None if timeout is None else parse_seconds(timeout, "timeout")


def is_done(answer: RequestAnswered | None) -> bool:
    """Whether it was done: not refused, and not overdue."""
    return answer is not None and answer.outcome == "done"
