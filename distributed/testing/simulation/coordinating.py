"""What a simulated user does with locks, queues and their like: the real table of requests, between plan and session.

Whatever is asked is withdrawn when its patience is over, whatever is held is released after a while, so that all comes
to rest. Each item is put once, so it can be seen whether it was lost, or given to two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distributed.client.coordination.table import RequestTable
from distributed.messages import Coordinate, RequestAnswered, TakeItems, WantKeys, WithdrawRequests
from distributed.scheduler.events import ClientJoined, ClientLeft, FromClient
from distributed.testing.simulation.errands import ErrandPlan

__all__ = ["Coordinator", "empty_places"]

PLACES = ("x", "y")
JANITOR = "janitor"


class Coordinator:
    """One client's.

    Attributes:
        requests: of the session at hand, by the real class.
        held: what was granted and not released, by number: kind and names.
    """

    def __init__(self, world: Any, client: Any, errands: list[ErrandPlan]) -> None:
        self.world, self.client, self.errands = world, client, errands
        self.requests = RequestTable()
        self.held: dict[int, tuple[str, list[str]]] = {}
        self._next = 0
        self._life = 0
        self._is_over = False

    def begin_session(self) -> None:
        """A new client: nothing was asked."""
        self.requests = RequestTable()
        self.held = {}

    def lose(self, reason: str) -> None:
        """The scheduler has forgotten us."""
        self.held = {}
        self.requests.lose(reason)

    def ready(self) -> None:
        """There is a connection: go on with the plan, once in each life of the process."""
        if self._life != self.client.life:
            self._life = self.client.life
            self._plan_next()

    def stop(self) -> None:
        """Ask for nothing more, and wait for nothing and hold nothing."""
        self._is_over = True
        numbers = [*self.requests.pending, *self.held]
        self.held = {}
        for number in numbers:
            self._withdraw(number)

    # ------------------------------------------------------------ the plan

    def _plan_next(self) -> None:
        if self._next < len(self.errands):
            self.client.later(self.errands[self._next].pause, self._do)

    def _do(self) -> None:
        errand = self.errands[self._next]
        self._next += 1
        if self._is_over:
            return
        if self.client.scheduler_life:
            self.world.trace.note(self.client.name, f"{errand.kind} ({errand.name})")
            getattr(self, f"_{errand.kind}")(errand)
        self._plan_next()

    def _lock(self, errand: ErrandPlan) -> None:
        self._hold(errand, "lock", [errand.place], 0)

    def _locks(self, errand: ErrandPlan) -> None:
        names = list(PLACES if errand.place == PLACES[0] else PLACES[::-1])
        self._hold(errand, "lock", names, errand.count % 2)

    def _semaphore(self, errand: ErrandPlan) -> None:
        self._hold(errand, "semaphore", [errand.place], 2)

    def _hold(self, errand: ErrandPlan, kind: str, names: list[str], count: int) -> None:
        def on_answer(number: int, answer: RequestAnswered) -> None:
            if answer.outcome == "done":
                self.held[number] = (kind, answer.names)
                self.client.later(errand.lasts, self._release, self.requests, number)

        self._ask(kind, "acquire", names, count, errand.patience, on_answer)

    def _release(self, requests: RequestTable, number: int) -> None:
        if requests is self.requests and number in self.held:
            kind, names = self.held.pop(number)
            self._ask(kind, "release", names, number)

    def _put(self, errand: ErrandPlan) -> None:
        value = f"{errand.name} of {self.client.client}".encode()
        life = self.client.scheduler_life

        def on_answer(number: int, answer: RequestAnswered) -> None:
            if answer.outcome == "done" and not self._is_over:
                self.world.put_items[value] = life

        self._ask("queue", "put", [errand.place], 3, errand.patience, on_answer, value, self._keys(errand))

    def _get(self, errand: ErrandPlan) -> None:
        def on_answer(number: int, answer: RequestAnswered) -> None:
            self._take(number, answer)
            for value in answer.items if not self._is_over else ():
                self.world.check_taken(self.client, bytes(value))

        self._ask("queue", "get", [errand.place], errand.count, errand.patience, on_answer)

    def _set(self, errand: ErrandPlan) -> None:
        if errand.count % 2:
            self._ask("event", "set", [errand.place])
        else:
            self._ask("variable", "set", [errand.place], value=errand.name.encode(), keys=self._keys(errand))

    def _clear(self, errand: ErrandPlan) -> None:
        self._ask(*(("event", "clear") if errand.count % 2 else ("variable", "delete")), [errand.place])

    def _wait(self, errand: ErrandPlan) -> None:
        if errand.count % 2:
            self._ask("event", "wait", [errand.place], 0, errand.patience)
        else:
            self._ask("variable", "get", [errand.place], 0, errand.patience, self._take)

    def _keys(self, errand: ErrandPlan) -> list[str]:
        """A future of ours, of a task, for every third item."""
        known = [key for key in self.client.held if key in self.world.work.recipes and self.client.is_held(key)]
        return known[-1:] if errand.count == 0 or errand.lasts % 3 == 0 else []

    # ------------------------------------------------------------ asking

    def _ask(
        self,
        kind: str,
        verb: str,
        names: list[str],
        count: int = 0,
        patience: int = 0,
        on_answer: Callable[[int, RequestAnswered], None] | None = None,
        value: bytes | None = None,
        keys: list[str] | None = None,
    ) -> None:
        client, requests = self.client, self.requests
        items, item_keys = ([], []) if value is None else ([value], [keys or []])

        def answered(answer: RequestAnswered | None) -> None:
            if answer is not None and on_answer is not None:
                on_answer(number, answer)

        with client.table.lock:
            number = requests.begin(answered)
            client.outbox.append(Coordinate(number, kind, names, verb, None, True, count, items, item_keys))
        client.wake()
        if patience:
            client.later(patience, self._give_up, requests, number)

    def _give_up(self, requests: RequestTable, number: int) -> None:
        if requests is self.requests and number in requests.pending:
            self._withdraw(number)

    def _withdraw(self, number: int) -> None:
        with self.client.table.lock:
            self.requests.forget(number)
            self.client.outbox.append(WithdrawRequests([number]))
        self.client.wake()

    def _take(self, number: int, answer: RequestAnswered) -> None:
        if answer.outcome != "done" or self._is_over:
            return
        client = self.client
        news: list[str] = []
        with client.table.lock:
            for key in dict.fromkeys(key for keys in answer.item_keys for key in keys):
                if client.table.admit(key)[1]:
                    news.append(key)
                client.hold_key(key)
                self.world.wanted[key] = None
            if news:
                client.outbox.append(WantKeys(news))
            client.outbox.append(TakeItems([number]))
        client.wake()


def empty_places(scheduler: Any) -> None:
    """Somebody clears away what outlives its clients; at the end, since what clients did not take comes back."""
    scheduler.handle(ClientJoined(JANITOR))
    verbs = (("queue", "close"), ("variable", "delete"), ("event", "clear"))
    jobs = [(*what, name) for what in verbs for name in PLACES]
    for number, (kind, verb, name) in enumerate(jobs):
        message = Coordinate(number, kind, [name], verb, None, False, 0, [], [])
        scheduler.handle(FromClient(JANITOR, message))
    scheduler.handle(ClientLeft(JANITOR))
