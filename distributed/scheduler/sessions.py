"""The scheduler's end of its clients' sessions: who is connected, who was cut off and may come back, who is forgotten.

A client that loses its connection keeps all it holds for a while; what is said to it meanwhile is kept too, within
bounds. It comes back with the same id, this scheduler's id and the number of messages that it has received.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from distributed.comm.stream import Stream
from distributed.config import settings
from distributed.endpoint import Endpoint
from distributed.errors import BadRequestError, CommClosedError, DistributedError, MessageTooLargeError, ProtocolError
from distributed.messages import CLIENT, Message
from distributed.protocol.failure import error_reply
from distributed.scheduler.events import ClientJoined, ClientLeft, FromClient
from distributed.wire import from_wire, halves

__all__ = ["ClientSessions", "flushed", "reject"]

logger = logging.getLogger(__name__)

FLUSH_TIMEOUT_S = 2.0  # for peers to take the last message
ABSENT_MAX = 1_000  # clients waited for at once; beyond it the one that is away the longest is forgotten


class ClientSessions:
    """See the module.

    Args:
        scheduler_id: of this life of the scheduler; sessions of another one are unknown.
        handle: takes the events of clients.
    """

    def __init__(self, scheduler_id: str, handle: Callable[[Any], object]) -> None:
        self._scheduler_id = scheduler_id
        self._handle = handle
        self._patience_s = settings().client_patience_s
        self._sessions: dict[str, _Session] = {}

    def __contains__(self, client: object) -> bool:
        return client in self._sessions

    def __iter__(self) -> Any:
        return iter(self._sessions)

    def endpoint(self, client: str) -> Endpoint:
        """The client's; KeyError if there is no such client."""
        return self._sessions[client].endpoint

    def streams(self) -> list[Stream]:
        """Of all that are connected."""
        return [session.endpoint.stream for session in self._sessions.values() if session.endpoint.stream is not None]

    async def serve(self, stream: Stream, client: str, told: Any, hello: dict[str, Any], process: str = "") -> None:
        """Make `stream` that of `client`, answer `hello`, and hand over what it sends until the stream closes.

        Args:
            told: ``[scheduler id, count]`` of who comes back, else None. The answer has ``received`` if the session
                goes on: the number of messages that came here.
            process: see `ClientJoined`.
        Raises:
            BadRequestError: the client is connected already, or `told` cannot be.
        """
        session, count = self._sessions.get(client), _count_of(told, self._scheduler_id)
        if session is not None and told is None and session.endpoint.stream is not None:
            raise BadRequestError(f"client {client!r} is no name, or is connected already")
        if session is not None and (count is None or not session.endpoint.ledger.can_resume(count)):
            self._forget(session, "it began anew")
            session = None
        if session is None:
            session, count = _Session(client, self), 0
            self._sessions[client] = session
            stream.write_message_nowait(hello)
            self._handle(ClientJoined(client, process))
        else:
            logger.info("client %s is back", client)
            stream.write_message_nowait({**hello, "received": session.endpoint.ledger.received})
        assert count is not None
        if session.patience is not None:
            session.patience.cancel()
            session.patience = None
        session.endpoint.attach(stream, count)
        await asyncio.get_running_loop().create_future()  # cancelled when the stream closes, as every handler is

    def send(self, client: str, message: Message) -> None:
        """Tell a client; one that is cut off hears it later, one that is gone never."""
        session = self._sessions.get(client)
        if session is None:
            return
        try:
            session.endpoint.send(message.to_wire())
        except MessageTooLargeError:
            parts = halves(message)
            if not parts:
                logger.exception("%s for client %s cannot be sent; closing its connection", message.op, client)
                self._forget(session, "a message for it is too large")
            for part in parts:
                self.send(client, part)
            return
        except DistributedError:
            logger.exception("%s for client %s cannot be sent; closing its connection", message.op, client)
            self._forget(session, "a message for it cannot be sent")
            return
        if session.endpoint.ledger.is_full:
            if session.endpoint.stream is None:
                self._forget(session, "too much waits for it")
            else:
                session.endpoint.ledger.trim()  # it does not confirm: it cannot come back, should it be cut off

    def end(self, client: str, reason: str) -> None:
        """Forget this one, connected or not."""
        session = self._sessions.get(client)
        if session is not None:
            self._forget(session, reason)

    def close(self) -> None:
        """Forget everybody, and tell nobody."""
        for session in self._sessions.values():
            if session.patience is not None:
                session.patience.cancel()
        self._sessions.clear()

    # ------------------------------------------------------------ of one client

    def _on_message(self, session: _Session, wire: Any) -> None:
        try:
            message = from_wire(wire, CLIENT)
        except ProtocolError as error:
            self._on_fault(session, error)
            return
        self._handle(FromClient(session.client, message))

    def _on_fault(self, session: _Session, error: ProtocolError) -> None:
        stream = session.endpoint.release()
        if stream is not None:
            reject(stream, error)
        self._forget(session, str(error))

    def _on_cut(self, session: _Session, error: DistributedError) -> None:
        if self._sessions.get(session.client) is not session:
            return
        logger.info("client %s is cut off: %s", session.client, getattr(error, "reason", error))
        absent = [other for other in self._sessions.values() if other.patience is not None]
        if len(absent) >= ABSENT_MAX:
            self._forget(min(absent, key=_deadline), "too many others are away")
        if isinstance(error, ProtocolError) or session.endpoint.ledger.is_full:
            self._forget(session, str(error))
            return
        loop = asyncio.get_running_loop()
        session.patience = loop.call_later(self._patience_s, self._forget, session, "it did not come back")

    def _forget(self, session: _Session, reason: str) -> None:
        if self._sessions.get(session.client) is not session:
            return
        logger.info("client %s is forgotten: %s", session.client, reason)
        del self._sessions[session.client]
        if session.patience is not None:
            session.patience.cancel()
        session.endpoint.detach()
        self._handle(ClientLeft(session.client))


