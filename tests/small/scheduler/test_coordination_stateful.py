"""Clients ask, withdraw, take and leave in any order: rules hold, and no item is lost or given to two."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from distributed.testing.asking import Counter

CLIENTS = st.sampled_from("abc")
NAMES = st.sampled_from("xy")


class Coordinating(RuleBasedStateMachine):
    """What the machine says is compared with what must be, beside the invariants that `Counter` checks."""

    def __init__(self):
        super().__init__()
        self.counter = Counter()
        self.open = {}  # asked: (kind, name, what was put) of requests that were not answered
        self.held = {}  # asked: (kind, names)
        self.given = {}  # asked: (name, values) not yet taken
        self.inside = {"x": set(), "y": set()}  # values that must be in the queues, or on their way to somebody
        self.seen = set()
        self.values = 0

    def look(self):
        for asked, answer in self.counter.answers.items():
            kind, name, value = self.open.pop(asked)
            if answer.outcome != "done":
                assert answer.outcome == "no"
            elif kind == "put":
                self.inside[name].add(value)
            elif kind == "get":
                values = tuple(answer.items)
                assert not self.seen & set(values), "given to two"
                self.seen.update(values)
                self.given[asked] = (name, values)
            elif kind in ("lock", "semaphore"):
                self.held[asked] = (kind, tuple(answer.names))
        self.counter.answers.clear()

    def ask(self, client, kind, verb, *names, value=None, short="", **rest):
        # The answer comes while the number is not known here yet, so it is looked at afterwards.
        asked = self.counter.ask(client, kind, verb, *names, **rest)
        self.open[asked] = (short or kind, names[0], value)
        self.look()

    @rule(
        client=CLIENTS,
        names=st.lists(NAMES, min_size=1, max_size=2, unique=True),
        some=st.booleans(),
        waits=st.booleans(),
    )
    def lock(self, client, names, some, waits):
        self.ask(client, "lock", "acquire", *names, number=int(some), waits=waits)

    @rule(client=CLIENTS, waits=st.booleans())
    def semaphore(self, client, waits):
        self.ask(client, "semaphore", "acquire", "x", number=2, waits=waits)

    @rule(client=CLIENTS, name=NAMES, waits=st.booleans())
    def put(self, client, name, waits):
        self.values += 1
        value = str(self.values).encode()
        keys = ("k",) if self.values % 3 == 0 else ()
        self.ask(client, "queue", "put", name, value=value, short="put", item=value, keys=keys, number=2, waits=waits)

    @rule(client=CLIENTS, name=NAMES, count=st.integers(0, 3), waits=st.booleans())
    def get(self, client, name, count, waits):
        self.ask(client, "queue", "get", name, short="get", number=count, waits=waits)

    @rule(client=CLIENTS, verb=st.sampled_from(["wait", "set", "clear"]))
    def event(self, client, verb):
        self.ask(client, "event", verb, "x")

    @rule(client=CLIENTS, verb=st.sampled_from(["set", "get", "delete"]))
    def variable(self, client, verb):
        self.ask(
            client, "variable", verb, "x", item=b"v" if verb == "set" else None, keys=("k",) if verb == "set" else ()
        )

    @rule(data=st.data())
    def release(self, data):
        if self.held:
            asked = data.draw(st.sampled_from(sorted(self.held)))
            kind, names = self.held.pop(asked)
            self.ask(asked[0], kind, "release", *names, short="release", number=asked[1])

    @rule(data=st.data())
    def take(self, data):
        if self.given:
            asked = data.draw(st.sampled_from(sorted(self.given)))
            name, values = self.given.pop(asked)
            self.inside[name] -= set(values)
            self.counter.take(asked)

    @rule(data=st.data())
    def withdraw(self, data):
        known = sorted({**self.open, **self.held, **self.given})
        if known:
            self.undo([data.draw(st.sampled_from(known))])

    def undo(self, gone):
        for asked in gone:
            self.open.pop(asked, None)
            self.held.pop(asked, None)
            self.seen.difference_update(self.given.pop(asked, ("", ()))[1])
        self.counter.withdraw(*gone)
        self.look()

    @rule(client=CLIENTS)
    def leave(self, client):
        for table in (self.open, self.held):
            for asked in [asked for asked in table if asked[0] == client]:
                del table[asked]
        for asked in [asked for asked in self.given if asked[0] == client]:
            self.seen.difference_update(self.given.pop(asked)[1])
        numbers = self.counter._numbers.pop(client, 0)
        self.counter.leave(client)
        if numbers:  # it comes back as somebody else would, so no number is used again
            self.counter.ask(client, "event", "look", "x")
            self.counter._numbers[client] = numbers
            self.counter.answers.pop((client, 1))
        self.look()

    @invariant()
    def who_holds_is_alone(self):
        locks = [name for kind, names in self.held.values() if kind == "lock" for name in names]
        assert len(locks) == len(set(locks))
        assert sum(kind == "semaphore" for kind, _ in self.held.values()) <= 2

    @invariant()
    def no_item_is_lost(self):
        queues = self.counter.machine.state.coordination.queues
        for name, inside in self.inside.items():
            kept = {item.payload for item in queues[name].items} if name in queues else set()
            kept.update(
                item.payload for request in (queues[name].waiting if name in queues else ()) for item in request.taken
            )
            kept.update(value for known, values in self.given.values() if known == name for value in values)
            assert kept == inside

    def teardown(self):
        for client in "abc":
            self.counter.leave(client)
        own = self.counter.machine.state.coordination
        assert not own.desks
        assert not own.locks
        assert not own.semaphores
        assert not own.unwarned


TestCoordinating = Coordinating.TestCase
TestCoordinating.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
