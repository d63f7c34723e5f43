"""Streams that the server's side has opened: how to connect to a server that listens nowhere we can reach.

A server that cannot be reached dials our process: it connects to any server here and calls the op ``serve_scheduler``
with a name that only it and we know. Such streams wait here. Whoever connects to ``dialled://<name>`` in this process
gets one of them, turned around: from its first message on, which says the role, the other side serves it as if we had
connected. Who has dialled has proven its key in the handshake, and so have we.

    here                                        the server's side (`distributed.scheduler.dialling`)
    listens            ◀──── connects ─────     keeps a few streams at each address that it dials
    `wait_here`        ◀── serve_scheduler ─    and waits
    `begin`            ─────── role ───────▶    serves this stream, and opens another one

A stream belongs to the loop on which it was accepted. For another loop of this process, such as that of the client of
tasks, messages are passed on through a pair of sockets. Not here: who dials, and when again.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from typing import Any

from distributed.comm.peer import Peer
from distributed.comm.stream import Stream
from distributed.errors import BadRequestError, CommClosedError, DistributedError
from distributed.security.permissions import CLIENT

__all__ = ["begin", "wait_here"]

NAME_LENGTH_MAX = 100
NAMES_MAX = 1000
WAITING_MAX = 16  # streams of one name; two or three are used

_lock = threading.Lock()
_waiting: dict[str, deque[tuple[Stream, asyncio.AbstractEventLoop]]] = {}  # by name
_pumps: set[asyncio.Task[None]] = set()


async def wait_here(stream: Any, name: str) -> None:
    """The op ``serve_scheduler``: this stream waits for somebody here who connects to ``dialled://<name>``."""
    if not isinstance(stream, Stream):
        raise BadRequestError("serve_scheduler: this op needs a stream of its own")
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LENGTH_MAX:
        raise BadRequestError(f"serve_scheduler: {name!r:.100} is no name")
    loop = asyncio.get_running_loop()
    entry = (stream, loop)
    with _lock:
        streams = _waiting.get(name)
        if streams is None and len(_waiting) < NAMES_MAX:
            streams = _waiting[name] = deque()
        if streams is None or len(streams) >= WAITING_MAX:
            raise BadRequestError("serve_scheduler: enough streams wait here")
        streams.append(entry)
    try:
        await loop.create_future()  # cancelled when the stream closes, as every handler is
    finally:
        with _lock:
            streams = _waiting.get(name, deque())
            if entry in streams:  # nobody wanted it
                streams.remove(entry)
            if not streams:
                _waiting.pop(name, None)


async def begin(name: str, role: str) -> Stream:
    """A stream to whoever dialled under this name, on which we are `role` and it serves us.

    Raises:
        ConnectionRefusedError: none waits here at present.
    """
    with _lock:
        streams = _waiting.get(name)
        while streams and streams[0][0].closed():
            streams.popleft()
        if not streams:
            raise ConnectionRefusedError("it has not dialled this process")
        stream, loop = streams.popleft()
    if loop is asyncio.get_running_loop():
        _turn(stream, name, role)
        return stream
    try:
        passing = asyncio.run_coroutine_threadsafe(_pass_on(stream, name, role), loop)
    except RuntimeError:
        raise ConnectionRefusedError("the loop that it has dialled has ended") from None
    theirs: socket.socket = await asyncio.wrap_future(passing)
    return Stream(theirs, Peer(f"dialled://{name}", role))


def _turn(stream: Stream, name: str, role: str) -> None:
    stream.peer = Peer(f"dialled://{name}", role)
    stream.write_message_nowait({"role": role})


async def _pass_on(stream: Stream, name: str, role: str) -> socket.socket:
    """One end of a pair of sockets, on whose other end is what comes and goes on `stream`."""
    _turn(stream, name, role)
    ours, theirs = socket.socketpair()
    inner = Stream(ours, Peer("another loop of this process", CLIENT))
    for source, target in ((stream, inner), (inner, stream)):
        pump = asyncio.ensure_future(_pump(source, target))
        _pumps.add(pump)
        pump.add_done_callback(_pumps.discard)
    return theirs


async def _pump(source: Stream, target: Stream) -> None:
    try:
        while True:
            target.write_message_nowait(await source.read_message())
            await target.drain()
    except CommClosedError:
        await target.close_after_flush()
    except DistributedError:  # what makes no sense on one side is not passed to the other
        target.close()
    finally:
        source.close()
