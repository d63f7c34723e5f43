"""The manager's ends of its connections, and the board that its loop and its user share under one lock.

The loop's thread adopts streams and puts what workers say into inboxes; the user's thread accepts, collects and waits.
What a worker said counts from when it is collected, in the order in which it was said, its end included. Only that it
said something counts at once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from distributed.comm.stream import Stream
from distributed.errors import ProtocolError
from distributed.faces.manager.outbox import Outbox
from distributed.faces.manager.roster import Roster, Standing
from distributed.faces.manager.wire import BEAT, MESSAGE, PONG, REGISTER, WELCOME, read_from_worker
from distributed.protocol.serialize import Payload, payload_nbytes
from distributed.units import MiB

__all__ = ["Board", "Link"]

LOST = -1  # in an inbox: the connection has ended
ARRIVALS_MAX = 1_000  # connections that nobody accepts; more are refused
UNCOLLECTED_MAX = 10_000  # messages of one worker; then nothing more of it is received until they are collected
UNCOLLECTED_NBYTES_MAX = 256 * MiB


class Link:
    """The manager's end of one connection; `worker` is None until it was accepted."""

    def __init__(self, stream: Stream, loop: asyncio.AbstractEventLoop, worker: int | None) -> None:
        self.stream = stream
        self.worker = worker
        self.outbox = Outbox(stream, loop)
        self.closed: asyncio.Future[None] = loop.create_future()
        self.inbox: list[tuple[int, Any]] = []
        self.nbytes = 0  # of the messages in it
        self.is_held_back = False
        self.pong = 0  # the number of the last ping that was answered
        self.info: dict[str, Any] = {}


