"""Small messages that leave at once, from whichever thread has them, past the loop that reads their stream.

Waking a loop costs more than sending: a call that is alone goes straight to the socket, and so does its answer. The
stream must have no other writer, and whoever uses this holds one lock for `send` and all writes to the stream.
"""

from __future__ import annotations

from typing import Any

from distributed.comm.stream import Stream
from distributed.protocol.codec import encode_plain
from distributed.protocol.serialize import Buffer

__all__ = ["Shortcut"]


class Shortcut:
    """The way past the loop of `stream`; use it and write to the stream under one lock."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._socket = stream.second_socket()  # our own handle: the loop may close the other at any time

    def send(self, message: Any) -> Buffer | None:
        """Send `message` now, from any thread, if it is small and nothing waits before it.

        Returns:
            What is left and has to be written to the stream, on its loop, before anything else; None: nothing.
        Raises:
            UnencodableError: it cannot be sent.
        """
        (data, *frames) = encode_plain(message)
        assert not frames  # big parts go over the loop
        return self.send_encoded(data)

    def send_encoded(self, data: Buffer) -> Buffer | None:
        """As `send`, of a message that is encoded already."""
        socket = self._socket
        if socket is None or self._stream.nbytes_unsent:
            return data
        try:
            sent = socket.send(data)
        except OSError:  # full, or broken: the loop finds out which
            return data
        return None if sent == len(data) else memoryview(data)[sent:]

    def close(self) -> None:
        """The stream has closed."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close()
