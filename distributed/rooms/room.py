"""The owner's side of a room: a nanny in this process, and the process that it guards.

    offer ── Room ── Nanny ──zygote──▶ room's process ──registers──▶ the Main's scheduler

A room is an ordinary worker of the Main's scheduler. It proves the tenant's keys to everybody, and lets in only who
has these: scheduler, other rooms and clients of the same Main. Its nanny does, too. Not here: who may have a room and
for how long (`distributed.offers`), what happens in its process (`child`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

from distributed.errors import WorkerStartError
from distributed.nanny import Nanny
from distributed.process.restart_policy import RestartPolicy
from distributed.process.zygote import Zygote
from distributed.rooms.kind import ROOM_KIND
from distributed.security.keys import Keyring
from distributed.worker.leaving import GRACE_S
from distributed.worker.measure import process_nbytes
from distributed.worker.running import read_running

__all__ = ["Room", "keys_to_options"]

OPEN_S = 30.0  # from the fork until the scheduler has accepted the room


class Room:
    """A worker for one tenant, workspace and environment; `open` makes it.

    Attributes:
        workspace: id of what is laid out in its folder; empty: there is none.
        nanny: guards the process, and starts another one when it dies.
        ended: a future: why the room is gone for good; an exception if it could not go on.
    """

    def __init__(self, nanny: Nanny, workspace: str) -> None:
        self.nanny = nanny
        self.workspace = workspace
        self.ended: asyncio.Future[str] = nanny.finished

    @classmethod
    async def open(
        cls,
        zygote: Zygote,
        *,
        scheduler: str,
        keys: Keyring,
        workspace: str = "",
        folder: str | None = None,
        roots: Sequence[str] = (".",),
        entry: str | None = None,
        entry_file: str | None = None,
        source: str | None = None,
        nthreads: int = 1,
        memory_limit_nbytes: int | None = None,
        name: str | None = None,
        tags: Sequence[str] = (),
        resources: Mapping[str, float] | None = None,
        shares_path: str | None = None,
        grace_s: float = GRACE_S,
        host: str = "127.0.0.1",
        insecure: bool = False,
        tls: bool = False,
        local_directory: str | None = None,
        log_level: str = "WARNING",
        timeout_s: float = OPEN_S,
    ) -> Room:
        """A room whose worker has registered; or listens, if its scheduler dials (``dialled://``) nanny and worker.

        Args:
            zygote: knows the kind `ROOM_KIND`, in the interpreter that the room is to have; attached to this loop.
            scheduler: address of the Main's scheduler.
            keys: the tenant's.
            workspace, folder: its id, and where it is laid out, for this room alone; None: functions travel by value.
            roots: folders of modules in there, relative.
            entry, entry_file, source: the Main's script, and its own folder, see `entry.be_room`.
            nthreads, memory_limit_nbytes, name, tags, resources, shares_path, grace_s: of the `Worker`.
            host, insecure, tls: where and how worker and nanny listen.
            local_directory: where the folder for each life of the process is made; None: the system's.
            timeout_s: seconds for all of it.
        Raises:
            WorkerStartError: it did not come up in time, or died again and again.
            DistributedError: the scheduler refused it: NameTakenError, AuthenticationError.
        """
        room = {
            "keys": keys_to_options(keys), "workspace": workspace, "root": folder, "roots": list(roots),
            "entry": entry, "entry_file": entry_file, "source": source,
        }  # fmt: skip
        worker = {
            "nthreads": nthreads, "memory_limit_nbytes": memory_limit_nbytes, "name": name, "tags": list(tags),
            "resources": dict(resources or {}), "shares_path": shares_path, "grace_s": grace_s,
        }  # fmt: skip
        nanny = Nanny(
            scheduler, zygote, worker_options=worker, host=host, insecure=insecure, tls=tls,
            local_directory=None if local_directory is None else os.path.abspath(local_directory),
            log_level=log_level, policy=RestartPolicy(), keys=keys, kind=ROOM_KIND, child_options={"room": room},
        )  # fmt: skip
        opened = cls(nanny, workspace)
        try:
            async with asyncio.timeout(timeout_s):
                await nanny.start()
                await (_listening(nanny) if scheduler.startswith("dialled://") else nanny.wait_registered())
        except TimeoutError:
            await opened.kill()
            raise WorkerStartError(
                f"the room did not meet the scheduler at {scheduler} within {timeout_s:g} s: can this machine reach it?"
            ) from None
        except BaseException:
            await opened.kill()
            raise
        return opened

    @property
    def worker_address(self) -> str | None:
        """Of the life that is; None: there is none at the moment."""
        return self.nanny.worker_address

    @property
    def pid(self) -> int | None:
        """Of the process that runs the tasks; None: it has ended."""
        process = self.nanny.process
        return None if process is None or process.ended.done() else process.pid

    @property
    def memory_nbytes(self) -> int:
        """What the process takes now; 0 while there is none."""
        return 0 if self.pid is None else process_nbytes(self.pid)

    def running(self) -> list[str]:
        """Keys of the tasks that run now, one per thread. Cost: 20 us."""
        return [] if self.pid is None else read_running(self.nanny.running_path)

    def is_idle(self) -> bool:
        """Whether no task runs. Results may lie here all the same: a graceful end hands them on."""
        return not self.running()

    async def close(self, reason: str = "closed", graceful: bool = False) -> None:
        """End process and nanny.

        Args:
            graceful: the scheduler moves tasks and results to other workers first, as long as its grace lasts.
        """
        await self.nanny.close(reason, graceful)

    async def kill(self, reason: str = "killed") -> None:
        """End process and nanny at once, with all that its tasks have started."""
        await self.nanny.kill()
        await self.nanny.close(reason)

    def __repr__(self) -> str:
        return f"<Room {self.worker_address or 'without a process'}, {self.workspace[:12] or 'no workspace'}>"


def keys_to_options(keys: Keyring) -> dict[str, str]:
    """A keyring, for a child that gets it over the socket of its zygote."""
    return {role: key.hex() for role, key in keys.key_by_role.items()}


async def _listening(nanny: Nanny) -> None:
    """Until somebody can dial the worker. Raises what the nanny ended with, or WorkerStartError."""
    waiting = asyncio.ensure_future(nanny.is_listening.wait())
    waited: list[asyncio.Future[Any]] = [waiting, nanny.finished]
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        raise WorkerStartError(f"the nanny ended first: {nanny.finished.result()}")
