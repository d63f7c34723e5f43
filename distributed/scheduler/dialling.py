"""The scheduler's side of `comm.dialled`: it listens where only its own Main can reach it, and dials the others.

At each address that it dials a few streams wait, until somebody there wants to talk to this scheduler; then the stream
is served as if it had been accepted, and another takes its place. A worker that starts anew listens elsewhere: its
nanny says where, on such a stream (op ``dial_worker``). Only the port counts of that: the host is the one at which we
have dialled the nanny.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Any

from distributed.comm.addresses import parse_address
from distributed.comm.connect import connect_address
from distributed.comm.peer import Peer
from distributed.comm.stream import Stream
from distributed.errors import BadRequestError, DistributedError
from distributed.security.keys import Keyring
from distributed.security.permissions import CLIENT, WORKER, may_send_objects

__all__ = ["Dialler"]

logger = logging.getLogger(__name__)

STREAMS = 2  # that wait at each address: a worker's second one is for the client of its tasks
CONNECT_S = 3.0
PAUSE_S_FIRST, PAUSE_S_MAX = 0.05, 1.0  # between two attempts
WORD_S = 10.0  # how often it is said that an address does not answer
WORKERS_MAX = 10_000


class Dialler:
    """Keeps streams open at other servers.

    Args:
        on_stream: serves a stream.
        keys: who we are at workers; None: this user's.
    Attributes:
        address: under which servers that were dialled find us.
    """

    def __init__(self, on_stream: Callable[[Stream], object], keys: Keyring | None) -> None:
        self.address = f"dialled://{secrets.token_hex(16)}"
        self._on_stream = on_stream
        self._keys = keys
        self._lines: dict[str, list[asyncio.Task[None]]] = {}  # by address
        self._worker_of: dict[str, str] = {}  # address by nanny

    def dial(self, address: str, keys: Keyring | None = None, roles: tuple[str, ...] = (CLIENT, WORKER)) -> None:
        """Serve whoever at `address` connects to us, from now on and again after breaks. No error if it is known.

        Args:
            keys: who we are there; None: who we are at workers.
            roles: what those there may be for us.
        """
        address = str(parse_address(address))
        if address not in self._lines:
            keep = [self._keep(address, keys or self._keys, roles) for _ in range(STREAMS)]
            self._lines[address] = [asyncio.ensure_future(line) for line in keep]

    def hang_up(self, address: str) -> None:
        """Dial it no more; streams in use stay. Unknown ones are no error."""
        for line in self._lines.pop(str(parse_address(address)), ()):
            line.cancel()

    def dial_worker(self, stream: Any, nanny: str, address: str) -> str:
        """The op: the worker of `nanny` listens at `address` now; who says so was dialled by us."""
        dialled, place = stream.peer.address, parse_address(address)
        if dialled not in self._lines or not isinstance(nanny, str):
            raise BadRequestError("dial_worker: only whom this scheduler has dialled may say whom to dial")
        if place.scheme in ("tcp", "tls"):
            host = parse_address(dialled).host  # not any other that is named
            place = place._replace(host=host)
        if nanny not in self._worker_of and len(self._worker_of) >= WORKERS_MAX:
            raise BadRequestError("dial_worker: there are too many workers")
        old = self._worker_of.get(nanny)
        self._worker_of[nanny] = str(place)
        if old is not None and old != str(place):
            self.hang_up(old)
        self.dial(str(place))
        return "OK"

    def close(self) -> None:
        """Dial nobody any more."""
        for address in list(self._lines):
            self.hang_up(address)

    async def _keep(self, address: str, keys: Keyring | None, roles: tuple[str, ...]) -> None:
        """Have one stream wait there, always."""
        pause_s, said_at = PAUSE_S_FIRST, -WORD_S
        now = asyncio.get_running_loop().time
        while True:
            try:
                stream = await connect_address(address, CONNECT_S, None, keys, patient=False)
                await self._wait_at(stream, address, roles)
            except DistributedError as error:
                if now() - said_at >= WORD_S:
                    said_at = now()
                    logger.warning("dialling %s: %s", address, error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSE_S_MAX)
            else:
                pause_s, said_at = PAUSE_S_FIRST, -WORD_S

    async def _wait_at(self, stream: Stream, address: str, roles: tuple[str, ...]) -> None:
        """Until somebody there wants this stream; then it is served.

        Raises:
            DistributedError: it does not wait there, or has closed.
        """
        try:
            name = parse_address(self.address).host
            stream.write_message_nowait({"op": "serve_scheduler", "name": name})
            asked = await stream.read_message()
            role = asked.get("role") if type(asked) is dict else None
            if role not in roles:
                raise BadRequestError(f"{address} answers {asked!r:.200}")
        except BaseException:
            stream.close()
            raise
        stream.authenticated(Peer(address, role), may_send_objects(role))
        self._on_stream(stream)
