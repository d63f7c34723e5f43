"""Frames that stay in their sender's memory until the receiver, a process of the same machine, has read them there.

In place of a frame of `LENT_NBYTES_MIN` and more its address is sent, 8 bytes, little-endian; zero, if only the sender
can read it, and then the frame. The receiver allocates as for any frame, copies, and writes one byte per message into
the sender's pipe of receipts; until then the sender holds the frame, and counts it as unsent. The pipe is no part of
the stream, since a stream may not be read for a while.

    sender                                       receiver
    header  C1 00  address* and small frames ──▶ allocate, read the sender's memory, check that it is still there
    lets go of the frames ◀── a byte in the pipe

Nothing here outlives a process: there are no segments, and no files. How two sides agree is in `same_host`.
"""

from __future__ import annotations

import asyncio
import functools
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from distributed.comm.memory import address_of, read_memory
from distributed.errors import CommClosedError, DistributedError, ProtocolError
from distributed.protocol.serialize import Buffer
from distributed.units import KiB, MiB

__all__ = ["LENT_NBYTES_MIN", "Borrower", "Lender"]

LENT_NBYTES_MIN = 256 * KiB  # from about here on it is faster; at 1 MiB by 1.6, at 64 MiB by 2 (docs/decisions/0019)
READ_HERE_NBYTES_MAX = 1 * MiB  # read at once, on the loop: 0.1 ms, less than receiving it would take there
PIECE_NBYTES = 8 * MiB  # read by one thread at a time; four huge pages, some 2 ms
THREADS_MAX = 4  # two bring twice the bandwidth of one here, three no more
RECEIPTS_PER_READ = 4096
_ADDRESS = struct.Struct("<Q")
NOT_LENT = bytes(_ADDRESS.size)


class Lender:
    """What one stream has lent to its peer.

    Args:
        receipts: the reading end of a pipe, non-blocking; becomes ours.

    Attributes:
        nbytes: lent, and not yet taken.
    """

    def __init__(self, receipts: int) -> None:
        self.nbytes = 0
        self.receipts = receipts
        self._messages: deque[tuple[list[Buffer], int]] = deque()  # frames and their size, oldest first

    def lend(self, buffers: list[Buffer]) -> list[Buffer]:
        """The header and frames of a message, with addresses in place of the big frames."""
        lent: list[Buffer] = []
        sent = [buffers[0]]
        for frame in buffers[1:]:
            if len(frame) < LENT_NBYTES_MIN:
                sent.append(frame)
            elif can_be_read(address := address_of(frame)):
                sent.append(_ADDRESS.pack(address))
                lent.append(frame)
            else:
                sent += [NOT_LENT, frame]
        if lent:
            nbytes = sum(map(len, lent))
            self._messages.append((lent, nbytes))
            self.nbytes += nbytes
        return sent

    def collect(self) -> bool:
        """Let go of what the peer has taken; False: it will give no more receipts.

        Raises:
            ProtocolError: more receipts than messages.
        """
        try:
            count = len(os.read(self.receipts, RECEIPTS_PER_READ))
        except BlockingIOError:
            return True
        if count > len(self._messages):
            raise ProtocolError("the peer gave a receipt for what it was not lent")
        for _ in range(count):
            self.nbytes -= self._messages.popleft()[1]
        return count > 0

    def close(self) -> None:
        """Let go of everything. The stream is shut down before, by which a peer that still reads knows."""
        self._messages.clear()
        self.nbytes = 0
        os.close(self.receipts)


class Borrower:
    """Reads what the peer of one stream has lent.

    Args:
        sock: the stream's, not ours to close.
        pid: process of the peer.
        pidfd: the same; becomes ours. A number may be given to another process, this one never is.
        receipts: the writing end of the peer's pipe, non-blocking; becomes ours.
    """

    def __init__(self, sock: socket.socket, pid: int, pidfd: int, receipts: int) -> None:
        self._pid = pid
        self._pidfd = pidfd
        self._receipts = receipts
        self._poll = select.poll()
        self._poll.register(pidfd, select.POLLIN)  # it has ended
        self._poll.register(sock.fileno(), select.POLLRDHUP)  # it has closed the stream

    def read_soon(
        self, loans: Sequence[tuple[memoryview, memoryview]], loop: asyncio.AbstractEventLoop
    ) -> asyncio.Future[list[BaseException | None]]:
        """Fill the second of each pair from the address in the first; the future has the errors, see `fault`."""
        nbytes = sum(len(view) for _, view in loans)
        pieces = [
            (address + start, view[start : start + PIECE_NBYTES])
            for (address,), view in ((_ADDRESS.unpack(place), view) for place, view in loans)
            for start in range(0, len(view), PIECE_NBYTES)
        ]
        if nbytes <= READ_HERE_NBYTES_MAX:
            read = loop.create_future()
            read.set_result([self._read_now(address, view) for address, view in pieces])
            return read
        readers = _readers()
        reads = [loop.run_in_executor(readers, read_memory, self._pid, address, view) for address, view in pieces]
        return asyncio.gather(*reads, return_exceptions=True)

    def _read_now(self, address: int, view: memoryview) -> BaseException | None:
        try:
            read_memory(self._pid, address, view)
        except OSError as error:
            return error
        return None

    def fault(self, address: str, errors: Sequence[BaseException | None]) -> DistributedError | None:
        """Why what was read from the peer at `address` cannot be used; None: it can.

        A peer lets go of what it lends only when it has shut down the stream, or has ended. So if neither has happened
        *after* reading, what was read is what it sent.
        """
        if self._poll.poll(0):
            return CommClosedError(address, "the other side closed it")
        error = next((error for error in errors if error is not None), None)
        if error is not None:
            return ProtocolError(f"{address} lent memory that cannot be read: {error}")
        return None

    def give_receipt(self) -> DistributedError | None:
        """Tell the peer that one message was read; what is wrong with a peer that does not want to know."""
        try:
            os.write(self._receipts, b"\0")
        except BlockingIOError:
            return ProtocolError("the peer lends and takes no receipts")
        except BrokenPipeError:
            return None  # it closes; the stream will tell
        return None

    def close(self) -> None:
        """No more is read."""
        os.close(self._pidfd)
        os.close(self._receipts)


def can_be_read(address: int) -> bool:
    """Whether others could read our memory there: not that of devices (pinned for a GPU, say), which only we can."""
    try:
        read_memory(os.getpid(), address, memoryview(bytearray(1)))
    except OSError:
        return False
    return True


@functools.cache
def _readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(THREADS_MAX, os.cpu_count() or 1), "read-memory")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_readers.cache_clear)  # threads do not cross a fork
