"""The Main's side of the one process in which its schedulers run, see `scheduling`."""

from __future__ import annotations

from distributed.process.companion import Companion
from distributed.security.keys import Keyring

__all__ = ["SchedulerProcess"]

MODULE = "distributed.crews.scheduling"


class SchedulerProcess:
    """The Main's side. The process starts at once; `hello` waits for it.

    Args:
        keys: of the Main: they let in its clients and rooms, and nobody else.
        log_level: of the process, which writes to this program's stderr. Workers that leave are no news there: they
            come and go with crews and offers, and calls that suffer from it say so.
    """

    def __init__(self, keys: Keyring, log_level: str = "ERROR") -> None:
        secrets = {role: key.hex() for role, key in keys.key_by_role.items()}
        self._companion = Companion(MODULE, "the scheduler of this program", {"keys": secrets, "log_level": log_level})

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._companion.pid

    def hello(self) -> tuple[str, str]:
        """Addresses of the process, and of a scheduler that is open; once. Blocks until they are there.

        Raises:
            WorkerStartError: the process did not come up.
        """
        hello = self._companion.answer()
        return str(hello["address"]), str(hello["scheduler"])

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._companion.is_running()

    def close(self) -> None:
        """End it and wait for it. May be called twice."""
        self._companion.close()
