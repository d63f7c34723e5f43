"""How the rooms of an offer hear how many of their slots they may use: one socket for each of them, and lines of JSON.

A room's worker is given the path of its socket (``Worker(shares_path=...)``, so ``shares_path`` among a nanny's options
for it) and connects to it, again after breaks::

    room ──▶ offer   {"running": 2, "waiting": 5, "least": 3, "serial": 7}     slots that its tasks have, and could use
    offer ──▶ room   {"allowed": 3, "most": 4, "serial": 8}                    so many of its slots it may use now

Not here: who gets how many (`shares`), and what a worker does with it (`distributed.worker.allowed`).
"""

from __future__ import annotations

import os

__all__ = ["Sharing"]


class Sharing:
    """Serves the slots of one offer to its rooms.

    Args:
        folder: where sockets are made, for its owner only; its path must be short (a socket's may have 100 characters).
        cores: slots there are in all.
    """

    def __init__(self, folder: str, cores: int) -> None:
        self.folder = folder
        self.cores = cores
        self._rooms: dict[str, str] = {}

    async def open_room(self, room: str, tenant: str, nthreads: int, weight: float = 1.0) -> str:
        """The path of the socket of this room, which has `nthreads` slots of its own; its worker connects to it."""
        path = self._rooms[room] = os.path.join(self.folder, f"{len(self._rooms)}.sock")
        return path

    def close_room(self, room: str) -> None:
        """The room has ended: its slots are others'. Unknown ones are no error."""
        self._rooms.pop(room, None)

    def set_cores(self, cores: int) -> None:
        """The owner lends so many from now on, >= 0; what runs goes on."""
        self.cores = cores

    def shares(self) -> dict[str, dict[str, float]]:
        """By tenant: ``slots`` in use, ``waiting`` for one, and ``slot_seconds`` used in all."""
        return {}

    async def close(self) -> None:
        """End all connections; rooms go on with what they had."""
        self._rooms.clear()
