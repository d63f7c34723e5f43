"""The simulated nanny: certifies the deaths of its worker and starts it again, by the real restart policy."""

from __future__ import annotations

from typing import Any

from distributed.nanny import RestartPolicy
from distributed.testing.simulation.clock import MS, SECOND, seconds
from distributed.testing.simulation.engine import Calls
from distributed.testing.simulation.memory import DISK_BANDWIDTH
from distributed.testing.simulation.processes import Process
from distributed.testing.simulation.scheduler import SCHEDULER_ADDRESS

__all__ = ["NannyProcess"]

REPORT_TIMEOUT = 5 * SECOND
FORK = 20 * MS
VOUCH = 2 * SECOND
RESCUE = 5 * MS


class NannyProcess(Process):
    """Guards one worker on its own host.

    Attributes:
        given_up: why no other worker will be started by it; '' as long as it goes on.
    """

    def __init__(self, world: Any, worker: Any) -> None:
        super().__init__(world, f"nanny of {worker.name}", worker.host)
        self.worker = worker
        worker.nanny = self

    def begin(self) -> None:
        """Start the worker."""
        self.policy = RestartPolicy()
        self.calls = Calls(self)
        self.given_up = ""
        self._known: tuple[str, str] | None = None
        self._late: list[str] = []
        self._is_replacing = False
        self.world.network.listen(self.name, self)
        self.later(FORK, self._spawn)
        self.later(VOUCH, self._vouch)

    def _vouch(self) -> None:
        """While the process lives and is not stopped, say so for it, and what runs: it may be too busy to speak."""
        worker = self.worker
        if self._known is not None and worker.is_alive and (worker.is_frozen or not worker.is_paused):
            address, incarnation = self._known
            about = {"address": address, "incarnation": incarnation, "running": worker.executor.running_keys()}
            self.calls.call(SCHEDULER_ADDRESS, "worker_alive", about, _ignore, _ignore, REPORT_TIMEOUT)
        self.later(VOUCH, self._vouch)

    def _spawn(self) -> None:
        self._started = self.world.clock.now
        self._known = None
        self.worker.start()

    def registered(self, address: str, incarnation: str) -> None:
        """The worker tells its nanny, through a pipe, who it is."""
        self._known = (address, incarnation)

    def worker_died(self, life: int, running: list[str], is_expected: bool) -> None:
        """The process ended: certificate, pause, next life."""
        if life != self.worker.life or self.worker.is_alive:
            return
        if is_expected:
            self.given_up = "its worker was asked to end"
        elif self.worker.refusal:
            self.given_up = self.worker.refusal
        if self.given_up:
            self.crash()
            return
        if self._known is None:
            self._restart(running)
            return
        address, incarnation = self._known
        certificate = {"cause": "signal 9", "running": running, "late": self._late}
        self._late = []
        self.calls.call(
            SCHEDULER_ADDRESS,
            "worker_died",
            {"address": address, "incarnation": incarnation, "certificate": certificate},
            lambda answer: self._restart(running),
            lambda reason: self._restart(running),
            REPORT_TIMEOUT,
        )

    def _restart(self, running: list[str]) -> None:
        pause_s = self.policy.pause_s(seconds(self.world.clock.now - self._started), bool(running))
        if pause_s is None:
            self.given_up = "too many deaths"
            self.crash()
        else:
            self.later(FORK + int(pause_s * SECOND), self._spawn)

    def died(self) -> None:
        """Its worker dies with it; an operator starts both again."""
        if self.worker.is_alive:
            self.worker.crash()
        self.world.restart_later(self)

    def accept(self, end: Any) -> None:
        """The scheduler wants something."""
        end.on_message = lambda wire: self._asked(end, wire)
        end.on_closed = lambda reason: None

    def _asked(self, end: Any, wire: list[Any]) -> None:
        _, serial, op, content = wire
        if op != "replace":
            self.world.fail("every call has an op that is known", op)
        end.send(["answer", serial, self.replace(content["incarnation"], content["keys"], is_late=False)])

    def replace(self, incarnation: str, keys: list[str], *, is_late: bool) -> bool:
        """End this life of the worker if one of `keys` runs there, and let its data live on; whether that is so."""
        worker = self.worker
        if not self.is_alive or not worker.is_alive or self._known is None or self._known[1] != incarnation:
            return False
        due = [key for key in worker.executor.running_keys() if key in keys]
        if not due or self._is_replacing or self.given_up:
            return False
        self._is_replacing = True
        worker.pause()
        values = worker.originals()
        nbytes = sum(size for _, size in values.values())
        self.later(RESCUE + nbytes // DISK_BANDWIDTH, self._tell_rescued, worker.life, values, due if is_late else [])
        return True

    def _tell_rescued(self, life: int, values: dict[str, tuple[bytes, int]], late: list[str]) -> None:
        self._is_replacing = False
        if self.worker.life != life or not self.worker.is_alive or self._known is None:
            return
        address, incarnation = self._known
        about = {"address": address, "incarnation": incarnation, "rescued": list(values)}

        def end(_: Any) -> None:
            if self.worker.life == life and self.worker.is_alive:
                self.world.trace.note(self.worker.name, f"is replaced, {len(values)} rescued")
                self._late = late
                self.worker.end_replaced(values)

        self.calls.call(SCHEDULER_ADDRESS, "worker_replacing", about, end, end, REPORT_TIMEOUT)


def _ignore(_: Any) -> None:
    """Nothing depends on it: it is said again soon."""