class Board:
    """What is known of all workers.

    Args:
        ttl_s: see `Roster`.
        beat_s: how often workers say that they live.
        loop: that serves the streams.
    """

    def __init__(self, ttl_s: float, beat_s: float, loop: asyncio.AbstractEventLoop) -> None:
        self.changed = threading.Condition()  # its lock is the lock
        self.roster = Roster(ttl_s, time.monotonic())
        self.links: list[Link | None] = []  # by id; None: it has not connected yet
        self.is_stopped = False
        self._beat_s = beat_s
        self._loop = loop
        self._arrivals: deque[Link] = deque()
        self._ready: dict[Link, None] = {}  # links of workers with something in their inbox

    # ------------------------------------------------------------ on the loop

    def adopt(self, stream: Stream, worker: int | None = None, start: Payload | None = None) -> Link | None:
        """Serve a stream: of a worker we know, or of one that waits to be accepted; None: too many wait."""
        link = Link(stream, self._loop, worker)
        with self.changed:
            if self.is_stopped or len(self._arrivals) >= ARRIVALS_MAX:
                stream.close()
                return None
            if worker is None:
                self._arrivals.append(link)
            else:
                self.links[worker] = link
                self.roster.hear(worker, time.monotonic())
            self.changed.notify_all()
        link.outbox.say(WELCOME, {"beat_s": self._beat_s, "start": start})
        stream.set_message_handler(lambda message: self._on_message(link, message))
        stream.add_close_callback(lambda: self._on_close(link))
        return link

    def _on_message(self, link: Link, message: Any) -> None:
        try:
            kind, value = read_from_worker(message)
        except ProtocolError:
            link.stream.close()
            return
        now = time.monotonic()
        with self.changed:
            if link.worker is not None:
                self.roster.hear(link.worker, now)
            if kind == BEAT:
                return
            if kind == PONG:
                link.pong = value
            link.inbox.append((kind, value))
            if kind == MESSAGE:
                link.nbytes += payload_nbytes(value)
            if len(link.inbox) > UNCOLLECTED_MAX or link.nbytes > UNCOLLECTED_NBYTES_MAX:
                self._hold_back(link, True, now)
            self._is_ready(link)

    def _hold_back(self, link: Link, is_held_back: bool, now: float) -> None:
        link.is_held_back = is_held_back
        if link.worker is not None:
            self.roster.hold_back(link.worker, is_held_back, now)
        if is_held_back:
            link.stream.pause_reading()
        else:
            self._wake(link.stream.resume_reading)

    def _on_close(self, link: Link) -> None:
        if not link.closed.done():
            link.closed.set_result(None)
        with self.changed:
            if link in self._arrivals:
                self._arrivals.remove(link)
            link.inbox.append((LOST, None))
            self._is_ready(link)

    def _is_ready(self, link: Link) -> None:
        if link.worker is not None:
            self._ready[link] = None
        self.changed.notify_all()

    # ------------------------------------------------------------ in any thread

    def reserve(self) -> int:
        """The id of a worker that will connect."""
        with self.changed:
            self.links.append(None)
            return self.roster.join(time.monotonic())

    def accept(self) -> int | None:
        """The id of the next worker that waits to be accepted; None: none waits."""
        with self.changed:
            if not self._arrivals:
                return None
            link = self._arrivals.popleft()
            self.links.append(link)
            link.worker = self.roster.join(time.monotonic())
            if link.is_held_back:
                self.roster.hold_back(link.worker, True, time.monotonic())
            if link.inbox:
                self._ready[link] = None
            return link.worker

    def wait(self, timeout_s: float) -> None:
        """Wait until somebody arrives or says something; not at all if there is such a thing, at most so long."""
        with self.changed:
            self.changed.wait_for(lambda: self._arrivals or self._ready or self.is_stopped, timeout_s)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `condition` holds, which is looked at under the lock whenever something comes, or time is up."""
        with self.changed:
            self.changed.wait_for(condition, timeout_s)

    def take(self, with_messages: bool = True) -> dict[int, list[Payload]]:
        """What workers said since, by id, in order; without messages those stay, and only words of ours are taken."""
        taken: dict[int, list[Payload]] = {}
        now = time.monotonic()
        with self.changed:
            ready, self._ready = self._ready, {}
            for link in ready:
                assert link.worker is not None
                said = self._take_from(link, link.worker, with_messages)
                if said is not None:
                    taken[link.worker] = said
                if link.inbox:
                    self._ready[link] = None
                elif link.is_held_back:
                    self._hold_back(link, False, now)
        return taken

    def _take_from(self, link: Link, worker: int, with_messages: bool) -> list[Payload] | None:
        """None: nothing but its end."""
        inbox, link.inbox = link.inbox, []
        said: list[Payload] | None = None
        for kind, value in inbox:
            if kind == LOST:
                if link.inbox:  # a message before it stays: then it is not lost yet
                    link.inbox.append((kind, value))
                else:
                    self.roster.lose(worker)
                continue
            if kind == MESSAGE and not with_messages:
                link.inbox.append((kind, value))
                continue
            said = [] if said is None else said
            if kind == MESSAGE:
                said.append(value)
            elif kind == REGISTER:
                link.info = value
                self.roster.register(worker)
        if with_messages:
            link.nbytes = 0
        return said

    def put_back(self, messages: dict[int, list[Payload]]) -> None:
        """Messages that were taken and are to be taken again, before those that came since."""
        with self.changed:
            for worker, payloads in messages.items():
                link = self.links[worker]
                if link is not None and payloads:
                    link.inbox[:0] = [(MESSAGE, payload) for payload in payloads]
                    self._ready[link] = None

    def having(self, standing: Standing) -> list[int]:
        """Ids of workers of that standing. One that has ended is dead as soon as all it said is collected."""
        with self.changed:
            for link in [link for link in self._ready if link.inbox[0][0] == LOST]:
                del self._ready[link]
                assert link.worker is not None
                self._take_from(link, link.worker, False)
            return self.roster.having(standing, time.monotonic())

    def take_deaths(self) -> list[int]:
        """See `Roster.take_deaths`; the connections of those who were only silent end."""
        with self.changed:
            deaths = self.roster.take_deaths(time.monotonic())
            links = [self.links[worker] for worker in deaths]
        for link in links:
            if link is not None and not link.stream.closed():
                self._wake(link.stream.close)
        return deaths

    def take_poll(self) -> bool:
        """See `Roster.take_poll`."""
        with self.changed:
            return self.roster.take_poll(time.monotonic())

    def open_links(self) -> list[Link]:
        """Links of all that are connected, accepted or not."""
        with self.changed:
            every = [*(link for link in self.links if link is not None), *self._arrivals]
        return [link for link in every if not link.stream.closed()]

    def stop(self) -> None:
        """From now on nobody is adopted, and nobody waits."""
        with self.changed:
            self.is_stopped = True
            self.changed.notify_all()

    def _wake(self, callback: Callable[[], object]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)
