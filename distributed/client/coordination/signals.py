"""Event and Variable: something that is set once and seen by all."""

from __future__ import annotations

from typing import Any

from distributed.client.coordination.base import Named, is_done, seconds
from distributed.client.coordination.errand import Errand
from distributed.messages import RequestAnswered

__all__ = ["Event", "Variable"]


class Event(Named):
    """A flag for programs and tasks: those who wait for it go on when somebody sets it."""

    kind = "event"

    def wait(self, timeout: str | float | None = None) -> Any:
        """Wait until it is set; whether it is.

        Args:
            timeout: seconds, or such as ``"10s"``; None: as long as it takes.
        """
        timeout_s = seconds(timeout)
        waits = timeout_s is None or timeout_s > 0
        return self._errand("wait", waits=waits, timeout_s=timeout_s if waits else None).run(is_done)

    def set(self) -> Any:
        """Let go whoever waits, and whoever comes, until it is cleared."""
        return self._errand("set").run(_nothing)

    def clear(self) -> Any:
        """Who waits from now on waits until it is set again."""
        return self._errand("clear").run(_nothing)

    def is_set(self) -> Any:
        """Whether it is."""
        return self._errand("look").run(is_done)


class Variable(Named):
    """One value, or future, that everybody can read and replace; it outlives its clients, until it is deleted."""

    kind = "variable"

    def set(self, value: Any, timeout: str | float | None = None) -> Any:
        """Give it a value.

        Args:
            value: a future, or anything that can be pickled, with futures in its lists, tuples, dicts and sets. Their
                results stay on the cluster as long as the variable has it. At most 1 MiB: bigger data is scattered.
            timeout: accepted for users of dask: this does not wait for anybody.
        Raises:
            CoordinationLimitError: the value is too big, or the scheduler keeps too much already.
        """
        seconds(timeout)
        return self._errand("set", item=value).run(_nothing)

    def get(self, timeout: str | float | None = None) -> Any:
        """The value, once there is one.

        Args:
            timeout: seconds, or such as ``"10s"``; 0: do not wait; None: as long as it takes.
        Raises:
            TimeoutError: nobody has set it in time.
        """
        timeout_s = seconds(timeout)
        waits = timeout_s is None or timeout_s > 0
        errand = self._errand("get", waits=waits, timeout_s=timeout_s if waits else None)
        return errand.run(lambda answer: self._value(errand, answer, timeout_s))

    def _value(self, errand: Errand, answer: RequestAnswered | None, timeout_s: float | None) -> Any:
        if answer is None or not is_done(answer):
            raise TimeoutError(f"variable {self.name!r}: nobody has set it within {timeout_s or 0:g} s")
        return errand.take(answer)[0]

    def delete(self) -> Any:
        """Forget the value; what is in it stays if others hold it."""
        return self._errand("delete").run(_nothing)


def _nothing(answer: RequestAnswered | None) -> None:
    """It was done, and there is nothing to say about it."""
