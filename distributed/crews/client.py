"""The client of one crew: its session lives on the Main's loop, and it is nobody's default client."""

from __future__ import annotations

from typing import Any

from distributed.client.client import Client
from distributed.client.connecting import connect_session
from distributed.client.session import Session
from distributed.security.keys import Keyring

__all__ = ["CrewClient"]


class CrewClient(Client):
    """See the module. Make and `open` it on the Main's loop; users' threads wait on its futures from outside.

    Args:
        address: of the crew's scheduler.
        keys: of the Main.
        name: for people.
    """

    def __init__(self, address: str, keys: Keyring, name: str) -> None:
        super().__init__(address, keys=keys, name=name)

    def _start(self) -> None:
        return None  # `open` does, on a loop that runs already

    async def open(self) -> Session:
        """Connect. Raises as `Client`."""
        assert self._address is not None
        self._session = await connect_session(self, self._address, self._timeout_s, None)
        return self._session

    async def end(self) -> None:
        """Close the session; futures that are not decided become CommClosedError."""
        if self._session is not None:
            await self._session.close()

    def close(self) -> Any:
        """End what tasks print here; the session ends with `end`."""
        self.printer.close()
