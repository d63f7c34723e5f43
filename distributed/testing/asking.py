"""Clients that ask the scheduler's machine for locks, queues and their like, with its invariants checked all the while.

`Counter` plays the part of all clients: ``counter.ask("a", "lock", "acquire", "x")`` answers the request's number, and
``counter.answers`` has what was said since it was last looked at.
"""

from __future__ import annotations

from distributed.messages import (
    CLIENT,
    SCHEDULER,
    Coordinate,
    Message,
    RequestAnswered,
    RequestWaits,
    TakeItems,
    WithdrawRequests,
)
from distributed.scheduler.coordination.answering import Wait, waits_of
from distributed.scheduler.effects import ToClient
from distributed.scheduler.events import ClientJoined, ClientLeft, Event, FromClient, Tick
from distributed.scheduler.invariants import check
from distributed.scheduler.machine import SchedulerMachine
from distributed.scheduler.state import Settings
from distributed.testing.scenarios import through_codec

__all__ = ["Counter"]


class Counter:
    """See the module.

    Attributes:
        machine: the one under test; now: seconds, moved by `wait` only.
        answers: ``(client, request)`` to its answer, in order; warnings: texts by ``(client, request)``.
        told: all other messages for clients.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.machine = SchedulerMachine(settings)
        self.now = 0.0
        self.answers: dict[tuple[str, int], RequestAnswered] = {}
        self.warnings: dict[tuple[str, int], str] = {}
        self.told: list[tuple[str, Message]] = []
        self._numbers: dict[str, int] = {}

    def ask(
        self,
        client: str,
        kind: str,
        verb: str,
        *names: str,
        number: int = 0,
        waits: bool = True,
        item: bytes | None = None,
        keys: tuple[str, ...] = (),
        task: str | None = None,
    ) -> tuple[str, int]:
        """`client` asks; its name and the number of the request."""
        if client not in self._numbers:
            self._numbers[client] = 0
            self.handle(ClientJoined(client))
        self._numbers[client] += 1
        items, item_keys = ([], []) if item is None else ([item], [list(keys)])
        message = Coordinate(self._numbers[client], kind, list(names), verb, task, waits, number, items, item_keys)
        self.tell(client, message)
        return client, self._numbers[client]

    def outcome(self, client: str, kind: str, verb: str, *names: str, **rest: object) -> RequestAnswered:
        """`client` asks what is answered at once."""
        return self.answers.pop(self.ask(client, kind, verb, *names, **rest))  # type: ignore[arg-type]

    def withdraw(self, *asked: tuple[str, int]) -> None:
        """A client withdraws requests of its own."""
        self.tell(asked[0][0], WithdrawRequests([number for _, number in asked]))

    def take(self, *asked: tuple[str, int]) -> None:
        """A client says that it has what these requests were answered with."""
        self.tell(asked[0][0], TakeItems([number for _, number in asked]))

    def leave(self, client: str) -> None:
        """`client` is gone."""
        self._numbers.pop(client, None)
        self.handle(ClientLeft(client))

    def wait(self, seconds: float) -> None:
        """Let time pass; the machine is woken when it asked to be."""
        end = self.now + seconds
        while (when := self.machine.next_wakeup) is not None and when <= end:
            self.now = max(self.now, when)
            self.handle(Tick())
        self.now = end

    def waits_of(self, task: str) -> list[Wait]:
        """For whom `task` waits."""
        return waits_of(self.machine.state, task, self.now)

    def answered(self) -> list[tuple[str, int]]:
        """What was answered with "done" since the last look, in order."""
        found = [asked for asked, answer in self.answers.items() if answer.outcome == "done"]
        self.answers.clear()
        return found

    def tell(self, client: str, message: Message) -> None:
        """`client` sends `message`."""
        self.handle(FromClient(client, through_codec(message, CLIENT)))

    def handle(self, event: Event) -> None:
        """Let the machine handle `event`, check its invariants, and keep what it says to clients."""
        self.machine.handle(event, self.now)
        check(self.machine)
        for effect in self.machine.take_effects():
            if not isinstance(effect, ToClient):
                continue
            message = through_codec(effect.message, SCHEDULER)
            if isinstance(message, RequestAnswered):
                assert (effect.client, message.request) not in self.answers
                self.answers[effect.client, message.request] = message
            elif isinstance(message, RequestWaits):
                self.warnings[effect.client, message.request] = message.text
            else:
                self.told.append((effect.client, message))
