"""The processes of a manager's local workers: forked by a zygote, joined to it by socket pairs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import Any

from distributed.client.loop_thread import LoopThread
from distributed.comm.peer import Peer
from distributed.comm.stream import Stream
from distributed.errors import CommClosedError
from distributed.faces.manager.links import Board
from distributed.faces.manager.wiring import WorkerPipe, exit_at_once, open_pipe, share_interpreter, stream_of
from distributed.faces.manager.worker import create_worker
from distributed.process.fresh import FreshZygote
from distributed.process.zygote import Child
from distributed.protocol.serialize import Payload, loads_payload

__all__ = ["LocalWorkers", "run_forked"]

logger = logging.getLogger("distributed.manager")

KIND = "worker"
MAIN = "distributed.faces.manager.local:run_forked"


class LocalWorkers:
    """Forks workers for one board; everything but the constructor is called on its loop.

    Attributes:
        children: by id, those that have not ended.
    """

    def __init__(self, board: Board) -> None:
        self.children: dict[int, Child] = {}
        self.is_stopping = False
        self._board = board
        self._zygote = FreshZygote({KIND: MAIN}, preload=(KIND,))
        self._is_attached = False

    async def fork(self, worker: int, start: Payload) -> Child:
        """Fork the process of `worker`, and adopt our end of its socket pair.

        Raises:
            WorkerStartError: it cannot be forked.
        """
        if not self._is_attached:
            self._is_attached = True
            self._zygote.attach()
        ours, theirs = socket.socketpair()
        try:
            child = await self._zygote.spawn(KIND, {}, 2, theirs.fileno())
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.children[worker] = child
        child.ended.add_done_callback(lambda _: self._on_ended(worker, child))
        self._board.adopt(Stream(ours, Peer(f"worker {worker} (pid {child.pid})", "worker")), worker, start)
        return child

    def _on_ended(self, worker: int, child: Child) -> None:
        self.children.pop(worker, None)
        ending = child.ended.result()
        if not self.is_stopping and ending.exitcode != 0:
            logger.warning("worker %d (pid %d) ended: %s", worker, child.pid, ending.cause)

    async def close(self) -> None:
        """End the zygote, and with it every child that is left."""
        self._zygote.close()


def run_forked(options: dict[str, Any], connection: int, life: int) -> None:
    """What a forked child runs: the class that its manager sends it first. Its zygote's end shows at the connection."""
    share_interpreter()
    thread = LoopThread("distributed-worker")
    with contextlib.suppress(CommClosedError):  # the manager is gone, which nobody is left to be told
        pipe: WorkerPipe = thread.run(open_pipe(stream_of(connection), thread, exit_at_once))
        try:
            wclass, args, kwargs = loads_payload(pipe.start)
            create_worker(pipe, wclass, *args, **kwargs)
        finally:
            pipe.close()
        return
    raise SystemExit(1)


async def wait_ended(children: list[Child], timeout_s: float) -> None:
    """Wait for the end of all of them, at most so long."""
    if children:
        await asyncio.wait([child.ended for child in children], timeout=timeout_s)
