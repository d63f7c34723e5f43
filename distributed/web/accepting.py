"""Taking connections for an HTTP server; when there are no descriptors left it rests, instead of trying for ever."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Any

from tornado.ioloop import IOLoop

from distributed.comm.connect import ACCEPT_REST_S, OUT_OF_RESOURCES

__all__ = ["Accepting"]

logger = logging.getLogger(__name__)

AT_ONCE_MAX = 64  # then the loop gets a turn


class Accepting:
    """One listening socket, from now on.

    Args:
        take: called with each new connection, and its address.
    """

    def __init__(self, listening: socket.socket, take: Callable[[socket.socket, Any], object]) -> None:
        self._listening = listening
        self._take = take
        self._loop = IOLoop.current()
        self._resting: object | None = None
        self._has_told = False
        self._loop.add_handler(listening, self._on_ready, IOLoop.READ)

    def stop(self) -> None:
        """Take no more; the socket is the caller's to close."""
        if self._resting is None:
            self._loop.remove_handler(self._listening)
        else:
            self._loop.remove_timeout(self._resting)

    def _on_ready(self, listening: socket.socket, events: int) -> None:
        for _ in range(AT_ONCE_MAX):
            try:
                connection, address = listening.accept()
            except OSError as error:  # nobody is left who waits, or he has gone, or there are no descriptors
                if error.errno in OUT_OF_RESOURCES:
                    self._rest(error)
                return
            self._take(connection, address)

    def _rest(self, error: OSError) -> None:
        """Who connects waits in the backlog. Connections of strangers have a time limit, so it is over soon."""
        self._loop.remove_handler(self._listening)
        self._resting = self._loop.call_later(ACCEPT_REST_S, self._go_on)
        if not self._has_told:
            self._has_told = True
            logger.warning("connections have to wait: %s (told once)", error.strerror)

    def _go_on(self) -> None:
        self._resting = None
        self._loop.add_handler(self._listening, self._on_ready, IOLoop.READ)
