"""The Main's side of an offer of its own machine: a child process that lends to this Main alone, and ends with it."""

from __future__ import annotations

from collections.abc import Sequence

from distributed.errors import ConfigError
from distributed.process.companion import Companion
from distributed.security.keys import Keyring

__all__ = ["LocalOffer"]


class LocalOffer:
    """An offer of this machine for one Main. Its process starts at once; `address` waits until it listens.

    Args:
        keys: of the Main; who connects to the offer proves them (role client), no key file is needed.
        cores: slots for tasks.
        memory_nbytes: for all rooms together; None: no limit.
        tags: beside those of the machine.
        store: folder of the blob store; None: the user's own.
        store_nbytes_max: bound of that store; None: its default.
        folder: where workspaces are laid out; None: the system's place for temporary files.
        rooms_max: bound on rooms; None: its default.
        log_level: of the process, which writes to this program's stderr.
    Raises:
        OSError: the process cannot be started.
        ConfigError: no core.
    """

    def __init__(
        self,
        keys: Keyring,
        *,
        cores: int,
        memory_nbytes: int | None = None,
        tags: Sequence[str] = (),
        store: str | None = None,
        store_nbytes_max: int | None = None,
        folder: str | None = None,
        rooms_max: int | None = None,
        log_level: str = "WARNING",
    ) -> None:
        if cores < 1:
            raise ConfigError("cores", cores, "an offer lends at least one")
        self._address: str | None = None
        self._companion = Companion(
            "distributed.offers.process",
            "the offer of this machine",
            {
                "keys": {role: key.hex() for role, key in keys.key_by_role.items()},
                "log_level": log_level,
                "offer": {
                    "cores": cores, "memory_nbytes": memory_nbytes, "tags": list(tags), "store": store,
                    "store_nbytes_max": store_nbytes_max, "folder": folder, "rooms_max": rooms_max,
                },
            },
        )  # fmt: skip

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._companion.pid

    def address(self, timeout_s: float = 60.0) -> str:
        """Where it listens; blocks until it does.

        Raises:
            WorkerStartError: it did not start.
        """
        if self._address is None:
            self._address = str(self._companion.answer(timeout_s)["address"])
        return self._address

    def is_running(self) -> bool:
        """Whether its process has not ended."""
        return self._companion.is_running()

    def close(self) -> None:
        """End it with all its rooms, and wait for it. May be called twice."""
        self._companion.close()
