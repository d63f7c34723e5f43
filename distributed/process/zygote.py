"""A lean process that has imported everything and forks children on demand, in 10 ms instead of 300.

It is forked itself before any loop or thread exists, has neither, and does three things: fork a child when asked,
report how children ended (they are its own, so it knows exit code, signal and peak memory), and end them all when the
process it serves is gone. With a child ends its process group: whatever the code of users started in it.

What children run may be named only: then the zygote imports it while the process it serves, and a child that was asked
for at once, import what they need. So the cores of a machine share the work of starting.

    served process ──{"spawn": n, "kind", "options"} + 2 descriptors──▶ zygote ──fork──▶ child (own process group)
                   ◀──{"started": n, "pid"}   {"ended": pid, "status", "memory_peak_nbytes"}──

The descriptors are where the child's stderr goes, and a status pipe on which it writes JSON lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import json
import os
import random
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from distributed.dataclass import dataclass, field
from distributed.errors import WorkerStartError
from distributed.lazy import object_at

__all__ = ["Child", "Ending", "Zygote", "run_forker"]

LINE_NBYTES_MAX = 64 * 1024
_IGNORED = (signal.SIGINT, signal.SIGTERM)  # by the zygote: they are for the process it serves

PRELOAD_AFTER_S = 0.02  # without a request; one that is on its way is served first, since its child imports beside us

Main = Callable[[dict[str, Any], int, int], None]


@dataclass(slots=True)
class Ending:
    """How a process ended: exactly one of `exitcode` and `signal` is set; `memory_peak_nbytes` is its resident peak."""

    exitcode: int | None
    signal: int | None
    memory_peak_nbytes: int

    @property
    def cause(self) -> str:
        """For people: ``exit code 3`` or ``signal SIGKILL``."""
        if self.signal is None:
            return f"exit code {self.exitcode}"
        try:
            return f"signal {signal.Signals(self.signal).name}"
        except ValueError:  # a real-time signal without a name
            return f"signal {self.signal}"


@dataclass(slots=True)
class Child:
    """A forked process; `ended` is done when it is gone."""

    pid: int
    ended: asyncio.Future[Ending] = field(repr=False)

    def kill(self) -> None:
        """End it at once, with all it started. No error if it is gone."""
        if not self.ended.done():
            _kill_group(self.pid)

    def terminate(self) -> None:
        """Ask it to end in its own time (SIGTERM). No error if it is gone."""
        self._send(signal.SIGTERM)

    def interrupt(self) -> None:
        """Ask it to end without waiting for anything (SIGINT). No error if it is gone."""
        self._send(signal.SIGINT)

    def _send(self, number: signal.Signals) -> None:
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Zygote:
    """Make it before the loop and before any thread; then `attach` it to the loop and `spawn`.

    Args:
        mains: what a child of each kind runs: ``main(options, status descriptor, descriptor that closes with us)``.
            A text ``module:function`` is imported by the child.
        preload: kinds whose texts the zygote imports itself, once, for all children.
    """

    def __init__(self, mains: dict[str, Main | str], preload: Sequence[str] = ()) -> None:
        if not hasattr(os, "fork"):
            raise WorkerStartError("this system cannot fork processes; run workers with --no-nanny")
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)  # until it ignores them
        pid = os.fork()
        if pid == 0:
            ours.close()
            run_forker(theirs, mains, preload, mask)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        self._begin(ours, pid)

    def _begin(self, ours: socket.socket, pid: int) -> None:
        self.pid = pid
        self._socket = ours
        self._number = 0
        self._starting: dict[int, asyncio.Future[Child]] = {}
        self._early: list[int] = []  # asked for before there was a loop
        self._children: dict[int, Child] = {}
        self._buffer = b""
        self._turn = asyncio.Lock()
        self.has_ended = False
        self.on_gone: Callable[[], object] = lambda: None  # called when it has ended without having been told to

    def attach(self) -> None:
        """Serve the running loop."""
        self._socket.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._starting.update((number, self._loop.create_future()) for number in self._early)
        self._loop.add_reader(self._socket.fileno(), self._on_readable)

    async def spawn(self, kind: str, options: dict[str, Any], stderr: int, status: int) -> Child:
        """Fork a child; it gets copies of the two descriptors.

        Raises:
            WorkerStartError: the zygote is gone or cannot fork.
        """
        async with self._turn:  # one at a time: what waits in the socket is then never more than a line
            return await self.started(self.request(kind, options, stderr, status))

    def request(self, kind: str, options: dict[str, Any], stderr: int, status: int) -> int:
        """Ask for a child without waiting, even before `attach`; answers what `started` wants to know.

        Raises:
            WorkerStartError: the zygote is gone, or `options` are too long.
        """
        self._number += 1
        line = json.dumps({"spawn": self._number, "kind": kind, "options": options}).encode() + b"\n"
        if len(line) > LINE_NBYTES_MAX:  # it would not leave in one piece, and what follows would be taken for its rest
            what = f"its options take {len(line):,} bytes, and {LINE_NBYTES_MAX:,} is the most"
            raise WorkerStartError(f"a process of kind {kind!r} cannot be started: {what}; say less in them")
        try:
            sent_nbytes = socket.send_fds(self._socket, [line], [stderr, status])
        except OSError as error:
            raise WorkerStartError(f"the process that forks workers is gone: {error}") from None
        if sent_nbytes < len(line):  # it does not read what came before; half a line cannot be taken back
            self._socket.shutdown(socket.SHUT_RDWR)
            raise WorkerStartError("the process that forks workers does not answer, and is ended")
        if hasattr(self, "_loop"):
            self._starting[self._number] = self._loop.create_future()
        else:
            self._early.append(self._number)
        return self._number

    async def started(self, number: int) -> Child:
        """The child that was asked for; once.

        Raises:
            WorkerStartError: the zygote is gone or cannot fork.
        """
        try:
            return await self._starting[number]
        finally:
            del self._starting[number]

    def close(self) -> None:
        """End the zygote and with it all its children."""
        if self._socket.fileno() < 0:
            return
        if hasattr(self, "_loop") and not self._loop.is_closed():
            self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _on_readable(self) -> None:
        try:
            data = self._socket.recv(LINE_NBYTES_MAX)
        except ConnectionResetError:  # it was killed before it had read what we sent
            data = b""
        if not data:
            self._on_gone()
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._on_report(json.loads(line))

    def _on_report(self, report: dict[str, Any]) -> None:
        if "started" in report:
            child = Child(report["pid"], self._loop.create_future())
            self._children[child.pid] = child
            started = self._starting.get(report["started"])
            if started is None or started.cancelled():  # nobody waits for it any more
                child.kill()
            else:
                started.set_result(child)
        elif "failed" in report:
            error = WorkerStartError(f"cannot fork a worker: {report['reason']}")
            started = self._starting.get(report["failed"])
            if started is not None and not started.cancelled():
                started.set_exception(error)
        else:
            status, peak = report["status"], report["memory_peak_nbytes"]
            signaled = os.WIFSIGNALED(status)
            ending = Ending(
                None if signaled else os.WEXITSTATUS(status), os.WTERMSIG(status) if signaled else None, peak
            )
            self._children.pop(report["ended"]).ended.set_result(ending)

    def _on_gone(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        for started in self._starting.values():
            if not started.done():
                started.set_exception(WorkerStartError("the process that forks workers has ended"))
        for child in self._children.values():  # they end with it by themselves, unless a task keeps them from it
            _kill_group(child.pid)
            child.ended.set_result(Ending(None, signal.SIGKILL, 0))
        self._children.clear()
        self.has_ended = True
        self.on_gone()


# ---------------------------------------------------------------- in the zygote


def run_forker(
    control: socket.socket, mains: Mapping[str, Main | str], preload: Sequence[str], mask: Iterable[int] = ()
) -> NoReturn:
    """Be the zygote that is asked over `control`; the signals in `mask` stay blocked. Never returns."""
    code = 1
    try:
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _Forker(control, mains, preload).run()
        code = 0
    except BaseException as error:
        print(f"distributed: the zygote failed: {error!r}", file=sys.stderr)
    finally:
        os._exit(code)


class _Forker:
    def __init__(self, control: socket.socket, mains: Mapping[str, Main | str], preload: Sequence[str]) -> None:
        self.control = control
        self.mains = dict(mains)
        self.to_load = list(preload)
        self.children: set[int] = set()
        self.wakeup_read, self.wakeup_write = os.pipe()  # written by the signal of a child's end
        self.life_read, self.life_write = os.pipe()  # children notice by it that we are gone
        for descriptor in (self.wakeup_read, self.wakeup_write):
            os.set_blocking(descriptor, False)

    def run(self) -> None:
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self.wakeup_write, warn_on_full_buffer=False)
        buffer, descriptors = b"", []
        gc.freeze()  # what is shared with children stays shared: their collectors do not look at it
        while True:
            wait_s = PRELOAD_AFTER_S if self.to_load else None
            ready, _, _ = select.select([self.control.fileno(), self.wakeup_read], [], [], wait_s)
            if self.wakeup_read in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self.wakeup_read, 4096)
                self.reap()
            if self.control.fileno() in ready:
                data, received, _, _ = socket.recv_fds(self.control, LINE_NBYTES_MAX, 64)
                if not data:
                    self.end()
                    return
                descriptors.extend(received)
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    stderr, status = descriptors.pop(0), descriptors.pop(0)
                    self.spawn(json.loads(line), stderr, status)
            self.preload()

    def preload(self) -> None:
        """Import what children will need, once."""
        if self.to_load:
            for kind in self.to_load:
                self.mains[kind] = _load(self.mains[kind])
            self.to_load.clear()
            gc.freeze()

    def spawn(self, request: dict[str, Any], stderr: int, status: int) -> None:
        if request["kind"] in self.to_load:
            self.preload()
        try:
            pid = os.fork()
        except OSError as error:
            self.report({"failed": request["spawn"], "reason": error.strerror})
            return
        finally:
            if "pid" not in locals() or pid:
                os.close(stderr)
                os.close(status)
        if pid == 0:
            self.become_child(request, stderr, status)
        with contextlib.suppress(OSError):  # it does so itself; whoever is first, it is done before anybody can kill it
            os.setpgid(pid, pid)
        self.children.add(pid)
        self.report({"started": request["spawn"], "pid": pid})

    def become_child(self, request: dict[str, Any], stderr: int, status: int) -> None:
        """Never returns."""
        code = 1
        try:
            os.setpgid(0, 0)
            nothing = os.open(os.devnull, os.O_RDONLY)  # a task that reads stdin must not take what is the parent's,
            os.dup2(nothing, 0)  # nor be stopped by the terminal for it
            os.close(nothing)
            os.set_inheritable(status, False)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            os.dup2(stderr, 2)
            os.close(stderr)
            self.control.close()
            for descriptor in (self.wakeup_read, self.wakeup_write, self.life_write):
                os.close(descriptor)
            random.seed()
            _load(self.mains[request["kind"]])(request["options"], status, self.life_read)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(OSError, ValueError):  # a broken or closed pipe must not change the exit code
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def reap(self) -> None:
        while self.children:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            _kill_group(ended.si_pid)  # before it is reaped: until then nobody else can have its number
            pid, status, usage = os.wait4(ended.si_pid, 0)
            self.children.discard(pid)
            unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is bytes there, KiB elsewhere
            self.report({"ended": pid, "status": status, "memory_peak_nbytes": usage.ru_maxrss * unit})

    def end(self) -> None:
        for pid in self.children:
            _kill_group(pid)
        for pid in self.children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def report(self, report: dict[str, Any]) -> None:
        try:
            self.control.sendall(json.dumps(report).encode() + b"\n")
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):  # gone: the next select tells
                raise


def _load(main: Main | str) -> Main:
    if not isinstance(main, str):
        return main
    loaded: Main = object_at(main)
    return loaded


def _kill_group(pid: int) -> None:
    """End the process group that `pid` leads. No error if it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: "not permitted" for a group of zombies
        os.killpg(pid, signal.SIGKILL)
