"""Workers that connect to a manager from anywhere: in this process, or in one that is started for them."""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from distributed.client.loop_thread import LoopThread
from distributed.comm.addresses import Address
from distributed.comm.connect import connect_address
from distributed.comm.stream import Stream
from distributed.errors import CommClosedError, DistributedError
from distributed.faces.manager.credentials import ClientArgs, read_client_args
from distributed.faces.manager.importing import importing, refuse_while_importing
from distributed.faces.manager.wire import JOIN_OP, pack
from distributed.faces.manager.wiring import WorkerPipe, exit_at_once, open_pipe, share_interpreter
from distributed.faces.manager.worker import create_worker
from distributed.process.fresh import import_paths, own_path, set_own_path
from distributed.protocol.serialize import Payload, loads_payload
from distributed.security.keys import Keyring
from distributed.security.permissions import WORKER

__all__ = ["WorkerProcess", "create_remote_worker", "create_remote_worker_sync", "run_spawned", "spawn"]

PROGRAM = "from distributed.faces.manager.remote import main; main()"
END_S = 1.0  # for workers of a manager that nobody stopped, at the end of its program; then they are killed
TELL_S = 2.0  # at the end of the program, before it says what it waits for
_LENGTH = struct.Struct(">Q")


def create_remote_worker(
    wclass: Callable[..., Any],
    client_args: ClientArgs,
    *args: Any,
    spawnf: Callable[..., Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Start a process that connects to a manager and runs ``wclass(pipe, *args, **kwargs)`` until it is stopped.

    Args:
        client_args: what the manager's `get_client_args` returned, on whatever machine.
        spawnf: makes the process, such as `multiprocessing.Process`: ``spawnf(target=..., args=...)``; it is started
            here. None: one of our own, which needs no ``if __name__ == '__main__':`` and ends with this program; a
            program that comes to its end waits for it.
    Returns:
        The process, with `pid`, `is_alive`, `join`, `exitcode`, `terminate` and `kill`.
    Raises:
        ConfigError, AddressError: no client args. UnpicklableError: class or arguments cannot be sent to a process.
    """
    refuse_while_importing()  # before pickling, as its class may not be there yet
    read_client_args(client_args)
    return spawn(client_args, pack((wclass, args, kwargs), "a worker's class and arguments"), spawnf)


def create_remote_worker_sync(wclass: Callable[..., Any], client_args: ClientArgs, *args: Any, **kwargs: Any) -> None:
    """Be a worker, in this process and thread, until the manager stops it.

    Raises:
        ConnectTimeoutError, AuthenticationError: no manager there, or one with another key.
        CommClosedError: the manager is gone.
        ConfigError, AddressError: no client args. Anything that the worker raises.
    """
    _work(client_args, "", None, lambda pipe: create_worker(pipe, wclass, *args, **kwargs))


def spawn(client_args: ClientArgs, what: Payload, spawnf: Callable[..., Any] | None, token: str = "") -> Any:
    """The started process; `token` is known to the manager that made this worker."""
    refuse_while_importing()
    if spawnf is None:
        return WorkerProcess(client_args, what, token)
    process = spawnf(target=run_spawned, args=(client_args, pickle.dumps(what), token, os.getpid()))
    process.start()
    return process


def run_spawned(client_args: ClientArgs, what: bytes, token: str, parent: int) -> None:
    """What a process of `spawnf` runs, or a thread."""
    wclass, args, kwargs = loads_payload(pickle.loads(what))
    on_overdue = exit_at_once if os.getpid() != parent else None
    try:
        _work(client_args, token, on_overdue, lambda pipe: create_worker(pipe, wclass, *args, **kwargs))
    except CommClosedError as error:
        _tell(error)


def _work(
    client_args: ClientArgs, token: str, on_overdue: Callable[[], object] | None, run: Callable[[WorkerPipe], None]
) -> None:
    place, keys = read_client_args(client_args)
    thread = LoopThread("distributed-worker")
    try:
        pipe: WorkerPipe = thread.run(open_pipe(_connect(place, keys, token), thread, on_overdue))
        try:
            run(pipe)
        finally:
            pipe.close()
    finally:
        thread.stop()


async def _connect(place: Address, keys: Keyring, token: str) -> Stream:
    stream = await connect_address(place, role=WORKER, keys=keys)
    stream.write_message_nowait({"op": JOIN_OP, "token": token, "reply": False})
    return stream


def _tell(error: DistributedError) -> None:
    print(f"distributed: worker {os.getpid()}: {error}", file=sys.stderr)


# ---------------------------------------------------------------- a process of our own

_running: dict[int, WorkerProcess] = {}  # by pid
_at_end = threading.Lock()
managers: weakref.WeakSet[Any] = weakref.WeakSet()  # of this program, to be stopped at its end


class WorkerProcess:
    """A process that runs a worker, with the methods of `multiprocessing.Process`."""

    def __init__(self, client_args: ClientArgs, what: Payload, token: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": import_paths()},
        )
        self.pid = self._process.pid
        given = pickle.dumps((client_args, what, token, own_path()))
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended at once; its exit code tells
            self._process.stdin.write(_LENGTH.pack(len(given)) + given)
            self._process.stdin.flush()
        with _at_end:
            if not _running:
                atexit.register(_join_all)
            for other in [other for other in _running.values() if not other.is_alive()]:
                del _running[other.pid]
            _running[self.pid] = self

    @property
    def exitcode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most `timeout` seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        if not self.is_alive() and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def __repr__(self) -> str:
        return f"<WorkerProcess {self.pid}{'' if self.is_alive() else f', exit code {self.exitcode}'}>"


def _join_all() -> None:
    """At the end of the program, as multiprocessing does; a manager that nobody can ask any more stops its workers."""
    try:
        for manager in list(managers):
            manager.stop(END_S)
        for process in list(_running.values()):
            process.join(TELL_S)
        left = [process for process in _running.values() if process.is_alive()]
        if left:
            print(
                f"distributed: waiting until their manager stops {len(left)} workers; Ctrl-C ends them", file=sys.stderr
            )
        for process in left:
            process.join()
    except KeyboardInterrupt:
        for process in list(_running.values()):
            process.terminate()
            process.join()


def main() -> None:
    """What a `WorkerProcess` runs."""
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        (length,) = _LENGTH.unpack(_read(stdin.read, _LENGTH.size))
        client_args, what, token, python_path = pickle.loads(_read(stdin.read, length))
    lifeline = os.dup(0)  # a worker that reads stdin must not take it, nor wait for it
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    set_own_path(python_path)
    share_interpreter()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, args=(lifeline,), name="distributed-lifeline", daemon=True).start()
    try:
        with importing("this worker"):
            wclass, args, kwargs = loads_payload(what)
        _work(client_args, token, exit_at_once, lambda pipe: create_worker(pipe, wclass, *args, **kwargs))
    except DistributedError as error:
        _tell(error)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _read(read: Callable[[int], bytes | None], nbytes: int) -> bytes:
    data = b""
    while len(data) < nbytes:
        piece = read(nbytes - len(data))
        if not piece:
            raise SystemExit("this is started by create_remote_worker")
        data += piece
    return data


def _end_with_parent(lifeline: int) -> None:
    """What was our stdin is open for as long as the program that started us runs."""
    while os.read(lifeline, 1):
        continue
    exit_at_once()
