"""The connections of a client with workers: made when first needed, at most `WORKERS_MAX` of them."""

from __future__ import annotations

from distributed.calls import rpc
from distributed.security.keys import Keyring, keyring
from distributed.security.permissions import WORKER

__all__ = ["WorkerLinks"]

WORKERS_MAX = 256  # connected to at once


class WorkerLinks:
    """By address; used on the loop of the client only.

    Args:
        keys: of the client; None: this user's.
    """

    def __init__(self, keys: Keyring | None = None) -> None:
        self._keys = keys
        self._links: dict[str, rpc] = {}

    def to(self, address: str) -> rpc:
        """The connection with a worker."""
        if address not in self._links:
            self._close_spare()
            # As a worker, if we may: one that was given the key of its role only could not check that we are a client.
            role = WORKER if WORKER in (self._keys or keyring()).key_by_role else None
            self._links[address] = rpc(address, role=role, patient=False, keys=self._keys)
        return self._links[address]

    def forget(self, address: str) -> None:
        """It is gone, or out of reach."""
        link = self._links.pop(address, None)
        if link is not None:
            link.close_streams()

    def close_idle(self) -> None:
        """End those on which nothing is waited for."""
        for address, link in list(self._links.items()):
            if all(link.streams.values()):
                self.forget(address)

    async def close(self) -> None:
        """End them all."""
        for link in self._links.values():
            await link.close()

    def _close_spare(self) -> None:
        """Workers come and go: of many that were asked, those asked first and not in use are let go."""
        for address, link in list(self._links.items())[: max(0, len(self._links) + 1 - WORKERS_MAX)]:
            if all(link.streams.values()):  # no call waits for an answer
                self.forget(address)