class _Session:
    """One client's; ``patience`` is the timer until it is forgotten, only while it is cut off."""

    __slots__ = ("client", "endpoint", "patience")

    def __init__(self, client: str, sessions: ClientSessions) -> None:
        self.client = client
        self.patience: asyncio.TimerHandle | None = None
        self.endpoint = Endpoint(
            on_message=lambda wire: sessions._on_message(self, wire),
            on_cut=lambda error: sessions._on_cut(self, error),
            on_fault=lambda error: sessions._on_fault(self, error),
            on_bye=lambda: sessions._forget(self, "it was closed"),
        )


def _count_of(told: Any, scheduler_id: str) -> int | None:
    """How many messages a client that comes back has received; None: of another session, or of none."""
    if told is None:
        return None
    if not (type(told) is list and len(told) == 2 and type(told[0]) is str and type(told[1]) is int and told[1] >= 0):
        raise BadRequestError("session is [id of the scheduler, number of messages received]")
    return int(told[1]) if told[0] == scheduler_id else None


def _deadline(session: _Session) -> float:
    return 0.0 if session.patience is None else session.patience.when()


def reject(stream: Stream, error: ProtocolError) -> None:
    """Tell a peer which rule it broke, and close; nothing more is received from it."""
    logger.warning("closing the connection with %s: %s", stream.peer.address, error)
    stream.set_message_handler(None)
    try:
        stream.write_message_nowait(error_reply(error, with_pickle=False))
    except CommClosedError:
        return
    asyncio.ensure_future(_close_flushed(stream))  # noqa: RUF006  (ends with the stream)


async def flushed(stream: Stream) -> None:
    """Wait until the last messages have left, but not for ever."""
    try:
        async with asyncio.timeout(FLUSH_TIMEOUT_S):
            await stream.flush()
    except (TimeoutError, CommClosedError):
        return  # it does not read any more; it will see the connection close


async def _close_flushed(stream: Stream) -> None:
    await flushed(stream)
    stream.close()
