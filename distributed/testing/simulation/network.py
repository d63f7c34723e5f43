"""The network of a simulation: connections that are FIFO streams as TCP gives them, and all that happens to them.

A connection has two ends. What is sent arrives at the other end in order, after the delay of that connection, unless it
breaks: then a tail of what was sent is lost and each end notices at a time of its own, at the latest when its virtual
keep-alive expires (until then it is half-open). A partition stalls the connections between two hosts; one that lasts
breaks them. Messages are packed and unpacked, so nothing is shared by reference.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from msgpack import packb, unpackb

from distributed.testing.simulation.chance import Stream
from distributed.testing.simulation.clock import MS, SECOND, US
from distributed.testing.simulation.processes import Process
from distributed.testing.simulation.rules import BREAKS, LATE, RULES, UNCOUNTED

__all__ = ["CONNECT", "KEEPALIVE", "TWICE", "Connection", "End", "Network", "Tamper"]

KEEPALIVE = 10 * SECOND  # until an end notices that nobody is there
CONNECT = 3 * SECOND  # until an attempt to connect to a host out of reach is given up
LATENCY_MIN = 100 * US
LATENCY_MAX = 4 * MS
TWICE = "twice"  # before a message of a session that comes again
FLIGHT_MAX = 2_000  # messages under way in one direction; more is a storm


class End:
    """One side of a connection, owned by one life of a process.

    Attributes:
        on_message: called with what the other end sent, unpacked.
        on_closed: called once with a reason, when this end notices that the connection is gone; not after `close`.
        arriving: packed messages under way to this end, in order; None: the other end was closed.
    """

    __slots__ = (
        "arriving",
        "connection",
        "is_open",
        "last_arrival",
        "life",
        "on_closed",
        "on_message",
        "other",
        "process",
    )

    def __init__(self, connection: Connection, process: Process) -> None:
        self.connection = connection
        self.process = process
        self.life = process.life
        self.other: End = self
        self.is_open = True
        self.last_arrival = 0
        self.arriving: deque[bytes | None] = deque()
        self.on_message: Callable[[Any], None] = _unheard
        self.on_closed: Callable[[str], None] = _unheard

    @property
    def flight(self) -> int:
        """Messages under way to this end."""
        return len(self.arriving)

    def send(self, wire: list[Any], nbytes: int = 0) -> None:
        """Send a message, which takes longer for `nbytes` of data beside it. Nothing happens if this end is closed."""
        if self.is_open:
            self.connection.network.transmit(self, wire, nbytes)

    def close(self) -> None:
        """Close on purpose; the other end notices after what is under way to it."""
        if self.is_open:
            self.is_open = False
            self.connection.network.send_end(self)

    def is_quiet(self) -> bool:
        """Whether both ends are open, nothing is under way in either direction, and nothing was lost."""
        return self.is_open and self.other.is_open and not (
            self.flight or self.other.flight or self.connection.is_cut
        )  # fmt: skip


def _unheard(_: Any) -> None:
    raise AssertionError("an end without a handler got something")


class Connection:
    """Two ends, a delay and a bandwidth."""

    __slots__ = ("bandwidth", "ends", "hosts", "is_cut", "latency", "network", "serial", "stalled")

    def __init__(self, network: Network, serial: int, one: Process, other: Process, latency: int, rate: int) -> None:
        self.network = network
        self.serial = serial
        self.latency = latency
        self.bandwidth = rate  # bytes per tick
        self.is_cut = False
        self.hosts = _pair(one.host, other.host)
        self.stalled: list[End] = []  # where something would have arrived, once for each message
        first, second = End(self, one), End(self, other)
        first.other, second.other = second, first
        self.ends = (first, second)

    def __repr__(self) -> str:
        return f"connection {self.serial} ({self.ends[0].process.name} - {self.ends[1].process.name})"


class Tamper:
    """What happens to one message: the first of `op` (None: of any op) that `sender` (None: anyone) sends.

    Attributes:
        kind: ``lose``, ``duplicate`` or ``reorder``.
        skip: so many matching messages pass before.
        after: nothing happens before a message of this op was sent; None: at once.
        is_done: whether it has happened.
    """

    __slots__ = ("after", "is_done", "kind", "op", "sender", "skip")

    def __init__(
        self,
        kind: str,
        op: str | None = None,
        sender: str | None = None,
        skip: int = 0,
        after: str | None = None,
    ) -> None:
        self.kind, self.op, self.sender, self.skip, self.after = kind, op, sender, skip, after
        self.is_done = False


class Network:
    """All connections of one simulation, and who listens where."""

    def __init__(self, world: Any, draws: Stream) -> None:
        self.world = world
        self.clock = world.clock
        self._draws = draws
        self._listeners: dict[str, Process] = {}
        self._partitions: dict[tuple[str, str], int] = {}
        self._serial = 0
        self._epoch = 0
        self.connections: dict[int, Connection] = {}
        self.tampers: list[Tamper] = []
        self.sent: Counter[str] = Counter()  # messages by op
        self.slow_hosts: dict[str, int] = {}  # divides bandwidth, multiplies delay

    # ------------------------------------------------------------ connecting

    def listen(self, address: str, process: Process) -> None:
        """`process` takes connections to `address` until it dies."""
        self._listeners[address] = process

    def connect(
        self, process: Process, address: str, on_open: Callable[[End], None], on_failed: Callable[[str], None]
    ) -> None:
        """Connect, as `process`; exactly one of the two is called, later, if `process` lives then."""
        delay = self._draws.between(LATENCY_MIN, LATENCY_MAX)
        self.clock.after(delay, self._arrive, process, process.life, address, delay, on_open, on_failed)

    def _arrive(
        self,
        process: Process,
        life: int,
        address: str,
        delay: int,
        on_open: Callable[[End], None],
        on_failed: Callable[[str], None],
    ) -> None:
        if process.life != life or not process.is_alive:
            return
        listener = self._listeners.get(address)
        if listener is not None and _pair(process.host, listener.host) in self._partitions:
            process.later(CONNECT, on_failed, "no answer")
            return
        if listener is None or not listener.is_alive:
            process.later(delay, on_failed, "connection refused")
            return
        self._serial += 1
        rate = self._draws.pick((100, 400, 1600))  # 100, 400, 1600 MB/s
        connection = Connection(self, self._serial, process, listener, delay, rate)
        self.connections[self._serial] = connection
        near, far = connection.ends
        listener.post(listener.accept, far)
        near.on_closed = _ignore  # it may break before its owner knows of it
        process.later(delay, self._opened, near, on_open, on_failed)

    def _opened(self, near: End, on_open: Callable[[End], None], on_failed: Callable[[str], None]) -> None:
        if near.is_open:
            on_open(near)
        else:
            on_failed("it broke at once")

    # ------------------------------------------------------------ sending

    def transmit(self, end: End, wire: list[Any], nbytes: int) -> None:
        """Put a message on its way to the other end of `end`."""
        packed = packb(wire)
        self.sent[wire[0]] += 1
        kind = self._tampered(end, wire[0]) if self.tampers else None
        if kind is None:
            self._put(end, packed, nbytes)
        elif kind == "lose":
            if RULES[wire[0]].lost is BREAKS:
                self.break_connection(end.connection, f"{wire[0]} was lost")
        elif kind == "reorder":
            self.clock.after(self._draws.between(1, 20) * MS, self._send_copy, end, packed)
        else:
            self._put(end, packed, nbytes)
            if RULES[wire[0]].duplicated is UNCOUNTED:
                self._put(end, packb([TWICE, wire]), nbytes)
            elif RULES[wire[0]].duplicated is LATE:
                self.clock.after(self._draws.skewed(1, 2_000) * MS, self._send_late, end, packed, self._named(wire))
            else:
                self._put(end, packed, nbytes)

    def _send_copy(self, end: End, packed: bytes) -> None:
        if end.is_open:
            self._put(end, packed, 0)

    def _send_late(self, end: End, packed: bytes, named: list[Any]) -> None:
        if named == self._named(unpackb(packed)):
            self._send_copy(end, packed)

    def _named(self, wire: list[Any]) -> list[Any]:
        """The scheduler's records of the tasks that a message names: attempts are counted within one life of a key."""
        if not wire[0].startswith("tasks-"):
            return []
        return [self.world.scheduler.machine.state.tasks.get(key) for key in wire[1]]

    def send_end(self, end: End) -> None:
        """The other end hears that `end` was closed, after what is under way."""
        self._put(end, None, 0)

    def _put(self, end: End, packed: bytes | None, nbytes: int) -> None:
        connection, there = end.connection, end.other
        if connection.is_cut:
            return
        slowness = 1
        if self.slow_hosts:
            slowness = max(self.slow_hosts.get(host, 1) for host in connection.hosts)
        delay = (connection.latency + nbytes // connection.bandwidth) * slowness
        there.last_arrival = arrival = max(self.clock.now + delay, there.last_arrival + 1)
        there.arriving.append(packed)
        if there.flight > FLIGHT_MAX:
            self.world.fail("messages under way are bounded", f"{connection}: {there.flight}")
        self.clock.at(arrival, self._deliver, there)

    def _deliver(self, end: End) -> None:
        """The oldest message under way to `end` arrives: what had stalled before what was sent after it."""
        connection = end.connection
        if connection.is_cut:
            return
        if self._partitions and connection.hosts in self._partitions:
            connection.stalled.append(end)
            return
        process = end.process
        if process.is_paused and process.life == end.life:
            process.backlog.append((self._deliver, (end,)))
            return
        packed = end.arriving.popleft()
        if not end.is_open:
            return
        if packed is None:
            self.notice(end, "closed by the other side")
            return
        self.world.trace.message(end, packed)
        end.on_message(unpackb(packed, strict_map_key=False))

    def _tampered(self, end: End, op: str) -> str | None:
        """What happens to a message of `op` from `end`; None: nothing."""
        rule = RULES.get(op)
        if rule is None:
            return None
        for index, tamper in enumerate(self.tampers):
            if tamper.after is not None:
                if tamper.after == op:
                    tamper.after = None
                continue
            if tamper.op is None and op == "heartbeat" and tamper.kind != "reorder":
                continue  # there are so many of them that little else would be hit
            if tamper.op not in (None, op) or tamper.sender not in (None, end.process.name):
                continue
            if tamper.kind == "reorder" and not rule.reordered:
                continue
            if tamper.skip:
                tamper.skip -= 1
                continue
            del self.tampers[index]
            tamper.is_done = True
            self.world.note_fault(f"{tamper.kind} {op}", f"{end.process.name} -> {end.other.process.name}")
            return tamper.kind
        return None

    # ------------------------------------------------------------ what happens to connections

    def notice(self, end: End, reason: str) -> None:
        """`end` learns that its connection is gone."""
        process = end.process
        if not end.is_open or not process.is_alive or process.life != end.life:
            return
        if process.is_paused:
            process.backlog.append((self.notice, (end, reason)))
            return
        end.is_open = False
        self.world.trace.note(process.name, f"its connection with {end.other.process.name} is gone: {reason}")
        end.on_closed(reason)
        if not end.other.is_open:
            self.connections.pop(end.connection.serial, None)
        if not end.connection.is_cut:
            # It was closed by the other side, so this one has nobody to tell.
            end.connection.is_cut = True

    def break_connection(self, connection: Connection, reason: str, half_open: bool = False) -> None:
        """What is under way is lost; both ends notice, at different times; `half_open`: one of them late."""
        if connection.is_cut:
            return
        connection.is_cut = True
        first = self._draws.below(2)
        soon = self._draws.between(1, 50) * MS
        late = KEEPALIVE if half_open else self._draws.between(1, 400) * MS
        self.clock.after(soon, self.notice, connection.ends[first], reason)
        self.clock.after(late, self.notice, connection.ends[1 - first], reason)

    def crash(self, process: Process, is_silent: bool) -> None:
        """All ends of a process that dies: its kernel says so, or (the host is gone) nobody does."""
        for connection in list(self.connections.values()):
            for end in connection.ends:
                if end.process is process and end.is_open and end.life == process.life:
                    end.is_open = False
                    if is_silent:
                        connection.is_cut = True
                        self.clock.after(KEEPALIVE, self.notice, end.other, "no sign of life")
                    elif not connection.is_cut:
                        self.send_end(end)

    def partition(self, one: str, other: str) -> None:
        """Nothing passes between two hosts from now on."""
        pair = _pair(one, other)
        if one == other or pair in self._partitions:
            return
        self._epoch += 1
        self._partitions[pair] = self._epoch
        self.clock.after(KEEPALIVE, self._expire, pair, self._epoch)

    def _expire(self, pair: tuple[str, str], epoch: int) -> None:
        if self._partitions.get(pair) == epoch:
            for connection in list(self.connections.values()):
                if connection.hosts == pair:
                    self.break_connection(connection, "keep-alive: no answer")

    def heal(self, one: str | None = None, other: str | None = None) -> None:
        """The end of the partition between two hosts, or of all; what stalled goes on its way."""
        if one is None or other is None:
            pairs = list(self._partitions)
            for connection in self.connections.values():
                if connection.is_cut:  # half-open ones are answered with a reset now
                    for end in connection.ends:
                        self.clock.after(self._draws.between(1, 100) * MS, self.notice, end, "reset")
        else:
            pairs = [_pair(one, other)]
        for pair in pairs:
            if self._partitions.pop(pair, None) is None:
                continue
            for connection in self.connections.values():
                if connection.hosts == pair:
                    stalled, connection.stalled = connection.stalled, []
                    for end in stalled:
                        end.last_arrival = max(self.clock.now + connection.latency, end.last_arrival + 1)
                        self.clock.at(end.last_arrival, self._deliver, end)


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one <= other else (other, one)


def _ignore(_: Any) -> None:
    """`Network._opened` will see that it is closed."""
