"""The simulated client process: the real table of keys and outbox, between a user's steps and a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from distributed.client.outbox import Outbox, Task
from distributed.client.records import KeyRecord, Status
from distributed.client.table import KeyTable
from distributed.messages import (
    SCHEDULER,
    CancelKeys,
    CancelQueued,
    KeysCancelled,
    KeysDone,
    KeysFailed,
    KeysLost,
    KeysPrinted,
    KeysStuck,
    Message,
    ReleaseKeys,
    RequestAnswered,
    RequestWaits,
    RetryKeys,
    ServerClosing,
    TaskSpec,
    WantKeys,
)
from distributed.testing.simulation.clock import MS, SECOND
from distributed.testing.simulation.coordinating import Coordinator
from distributed.testing.simulation.engine import Calls
from distributed.testing.simulation.gathering import Gathering
from distributed.testing.simulation.network import End
from distributed.testing.simulation.processes import Process
from distributed.testing.simulation.scheduler import SCHEDULER_ADDRESS
from distributed.testing.simulation.sessions import ASK, BYE, Endpoint
from distributed.testing.simulation.work import FUNCTIONS, Recipe, argument_of, code_of
from distributed.wire import from_wire

__all__ = ["ClientProcess"]

RETRY = 100 * MS
GIVE_UP = 6 * SECOND  # after a user was told that nobody can run what he wants
FUNCTIONS_MAX = 2  # that the scheduler keeps for a client: few, so that they come and go
PATIENCE = 8 * SECOND  # for a scheduler to come back; sessions are kept for less, so both ends are seen


class ClientProcess(Process):
    """A program with one client; when its connection ends it opens a new one and submits again what it held.

    Attributes:
        client: id of this session.
        held: futures of the user by key; ever_held: also those of earlier times.
        table, outbox: of this session.
        endpoint: our end of the session; scheduler_life: the scheduler it is with, 0: none yet.
        gatherings: those under way.
        coordinator: what it does with locks, queues and their like.
    """

    def __init__(self, world: Any, name: str, host: str) -> None:
        super().__init__(world, name, host)
        self.sessions = 0
        self.client = ""
        self.scheduler_life = 0
        self.held: dict[str, int] = {}
        self.ever_held: dict[str, None] = {}
        self.table = KeyTable()
        self.outbox = Outbox(FUNCTIONS_MAX)
        self.gatherings: dict[Gathering, None] = {}
        self._is_awake = False
        self._handlers: dict[type[Message], Callable[[Any], None]] = {
            KeysDone: lambda message: self.table.on_done(message),
            KeysFailed: lambda message: self.table.on_failed(message),
            KeysCancelled: lambda message: self.table.on_cancelled(message),
            KeysLost: lambda message: self.table.on_lost(message),
            KeysStuck: self._on_stuck,
            KeysPrinted: lambda message: None,
        }
        self._handlers[RequestAnswered] = lambda message: self.coordinator.requests.on_answered(message)
        self._handlers[RequestWaits] = lambda message: None  # the real client logs it
        self._cut_at = 0
        self.coordinator = Coordinator(world, self, [])
        self.endpoint = self._new_endpoint()
        self.on_ready: Callable[[], None] = lambda: None
        self.process = ""  # of the worker whose tasks use it

    # ------------------------------------------------------------ the session

    def begin(self) -> None:
        """A program that starts holds nothing."""
        self.held = {}
        self.calls = Calls(self)
        self._new_client()

    def _new_client(self) -> None:
        self.sessions += 1
        self.client = f"{self.name}.{self.sessions}"
        self.table = KeyTable()
        self.outbox = Outbox(FUNCTIONS_MAX)
        self.gatherings = {}
        self.coordinator.begin_session()
        self.scheduler_life = 0
        self.endpoint = self._new_endpoint()
        self._is_awake = False
        self._cut_at = self.world.clock.now
        self._connect()

    def _new_endpoint(self) -> Endpoint:
        endpoint = Endpoint(self, self._on_message, self._on_cut, self._on_confirmed)
        return endpoint

    @property
    def scheduler(self) -> End | None:
        """The connection; None while there is none."""
        return self.endpoint.end

    def _connect(self) -> None:
        """Again and again; a client that was connected once gives up after a while, and its user makes a new one."""
        if self.scheduler_life and self.world.clock.now - self._cut_at > PATIENCE:
            self._finish()
            return
        client = self.client
        self.world.network.connect(
            self,
            SCHEDULER_ADDRESS,
            lambda end: self._introduce(end, client),
            lambda reason: self._connect_later(client),
        )

    def _connect_later(self, client: str) -> None:
        self.later(RETRY, self._connect_again, client)

    def _connect_again(self, client: str) -> None:
        if client == self.client and self.scheduler is None:
            self._connect()

    def _introduce(self, end: End, client: str) -> None:
        if client != self.client or self.scheduler is not None:
            end.close()
            return
        end.on_message = lambda wire: self._registered(end, wire)
        end.on_closed = lambda reason: self._connect_later(client)
        told = [self.scheduler_life, self.endpoint.ledger.received] if self.scheduler_life else None
        end.send(["register-client", self.client, told, self.process])

    def _registered(self, end: End, wire: list[Any]) -> None:
        if wire[0] == "error":  # our old connection is not known to be gone
            end.close()
            self._connect_later(self.client)
            return
        _, life, received = wire
        lost: list[str] = []
        if received is not None and self.endpoint.ledger.can_resume(received):
            self.endpoint.attach(end, received)
            self.table.confirmed(received)
        else:
            if self.scheduler_life:
                lost = self._begin_anew()
            self.endpoint.attach(end)
        self.scheduler_life = life
        self._flush()
        if lost:
            self.release(lost)
            self.submit_again(lost)
        self.on_ready()
        self.coordinator.ready()

    def _begin_anew(self) -> list[str]:
        """The scheduler knows nothing of us: what it was told is void."""
        self.endpoint = self._new_endpoint()
        with self.table.lock:
            self.outbox.clear()
            lost = self.table.lose_session("was started anew")
        self.table.settle(lost)
        self.coordinator.lose("was started anew")
        return [record.key for record in lost]

    def _on_message(self, wire: list[Any]) -> None:
        message = from_wire(wire, SCHEDULER)
        self.world.check_told(self, message)
        if isinstance(message, ServerClosing):
            self._finish()
        else:
            self._handlers[type(message)](message)
        self.world.after_told(self, message)

    def _on_cut(self, reason: str) -> None:
        self._cut_at = self.world.clock.now
        self._connect()

    def _on_confirmed(self) -> None:
        self.table.confirmed(self.endpoint.ledger.confirmed_count)
        self._flush()

    def _finish(self) -> None:
        """The session ends: what is pending is lost, and its user makes a new client and submits again what he held."""
        self.endpoint.detach()
        self.table.lose_pending()
        keys = list(self.held)
        self.held = {}
        self._new_client()
        self.submit_again(keys)

    def _on_stuck(self, message: KeysStuck) -> None:
        """A user who named a worker that will never come adds to it, and then gives up; nothing else tells him to."""
        work = self.world.work
        for keys, blocked in zip(message.waiting, message.blocked, strict=True):
            if blocked in work.hopeless:
                if f"{keys[0]}.late" not in work.recipes and self.is_held(keys[0]) and not keys[0].endswith(".late"):
                    self.submit([Recipe(f"{keys[0]}.late", TaskSpec(FUNCTIONS[1]), (keys[0],))])
                self.later(GIVE_UP, self._give_up, self.client)

    def _give_up(self, client: str) -> None:
        if client == self.client:
            work = self.world.work
            self.release([key for key in self.held if any(name in work.hopeless for name in work.ancestors(key))])

    def leave(self) -> None:
        """Close the client politely."""
        self._flush()
        self.endpoint.tell([BYE])
        self.crash()

    def died(self) -> None:
        """Nobody holds anything any more."""
        self.held = {}
        self.endpoint.end = None
        self.world.restart_later(self)

    def accept(self, end: End) -> None:
        """Nobody calls a client."""
        end.close()

    # ------------------------------------------------------------ what a user does

    def is_held(self, key: str) -> bool:
        """Whether there is a future of this key that was not cancelled or lost."""
        record = self.table.records.get(key)
        return bool(
            key in self.held
            and record is not None
            and record.status not in (Status.CANCELLED, Status.LOST)
            and not record.is_cancelling
        )

    def submit(self, recipes: Iterable[Recipe]) -> None:
        """Calls, one by one; those whose dependencies are not held lack them, or are left out if that is too late."""
        for recipe in recipes:
            if self._may_submit(recipe, ()):
                with self.table.lock:
                    self._add_functions([recipe])
                    _, is_news = self.table.admit(recipe.key)
                    if is_news:
                        self.outbox.append(_task(recipe))
                    self.hold_key(recipe.key)
        self.wake()

    def submit_graph(self, recipes: list[Recipe]) -> None:
        """A graph of new keys, in order; only wanted ones are held."""
        names = {recipe.key for recipe in recipes}
        chosen = [recipe for recipe in recipes if self._may_submit(recipe, names)]
        if chosen:
            with self.table.lock:
                self._add_functions(chosen)
                self.outbox.append_graph([_task(recipe) for recipe in chosen])
                for recipe in chosen:
                    if recipe.spec.wanted:
                        self.table.admit(recipe.key)
                        self.hold_key(recipe.key)
        self.wake()

    def submit_again(self, keys: Iterable[str]) -> None:
        """The recipes of `keys` and of all they need, as far as none of it was scattered."""
        work = self.world.work
        needed: dict[str, None] = {}
        for key in keys:
            family = work.ancestors(key)
            if not any(name in work.scattered for name in family):
                needed.update(family)
        ordered = sorted(needed, key=lambda name: self.world.order[name])
        self.submit_graph_of(ordered, frozenset(keys))

    def submit_graph_of(self, ordered: list[str], held: frozenset[str]) -> None:
        """`submit_graph` of known recipes; those in `held` are wanted."""
        recipes = [self.world.work.recipes[key] for key in ordered]
        with self.table.lock:
            tasks: list[Task] = []
            self._add_functions(recipes)
            for recipe in recipes:
                spec, *rest = _task(recipe)
                tasks.append((spec._replace(wanted=recipe.key in held), rest[0], rest[1], rest[2]))
            if tasks:
                self.outbox.append_graph(tasks)
            for key in ordered:
                if key in held:
                    self.table.admit(key)
                    self.hold_key(key)
        self.wake()

    def want(self, keys: Iterable[str]) -> None:
        """Hold keys that others have submitted."""
        from_others = [key for key in keys if key not in self.held and key in self.world.work.recipes]
        with self.table.lock:
            news = []
            for key in from_others:
                if self.table.admit(key)[1]:
                    news.append(key)
                self.hold_key(key)
                self.world.wanted[key] = None
            if news:
                self.outbox.append(WantKeys(news))
        self.wake()

    def release(self, keys: Iterable[str]) -> None:
        """Let go of all futures of these keys."""
        self._let_go([key for key in keys for _ in range(self.held.pop(key))])

    def _let_go(self, names: list[str]) -> None:
        self.table.settle(self.table.drop(names, lambda gone: self.outbox.append(ReleaseKeys(gone))))
        self.wake()

    def cancel(self, keys: Iterable[str], force: bool = False) -> None:
        """Cancel for everybody."""
        records = [record for key in keys if (record := self.table.records.get(key)) is not None]
        self.world.cancelled.update((record.key, None) for record in records)
        with self.table.lock:
            asked, decided = self.table.begin_cancelling(records, "cancelled here", force)
            if asked:
                self.outbox.append(CancelKeys(asked, force, None))
        self.wake()
        self.table.settle(decided)

    def cancel_queued(self, keys: list[str]) -> None:
        """Cancel what has not begun; what that is the scheduler says."""
        self.world.cancelled.update(dict.fromkeys(keys))
        self.outbox.append(CancelQueued(keys))
        self.wake()

    def retry(self, keys: Iterable[str]) -> None:
        """Run those that failed once more."""
        records = [record for key in keys if (record := self.table.records.get(key)) is not None]
        with self.table.lock:
            asked = self.table.begin_retrying(records)
            if asked:
                self.outbox.append(RetryKeys(asked))
        self.wake()

    def gather(self, keys: Iterable[str], on_end: Callable[[list[str]], None]) -> None:
        """Fetch the results of `keys` and check them; `on_end` gets those that nobody could give."""
        records = [record for key in keys if (record := self.table.records.get(key)) is not None]
        gathering = Gathering(self, records, on_end)
        self.gatherings[gathering] = None
        gathering.begin()

    def scatter(self, keys: Iterable[str]) -> None:
        """Put data onto workers, in turn."""
        news = [key for key in keys if key not in self.held]
        with self.table.lock:
            news = [key for key in news if self.table.admit(key)[1]]
        for key in news:
            self.hold_key(key)
            self.world.work.scattered.setdefault(key, 5_000)
        client = self.client
        if news:
            self.calls.call(
                SCHEDULER_ADDRESS, "ncores", None, lambda answer: self._put(client, news, list(answer)), _give_up
            )

    def _put(self, client: str, keys: list[str], workers: list[str]) -> None:
        if client != self.client:
            return
        for number, worker in enumerate(workers):
            batch = {
                key: (self.world.work.value(key), self.world.work.nbytes(key)) for key in keys[number :: len(workers)]
            }
            if batch:
                self.calls.call(worker, "put_data", {"client": client, "data": batch}, lambda answer: None, _give_up)

    # ------------------------------------------------------------ parts

    def _may_submit(self, recipe: Recipe, names: Iterable[str]) -> bool:
        recipes = self.world.work.recipes
        known = recipes.get(recipe.key)
        held = tuple(key for key in recipe.dependencies if key in names or self.is_held(key))
        if known is None:
            recipe.dependencies = held
            self.world.learn(recipe)
            return True
        return bool(known.dependencies == held)

    def hold_key(self, key: str) -> None:
        """One future more of this key."""
        self.held[key] = self.held.get(key, 0) + 1
        self.ever_held[key] = None

    def _add_functions(self, recipes: list[Recipe]) -> None:
        """All that one call needs at once, as the session does: one of them must not push out another."""
        self.outbox.add_functions({recipe.spec.function: code_of(recipe.spec.function) for recipe in recipes})

    def wake(self) -> None:
        """Something is in the outbox."""
        if not self._is_awake:
            self._is_awake = True
            self.later(0, self._flush)

    def _flush(self) -> None:
        self._is_awake = False
        endpoint = self.endpoint
        while endpoint.end is not None and not endpoint.ledger.is_full:
            message = self.outbox.next_message()
            if message is None:
                return
            endpoint.send(message.to_wire())
            if type(message) is ReleaseKeys and self.table.fade(message.keys, endpoint.ledger.sent):
                endpoint.tell([ASK])

    def has_news(self) -> bool:
        """Whether something waits to be sent."""
        return self._is_awake

    def undecided(self) -> list[KeyRecord]:
        """Records of held keys that are pending."""
        return [record for record in self.table.records.values() if record.status is Status.PENDING]


def _task(recipe: Recipe) -> Task:
    return recipe.spec, recipe.key, argument_of(recipe.key), list(recipe.dependencies) or None


def _give_up(reason: str) -> None:
    """A put that failed: the key stays undecided until its user lets it go, as with the real client."""
