"""`DistributedManager`: listens, knows its workers, sends and collects. Who does what is decided by its user.

Two styles: a loop of your own around `try_accept`, `collect` and `send`; or a subclass with `handle_msg` and its
fellows, and `run_once` in a loop. All methods are plain calls; a thread beside serves the connections.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from distributed.client.loop_thread import LoopThread
from distributed.comm.addresses import parse_address
from distributed.comm.same_host import ANY_HOST
from distributed.core import Server
from distributed.errors import (
    AddressError,
    CommClosedError,
    ConfigError,
    MessageLoadError,
    PortTakenError,
    UnknownWorkerError,
)
from distributed.faces.manager.credentials import ClientArgs, keys_of, save_authkey, shown_host
from distributed.faces.manager.importing import refuse_while_importing
from distributed.faces.manager.links import Board, Link
from distributed.faces.manager.local import LocalWorkers, wait_ended
from distributed.faces.manager.remote import managers, spawn
from distributed.faces.manager.roster import Standing
from distributed.faces.manager.wire import JOIN_OP, MESSAGE, PING, STOP, pack
from distributed.protocol.serialize import Payload, loads_payload
from distributed.units import parse_seconds

__all__ = ["DistributedManager"]

logger = logging.getLogger("distributed.manager")

PORTS = range(6000, 6100)
NO_PORT = -1  # stands for "the first free one of these"
AUTHKEY_NBYTES = 32
BEAT_S_MAX = 10.0
BEATS_PER_TTL = 4
START_S = 60.0  # for a local worker of `spawnf` to connect
STOP_S = 10.0
PING_S = 0.5


class _Door(Server):
    """The listening end. Workers of `spawnf` show the token that they were given; others wait to be accepted."""

    def __init__(self, board: Board, **keywords: Any) -> None:
        super().__init__({JOIN_OP: self.join_manager}, **keywords)
        self.board = board
        self.expected: dict[str, tuple[int, asyncio.Future[None]]] = {}

    async def join_manager(self, stream: Any, token: str = "") -> None:
        """Be a worker: from now on the stream carries what `distributed.faces.manager.wire` says."""
        worker, connected = self.expected.pop(token, (None, None)) if token else (None, None)
        link = None if token and connected is None else self.board.adopt(stream, worker)
        if link is None:
            stream.close()
            return
        if connected is not None and not connected.done():
            connected.set_result(None)
        await link.closed

    def shut(self) -> None:
        """Listen no more; who is connected stays."""
        for listener in self._listeners:
            listener.stop()


class DistributedManager:
    """Workers, and messages to and from them.

    Args:
        address: where to listen: a host, then the first free port from 6000 to 6099 is taken; or ``(host, port)``,
            where port 0 is any free one. None: ``localhost``. Beyond loopback with TLS, see ``docs/security.md``.
        authkey: what workers have to know to be let in, bytes; None: 32 random ones, see `get_client_args`.
        ttl: a worker of which nothing was heard for so many seconds counts as dead. Workers tell four times in that
            time (and every 10 s at least) that they live, whatever their code does.
        poll_delay: seconds that `try_accept` and `run_once` wait for something to happen, at most.
        insecure: encrypt nothing, even if other machines can reach `address`.
    Raises:
        PortTakenError: somebody listens there. ConfigError: an argument cannot be used, or there is no certificate.
    """

    def __init__(
        self,
        address: Any = None,
        authkey: bytes | None = None,
        ttl: float = 3600.0,
        poll_delay: float = 0.1,
        *,
        insecure: bool = False,
    ) -> None:
        refuse_while_importing()
        self.ttl = _positive("ttl", ttl)
        self.poll_delay = _positive("poll_delay", poll_delay)
        self._authkey = secrets.token_bytes(AUTHKEY_NBYTES) if authkey is None else authkey
        host, ports = _listening(address)
        keys = keys_of(self._authkey, host)
        self._insecure = insecure
        self._pings = 0
        self._local: LocalWorkers | None = None
        self._spawned: dict[int, Any] = {}  # processes of `spawnf`, by id
        self._thread = LoopThread("distributed-manager")
        beat_s = min(self.ttl / BEATS_PER_TTL, BEAT_S_MAX)
        self._board = Board(self.ttl, beat_s, self._thread.loop)
        self._door = _Door(self._board, keys=keys)
        self._finalizer = weakref.finalize(self, _end, self._thread, self._door, None)
        try:
            self._thread.run(_listen(self._door, host, ports, insecure))
        except BaseException:
            self._finalizer()
            raise
        self._host = socket.gethostname() if host in ANY_HOST else host
        managers.add(self)

    # ------------------------------------------------------------ who is there

    def get_client_args(self) -> ClientArgs:
        """``((host, port), 'AF_INET', authkey)``, for `create_remote_worker` on any machine. It holds the secret."""
        return (shown_host(self._host, self._insecure), self._door.port), "AF_INET", bytes(self._authkey)

    def save_authkey(self, path: str | Path) -> None:
        """Write the key to a file of yours alone, for ``python -m distributed.faces.manager --authkey-file``."""
        save_authkey(path, bytes(self._authkey))

    def try_accept(self) -> bool:
        """Let the next worker in that has connected, which gives it the next id; whether there was one.

        Waits for one `poll_delay` seconds at most, and not when there is something to collect.
        """
        return self._accept(self.poll_delay) is not None

    def get_active_workers(self) -> list[int]:
        """Ids of workers that have registered, which counts from when `collect` has seen it, and that live."""
        return self._board.having(Standing.ACTIVE)

    def get_unconfirmed_workers(self) -> list[int]:
        """Ids of workers that were accepted or created, live, and have not registered yet."""
        return self._board.having(Standing.UNCONFIRMED)

    def get_dead_workers(self) -> list[int]:
        """Ids of workers whose connection has ended, or that are silent for longer than `ttl`."""
        return self._board.having(Standing.DEAD)

    def get_worker_info(self, id: int) -> dict[str, Any]:
        """``{"pid", "host"}`` of a worker that has registered, ``{}`` before. Raises UnknownWorkerError."""
        link = self._link(id)
        return {} if link is None else dict(link.info)

    # ------------------------------------------------------------ messages

    def collect(self) -> dict[int, list[Any]]:
        """All messages that came since, in order, by worker; ``[]`` for who only registered or answered a ping.

        Raises:
            MessageLoadError: one cannot be unpickled here; it is gone, all others come with the next call.
        """
        taken = self._board.take()
        loaded: dict[int, list[Any]] = {}
        for worker, payloads in taken.items():
            values = loaded[worker] = []
            for position, payload in enumerate(payloads):
                try:
                    values.append(loads_payload(payload))
                except Exception as error:  # whatever a class of the user raises while it is rebuilt
                    self._board.put_back({**taken, worker: payloads[:position] + payloads[position + 1 :]})
                    raise MessageLoadError(worker, f"{type(error).__name__}: {error}") from error
        return loaded

    def send(self, id: int, msg: Any) -> bool:
        """Send any object that can be pickled; False: that worker is gone.

        Waits while the worker does not read and much is on its way; one that reads nothing for `ttl` is given up.

        Raises:
            UnknownWorkerError: there never was such an id. UnpicklableError: `msg` cannot be sent.
        """
        return self._send(self._link(id), pack(msg))

    def broadcast(self, msg: Any) -> list[bool]:
        """Send to everybody: for each id from 0 on, whether it could be sent. Errors as `send`."""
        payload = pack(msg)
        return [self._send(link, payload) for link in list(self._board.links)]

    def spread(self, messages: Mapping[int, Iterable[Any]]) -> dict[int, bool]:
        """Send each worker messages of its own; whether all of them could be sent, by id.

        Raises:
            UnknownWorkerError, UnpicklableError: as `send`, and nothing was sent to anybody.
        """
        packed = [(id, self._link(id), [pack(msg) for msg in msgs]) for id, msgs in messages.items()]
        return {id: all([self._send(link, payload) for payload in payloads]) for id, link, payloads in packed}

    def flush(self, discard: bool = False) -> int:
        """Take note of who registered, answered or left, and leave messages for the next `collect`.

        Args:
            discard: drop the messages that have come, too.
        Returns:
            How many messages were dropped.
        """
        taken = self._board.take(with_messages=discard)
        return sum(map(len, taken.values()))

    def fping(self, timeout: float = PING_S) -> list[int]:
        """Ping all, and wait until they have answered, at most so many seconds: ids of those that have.

        Threads of theirs answer, whatever their code does. No message is lost.
        """
        number = self._ping()
        links = [link for link in self._board.open_links() if link.worker is not None]
        answered: list[Link] = []

        def have_answered() -> bool:
            answered[:] = [link for link in links if link.pong >= number]
            return all(link.pong >= number or link.stream.closed() for link in links)

        self._board.wait_for(have_answered, timeout)
        self.flush()
        return sorted(link.worker for link in answered if link.worker is not None)

    def poll(self) -> bool:
        """Ping all, if that was not done for half of `ttl`; whether it was. Nobody has to: workers beat."""
        is_due = self._board.take_poll()
        if is_due:
            self._ping()
        return is_due

    # ------------------------------------------------------------ workers of our own

    def create_local_worker(
        self, wclass: Callable[..., Any], *args: Any, spawnf: Callable[..., Any] | None = None, **kwargs: Any
    ) -> int:
        """Start a process on this machine that runs ``wclass(pipe, *args, **kwargs)``; its id.

        Args:
            spawnf: makes the process, such as `multiprocessing.Process`: ``spawnf(target=..., args=...)``; then this
                waits until it has connected. None: it is forked from a fresh process of ours, in some 10 ms, and needs
                no ``if __name__ == '__main__':``; it ends with this program at the latest.
        Raises:
            UnpicklableError: class or arguments cannot be sent to a process.
            WorkerStartError: the process cannot be made. TimeoutError: one of `spawnf` did not connect.
            CommClosedError: this manager was stopped.
        """
        if self._board.is_stopped:
            raise CommClosedError(self._door.address, "this manager was stopped")
        start = pack((wclass, args, kwargs), "a worker's class and arguments")
        if spawnf is None:
            local = self._hatchery()
            id = self._board.reserve()
            self._run_for(id, local.fork(id, start))
        else:
            id = self._board.reserve()
            self._spawn(id, start, spawnf)
        self.on_new_worker(id)
        return id

    def _hatchery(self) -> LocalWorkers:
        if self._local is None:
            self._local = LocalWorkers(self._board)
            self._finalizer.detach()
            self._finalizer = weakref.finalize(self, _end, self._thread, self._door, self._local)
        return self._local

    def _run_for(self, id: int, coroutine: Any) -> Any:
        try:
            return self._thread.run(coroutine)
        except BaseException:
            with self._board.changed:
                self._board.roster.lose(id)
            raise

    def _spawn(self, id: int, start: Payload, spawnf: Callable[..., Any]) -> None:
        token = secrets.token_hex(16)

        async def wait_connected() -> None:
            connected = asyncio.get_running_loop().create_future()
            self._door.expected[token] = id, connected
            try:
                self._spawned[id] = await asyncio.to_thread(spawn, self.get_client_args(), start, spawnf, token)
                async with asyncio.timeout(START_S):
                    await connected
            finally:
                self._door.expected.pop(token, None)

        self._run_for(id, wait_connected())

    # ------------------------------------------------------------ the style of subclasses

    def run_once(self) -> None:
        """One turn: `poll`, `loop`, let everybody in who waits, hand out messages and deaths; then wait for more.

        Waits `poll_delay` seconds at most, and not when something came meanwhile. Errors as `collect`, and whatever the
        methods raise.
        """
        self.poll()
        self.loop()
        has_news = False
        while (id := self._accept(0.0)) is not None:
            has_news = True
            self.on_new_worker(id)
        for id, messages in self.collect().items():
            has_news = True
            for message in messages:
                self.handle_msg(id, message)
        for id in self._board.take_deaths():
            has_news = True
            self.on_worker_disconnect(id)
        if not has_news:
            self._board.wait(self.poll_delay)

    def loop(self) -> None:
        """Called by every `run_once`; for subclasses."""

    def on_new_worker(self, id: int) -> None:
        """A worker was accepted or created; what is sent to it now, it gets. For subclasses."""

    def on_worker_disconnect(self, id: int) -> None:
        """A worker is dead, and was handed all messages it had sent; told once for each. For subclasses."""

    def handle_msg(self, id: int, msg: Any) -> None:
        """A message of a worker. For subclasses."""

    # ------------------------------------------------------------ the end

    def stop(self, timeout: float = STOP_S) -> list[int]:
        """Ask all workers to stop, and listen no more. May be called twice; what they sent can still be collected.

        Args:
            timeout: seconds to wait for them. Local processes that have not ended by then are killed, each by its own
                pid; connections of others are closed, and the processes that we made for those end by themselves.
        Returns:
            Ids of local workers that had to be killed.
        """
        if self._board.is_stopped:
            return []
        self._board.stop()
        deadline = time.monotonic() + timeout
        killed = self._thread.run(_stop_workers(self._board, self._door, self._local, deadline))
        for id, process in self._spawned.items():
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive() and hasattr(process, "kill"):
                process.kill()
                process.join()
                killed.append(id)
        for id in killed:
            logger.warning("worker %d did not stop within %g s and was killed", id, timeout)
        self._finalizer()
        return sorted(killed)

    def __enter__(self) -> DistributedManager:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "stopped" if self._board.is_stopped else f"{len(self._board.roster)} workers so far"
        return f"<{type(self).__name__} {self._host}:{self._door.port}, {state}>"

    # ------------------------------------------------------------ private

    def _accept(self, timeout_s: float) -> int | None:
        id = self._board.accept()
        if id is None and timeout_s > 0:
            self._board.wait(timeout_s)
            id = self._board.accept()
        return id

    def _link(self, id: int) -> Link | None:
        if not isinstance(id, int) or isinstance(id, bool) or not 0 <= id < len(self._board.links):
            raise UnknownWorkerError(id, len(self._board.links))
        return self._board.links[id]

    def _send(self, link: Link | None, payload: Payload) -> bool:
        if link is None:
            return False
        try:
            link.outbox.send(MESSAGE, payload, self.ttl)
        except CommClosedError:
            return False
        return True

    def _ping(self) -> int:
        self._pings += 1
        number = self._pings

        def ping() -> None:
            for link in self._board.open_links():
                link.outbox.say(PING, number)

        if not self._board.is_stopped:
            self._thread.loop.call_soon_threadsafe(ping)
        return number


def _positive(name: str, value: Any) -> float:
    seconds = parse_seconds(value, name)
    if seconds <= 0:
        raise ConfigError(name, value, "seconds, more than 0")
    return seconds


def _listening(address: Any) -> tuple[str, Iterable[int]]:
    """Host, and ports to try."""
    place = parse_address("localhost" if address is None else address, NO_PORT)
    if place.scheme not in ("tcp", "tls"):
        raise AddressError(address, "a manager listens at a host, or a host and a port")
    return place.host, PORTS if place.port == NO_PORT else (place.port,)


async def _listen(door: _Door, host: str, ports: Iterable[int], insecure: bool) -> None:
    taken: PortTakenError | None = None
    for port in ports:
        try:
            door.listen(port, host, insecure=insecure)
            return
        except PortTakenError as error:
            taken = error
    assert taken is not None
    raise taken


async def _stop_workers(board: Board, door: _Door, local: LocalWorkers | None, deadline: float) -> list[int]:
    """Ids of the local ones that had to be killed."""
    door.shut()
    links = board.open_links()
    for link in links:
        link.outbox.say_last(STOP, None)
    if local is not None:
        local.is_stopping = True
    if links:
        await asyncio.wait([link.closed for link in links], timeout=max(0.0, deadline - time.monotonic()))
    killed: list[int] = []
    if local is not None:
        await wait_ended([*local.children.values()], max(0.0, deadline - time.monotonic()))
        killed = list(local.children)
        for child in [*local.children.values()]:
            child.kill()
        await wait_ended([*local.children.values()], STOP_S)
    await _close(door)
    return killed


async def _close(door: _Door) -> None:
    for link in door.board.open_links():
        link.stream.close()
    door.stop()
    await asyncio.sleep(0)  # close callbacks run


def _end(thread: LoopThread, door: _Door, local: LocalWorkers | None) -> None:
    """End what a manager holds, in order; also for one that nobody stopped."""
    if not thread.loop.is_closed():
        if local is not None:
            thread.run(local.close())
        thread.run(_close(door))
    thread.stop()
