"""Drives a real machine inside a simulated process: events in, effects performed in order, one timer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from distributed.testing.simulation.clock import SECOND, seconds
from distributed.testing.simulation.network import End
from distributed.testing.simulation.processes import Process

__all__ = ["Calls", "Engine", "UnknownEffectError"]

WAKEUPS_MAX = 1_000  # Ticks in a row without any time passing: a machine that spins


class UnknownEffectError(AssertionError):
    """A machine wants something done that the simulation does not know: write its performer."""


class Engine(Process):
    """A process with a machine.

    Attributes:
        machine: of this life; None before the first.
        perform: what to do for each type of effect.
    """

    def __init__(self, world: Any, name: str, host: str) -> None:
        super().__init__(world, name, host)
        self.machine: Any = None
        self.perform: dict[type, Callable[[Any], None]] = {}
        self.make_tick: Callable[[], Any] | None = None
        self._events: deque[Any] = deque()
        self._is_busy = False
        self._wakeup: int | None = None
        self._spins = 0

    def install(self, machine: Any) -> None:
        """Begin with this machine."""
        self.machine = machine
        self._events.clear()
        self._is_busy = False
        self._wakeup = None

    def handle(self, event: Any) -> None:
        """Let the machine handle `event` to its end; those that performers cause wait their turn."""
        self._events.append(event)
        if self._is_busy:
            return
        self._is_busy = True
        world, perform = self.world, self.perform
        while self._events:
            event = self._events.popleft()
            world.before_event(self, event)
            self.machine.handle(event, seconds(world.clock.now))
            effects = self.machine.take_effects()
            for effect in effects:
                performer = perform.get(type(effect))
                if performer is None:
                    raise UnknownEffectError(f"{self.name}: no performer for {type(effect).__name__}")
                performer(effect)
            world.after_event(self, event, effects)
        self._is_busy = False
        self._arm()
        world.after_all()

    @property
    def is_busy(self) -> bool:
        """Whether events wait that performers have caused."""
        return self._is_busy

    def _arm(self) -> None:
        wakeup = self.machine.next_wakeup
        if wakeup is None:
            self._wakeup = None
            return
        when = -int(-wakeup * SECOND // 1)  # rounded up: never before its time
        if when != self._wakeup:
            self._wakeup = when
            self.later(max(0, when - self.world.clock.now), self._wake, when)

    def _wake(self, when: int) -> None:
        if when != self._wakeup:
            return
        self._wakeup = None
        if self.make_tick is None:
            raise UnknownEffectError(f"{self.name} wants to be woken, and nobody told how")
        self._spins = self._spins + 1 if when == self.world.clock.now else 0
        if self._spins > WAKEUPS_MAX:
            self.world.fail("a machine does not spin", self.name)
        self.handle(self.make_tick())


class Calls:
    """Requests with one answer, as `rpc` gives them: one connection for each address, kept and opened again."""

    def __init__(self, owner: Process) -> None:
        self.owner = owner
        self._ends: dict[str, End] = {}
        self._opening: dict[str, list[int]] = {}
        self._waiting: dict[int, tuple[str, list[Any], Callable[[Any], None], Callable[[str], None]]] = {}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def addresses(self) -> list[str]:
        """Of all calls under way."""
        return [address for address, *_ in self._waiting.values()]

    def call(
        self,
        address: str,
        op: str,
        content: Any,
        on_answer: Callable[[Any], None],
        on_failed: Callable[[str], None],
        timeout: int | None = None,
    ) -> None:
        """Ask; exactly one of the two is called, unless the asker dies."""
        self._serial += 1
        serial = self._serial
        self._waiting[serial] = (address, ["call", serial, op, content], on_answer, on_failed)
        if timeout is not None:
            self.owner.later(timeout, self._give_up, serial, "no answer in time")
        end = self._ends.get(address)
        if end is not None and end.is_open:
            end.send(self._waiting[serial][1])
            return
        opening = self._opening.setdefault(address, [])
        opening.append(serial)
        if len(opening) == 1:
            self.owner.world.network.connect(
                self.owner,
                address,
                lambda end: self._opened(address, end),
                lambda reason: self._refused(address, reason),
            )

    def _opened(self, address: str, end: End) -> None:
        self._ends[address] = end
        end.on_message = self._answered
        end.on_closed = lambda reason: self._lost(address, end, reason)
        for serial in self._opening.pop(address, ()):
            if serial in self._waiting:
                end.send(self._waiting[serial][1])

    def _refused(self, address: str, reason: str) -> None:
        for serial in self._opening.pop(address, ()):
            self._give_up(serial, reason)

    def _answered(self, wire: list[Any]) -> None:
        waiting = self._waiting.pop(wire[1], None)
        if waiting is not None:
            waiting[2](wire[2])

    def _lost(self, address: str, end: End, reason: str) -> None:
        if self._ends.get(address) is end:
            del self._ends[address]
        opening = self._opening.get(address, ())
        for serial, (place, *_) in list(self._waiting.items()):
            if place == address and serial not in opening:
                self._give_up(serial, reason)

    def _give_up(self, serial: int, reason: str) -> None:
        waiting = self._waiting.pop(serial, None)
        if waiting is not None:
            waiting[3](reason)
