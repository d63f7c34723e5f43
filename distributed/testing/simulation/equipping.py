"""Equipment in a simulation: what an operator adds and takes away, and the part of a worker that takes it in."""

from __future__ import annotations

from typing import Any

from distributed.messages.equipment import UNPLUG
from distributed.testing.simulation.clock import MS
from distributed.worker.effects import Equip, EquipItem
from distributed.worker.events import Equipped

__all__ = ["Toolbox"]

TAKES = 40 * MS  # to take one batch in
FAILURE = ["SimulatedError", "it is broken here", "", None]


class Toolbox:
    """What one life of a worker has been given by the scheduler it is with.

    Attributes:
        items: payload by kind and name.
        failed: serials that could not be taken in.
        taken: highest serial that was taken in.
    """

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self._batches: list[Equip] = []
        self.clear()

    def clear(self) -> None:
        """The scheduler is lost."""
        self.items: dict[tuple[str, str], bytes] = {}
        self.failed: dict[int, None] = {}
        self._required: list[tuple[int, int]] = []  # tickets given out when tasks came behind that serial
        self.taken = 0
        self._batches.clear()

    def equip(self, effect: Equip) -> None:
        """Take these in after those before, one batch at a time."""
        self._batches.append(effect)
        if len(self._batches) == 1:
            self.worker.later(TAKES, self._taken, effect)

    def _taken(self, effect: Equip) -> None:
        if effect not in self._batches:  # of a scheduler that was lost meanwhile
            return
        self._batches.remove(effect)
        for item in effect.items:
            self._take(item)
        failures = {item.serial: FAILURE for item in effect.items if item.serial in self.failed}
        if self._batches:
            self.worker.later(TAKES, self._taken, self._batches[0])
        self.worker.handle(Equipped(effect.ticket, failures))

    def _take(self, item: EquipItem) -> None:
        self.taken = item.serial
        if item.kind == UNPLUG:
            self.items.pop(("plugin", item.name), None)
        elif (item.serial + self.worker.number) % 7 == 0:
            self.failed[item.serial] = None
            self.items.pop((item.kind, item.name), None)
        else:
            self.items[item.kind, item.name] = bytes(item.payload)

    def note_runs(self) -> None:
        """The machine is about to be given tasks."""
        state = self.worker.machine.state
        if state.equipment_serial and (not self._required or self._required[-1][1] != state.equipment_serial):
            self._required.append((state.tickets, state.equipment_serial))

    def required(self, ticket: int) -> int:
        """The newest equipment that came before the task of that ticket."""
        return max((serial for tickets, serial in self._required if ticket > tickets), default=0)
