"""When a dead process is started again."""

from __future__ import annotations

from distributed.dataclass import dataclass, field

__all__ = ["RestartPolicy"]


@dataclass(slots=True)
class RestartPolicy:
    """When to start a dead worker again: at once, then more and more slowly, and not for ever.

    Pure: time is an argument. A worker that lived for `healthy_s` has a clean record. A death while a task ran is the
    task's: the scheduler gives up the task after some of them, so they are bounded there and not counted here.

    Attributes:
        quick_deaths_max: so many short lives in a row and we give up; the cause is not a task, it is the machine.
            0: never.
    """

    quick_deaths_max: int = 10
    healthy_s: float = 10.0
    pause_s_first: float = 0.1
    pause_s_max: float = 5.0
    quick_deaths: int = field(default=0, init=False)

    def pause_s(self, lived_s: float, while_busy: bool = False) -> float | None:
        """Seconds to wait before the next start, 0 for the first death in a while; None: give up.

        Args:
            while_busy: tasks ran there when it died.
        """
        if while_busy:
            return 0.0
        self.quick_deaths = 0 if lived_s >= self.healthy_s else self.quick_deaths + 1
        if 0 < self.quick_deaths_max <= self.quick_deaths:
            return None
        if self.quick_deaths <= 1:
            return 0.0
        return float(min(self.pause_s_max, self.pause_s_first * 2 ** (self.quick_deaths - 2)))
