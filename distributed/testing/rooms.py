"""A house: rooms of real processes for workspaces that a test writes, with a scheduler and a key of their own."""

from __future__ import annotations

import hashlib
import os
import textwrap
from pathlib import Path
from types import TracebackType
from typing import Any

from distributed.client.client import Client
from distributed.client.loop_thread import LoopThread
from distributed.nanny import Nanny
from distributed.process.fresh import FreshZygote
from distributed.rooms.kind import ROOM_KIND, ROOM_MAINS
from distributed.rooms.room import Room
from distributed.scheduler.server import Scheduler
from distributed.security.keys import Keyring, keyring_from_master

__all__ = ["House", "write_files"]

CLOSE_S = 20.0
WORKER_MAIN = "distributed.worker.process:run_worker_child"


def write_files(folder: Path, files: dict[str, str]) -> str:
    """Write ``{path: text}`` below `folder`; texts may be indented."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return str(folder)


class House:
    """A scheduler in this process, and rooms that join it; a context manager.

    Args:
        keys: of the tenant; None: new ones.

    Attributes:
        folder: in which the rooms' processes have their folders.
        address: of the scheduler; dialled_address: for rooms that it dials.
        printed: ``[(key, stream, text)]``, what tasks of `client` have printed.
    """

    def __init__(self, folder: Path, keys: Keyring | None = None) -> None:
        self.folder = folder
        self.keys = keys or keyring_from_master(os.urandom(32))
        self.printed: list[tuple[str, str, str]] = []
        self._thread = LoopThread("house")
        self._zygote = FreshZygote({**ROOM_MAINS, "worker": WORKER_MAIN}, (ROOM_KIND, "worker"))
        self._rooms: list[Room] = []
        self._scheduler: Scheduler = self._thread.run(self._start())
        self.address = self._scheduler.address
        self.dialled_address = self._scheduler.dialled_address
        self.client = Client(self.address, keys=self.keys, output=lambda *printed: self.printed.append(printed))

    async def _start(self) -> Scheduler:
        self._zygote.attach()
        scheduler = Scheduler(keys=self.keys)
        scheduler.listen(0)
        return scheduler

    def open(self, name: str, folder: str | None, **options: Any) -> Room:
        """A room that is called `name`; keywords of `Room.open`."""
        given = {"scheduler": self.address, "keys": self.keys, "local_directory": str(self.folder), **options}
        workspace = hashlib.sha256(name.encode()).hexdigest() if folder is not None else ""
        opening = Room.open(self._zygote, name=name, workspace=workspace, folder=folder, **given)
        room: Room = self._thread.run(opening, 60.0)
        self._rooms.append(room)
        return room

    def open_worker(self, name: str, nthreads: int) -> Nanny:
        """The same without a workspace: a plain worker and its nanny. The tenant is the user of this process."""
        options = {"name": name, "nthreads": nthreads}
        nanny: Nanny = self._thread.run(self._start_worker(options), 60.0)
        return nanny

    async def _start_worker(self, options: dict[str, Any]) -> Nanny:
        nanny = Nanny(self.address, self._zygote, worker_options=options, local_directory=str(self.folder))
        await nanny.start()
        await nanny.wait_registered()
        return nanny

    def dial(self, room: Room) -> None:
        """Have the scheduler dial a room and its nanny."""

        async def dial() -> None:
            assert room.worker_address is not None
            for address in (room.nanny.address, room.worker_address):
                self._scheduler.dial(address)

        self._thread.run(dial(), 60.0)

    def run(self, coroutine: Any) -> Any:
        """The result of a coroutine on the rooms' loop."""
        return self._thread.run(coroutine, 60.0)

    def close(self) -> None:
        """End all rooms, and what they belong to."""
        self.client.close()
        for room in self._rooms:
            self._thread.run(room.kill(), CLOSE_S)
        self._thread.run(self._scheduler.close(), CLOSE_S)
        self._thread.run(self._close_zygote(), CLOSE_S)
        self._thread.stop()

    async def _close_zygote(self) -> None:
        self._zygote.close()

    def __enter__(self) -> House:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
