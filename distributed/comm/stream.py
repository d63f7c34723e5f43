"""Our stream: bytes and messages over one socket (or TLS on it), on the running asyncio (or Tornado) loop.

It offers what handlers know from Tornado's IOStream (``closed``, ``close``, ``set_close_callback``, ``write``,
``read_bytes``) and, beside it, whole messages: `read_message` for one at a time, or `set_message_handler` to be called
for every message of a chunk at once, which is what makes it fast: one wake-up serves many messages, all that is written
in one turn of the loop leaves in one system call, and big frames are received where they will stay.

Not thread-safe: everything is called on the loop it was made on.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from distributed.comm.loans import LENT_NBYTES_MIN, Borrower, Lender
from distributed.comm.peer import Peer
from distributed.comm.sockets import Wire
from distributed.config import settings
from distributed.errors import CommClosedError, DistributedError, ProtocolError
from distributed.protocol.codec import Limits, encode, encode_plain
from distributed.protocol.framing import NOTHING, MessageDecoder
from distributed.protocol.serialize import Buffer
from distributed.units import KiB, MiB

__all__ = ["Peer", "Stream"]

CHUNK_NBYTES = 256 * KiB  # one recv; a message of 100 no-op tasks is 10 KiB
STRANGER_CHUNK_NBYTES = 256  # one recv before authentication, which needs 73 bytes in all
DIRECT_NBYTES_MIN = 64 * KiB  # more than this missing in a frame is received in place
PENDING_CHUNKS_MAX = 4  # received and read by nobody: then we stop receiving, and TCP slows the peer
DIRECT_CALLS_MAX = 32  # pieces of one frame in one turn; each is what the socket's buffer holds, some 100 KiB
UNSENT_NBYTES_HIGH = 4 * MiB  # from here `write` waits
READONLY_LIMITS = Limits(64 * KiB, 0, 0)  # of a message of who only looks: no frames
BUFFERS_PER_CALL = 64  # of sendmsg; IOV_MAX is 1024 on Linux, 16 is the least POSIX allows
FLUSH_COUNT = 24  # messages that wait for the end of the turn; more would keep the peer idle (measured: 10 to 30)
JOIN_NBYTES_MAX = 64 * KiB  # smaller buffers are copied together, cheaper than an iovec each


class Stream:
    """One connection.

    Args:
        sock: connected, or what is like it; becomes ours and non-blocking.
        peer: whom we talk to.
        is_stranger: the peer has not proven its role yet: little is received at once, no pickles; see `authenticated`.
        limits: bounds per message; None: the settings'.
    """

    def __init__(self, sock: Wire, peer: Peer, is_stranger: bool = False, limits: Limits | None = None) -> None:
        sock.setblocking(False)
        self.peer = peer
        self.error: DistributedError | None = None  # why it closed
        self.receives = 0  # how often bytes have come: it changes while the peer is not silent
        self._limits = limits or settings().limits
        self._chunk_nbytes = STRANGER_CHUNK_NBYTES if is_stranger else CHUNK_NBYTES
        self._unsent_max = settings().unsent_nbytes_max
        self._sock = sock
        self._pending: Callable[[], bool] | None = getattr(sock, "pending", None)
        self._loop = asyncio.get_running_loop()
        self._decoder = MessageDecoder(self._limits, not is_stranger)
        self._handler: Callable[[Any], object] | None = None
        self._reader: asyncio.Future[None] | None = None  # woken when more bytes came, or the stream closed
        self._close_callbacks: list[Callable[[], object]] = []
        self._owner_callbacks: list[Callable[[], object]] = []
        self._out: deque[Buffer] = deque()
        self._unsent = 0
        self._flushing = False  # a flush is due, at the end of this turn or when the socket can be written
        self._is_closed = False
        self._is_deaf = False  # the peer has left; what it said before is still to be read, and its end after that
        self._writing = False  # the loop watches for room in the socket
        self._drained: asyncio.Future[None] | None = None
        self._reading = True
        self._lender: Lender | None = None  # these two: see `share_memory`
        self._borrower: Borrower | None = None
        self._borrowing: asyncio.Future[list[BaseException | None]] | None = None  # lent frames are being read
        self._loop.add_reader(sock.fileno(), self._on_readable)
        self._look_for_pending()

    # ------------------------------------------------------------ state

    def closed(self) -> bool:
        """Whether the connection has ended, from either side."""
        return self._is_closed

    def close(self) -> None:
        """End the connection now; what was not sent is dropped. See `close_after_flush`."""
        self._close(CommClosedError(self.peer.address, "closed here"))

    async def close_after_flush(self) -> None:
        """Send what is waiting, then close."""
        try:
            await self.flush()
        except CommClosedError:
            return  # it closed first
        self.close()

    def set_close_callback(self, callback: Callable[[], object] | None) -> None:
        """Call `callback` once when the connection ends, at once if it has; None takes earlier ones back."""
        if callback is None:
            self._close_callbacks.clear()
        elif self.closed():
            self._loop.call_soon(callback)
        else:
            self._close_callbacks.append(callback)

    def add_close_callback(self, callback: Callable[[], object]) -> None:
        """As `set_close_callback`, for the owner of the stream: users of the stream cannot take it back."""
        if self.closed():
            self._loop.call_soon(callback)
        else:
            self._owner_callbacks.append(callback)

    def authenticated(self, peer: Peer, may_send_objects: bool, may_send_frames: bool | None = None) -> None:
        """The stranger is known now; `may_send_frames` None: who may not send objects sends no frames, either."""
        self.peer = peer
        self._chunk_nbytes = CHUNK_NBYTES
        has_frames = may_send_objects if may_send_frames is None else may_send_frames
        self._decoder.set_rights(may_send_objects, self._limits if has_frames else READONLY_LIMITS)

    @property
    def nbytes_unsent(self) -> int:
        """Bytes written and not yet taken: by the operating system, or by the peer what it is lent."""
        return self._unsent if self._lender is None else self._unsent + self._lender.nbytes

    def second_socket(self) -> socket.socket | None:
        """Another handle on what we write to, for `comm.shortcut`; None: nothing may be sent past this stream."""
        return self._sock.dup() if type(self._sock) is socket.socket else None

    def share_memory(self, lender: Lender | None, borrower: Borrower | None) -> None:
        """From now on big frames are lent to the peer, and borrowed from it; None: not in this direction."""
        self._lender, self._borrower = lender, borrower
        if lender is not None:
            self._loop.add_reader(lender.receipts, self._on_receipts)
        if borrower is not None:
            self._decoder.lent_nbytes_min = LENT_NBYTES_MIN
        if self.closed():
            self._end_sharing()

    # ------------------------------------------------------------ reading

    async def read_message(self) -> Any:
        """The next message.

        Raises:
            CommClosedError: the connection ended.
            ProtocolError: the peer broke the format; the connection is closed.
        """
        while (message := self._next_message()) is NOTHING:
            await self._wait_readable()
        return message

    async def read_bytes(self, nbytes: int) -> bytes:
        """The next `nbytes` bytes as they are, for what precedes messages; errors as `read_message`."""
        while (data := self._decoder.take(nbytes)) is None:
            await self._wait_readable()
        return data

    def set_message_handler(self, handler: Callable[[Any], object] | None) -> None:
        """Call `handler` for every message from now on, those already received first; None: back to `read_message`.

        Receives again if it was paused. A handler that raises ends the connection, since its messages would be lost.
        """
        self._handler = handler
        if handler is not None:
            self.resume_reading()
            self._loop.call_soon(self._deliver)

    def pause_reading(self) -> None:
        """Receive and deliver nothing until `resume_reading`: the peer is slowed down by TCP.

        Meanwhile nobody notices that the peer has left, unless something is written to it.
        """
        if self._reading and not self.closed() and self._borrowing is None:
            self._loop.remove_reader(self._sock.fileno())
        self._reading = False
        if self._is_deaf:  # nobody would notice its end
            self._close(CommClosedError(self.peer.address, "the other side closed it"))

    def resume_reading(self) -> None:
        """Receive again."""
        if not self._reading and not self.closed():
            if self._borrowing is None:
                self._loop.add_reader(self._sock.fileno(), self._on_readable)
            self._loop.call_soon(self._deliver)
            self._look_for_pending()
        self._reading = True

    def _next_message(self) -> Any:
        if isinstance(self.error, ProtocolError):
            raise self.error  # nothing after it can be trusted
        try:
            message = self._decoder.next_message()
        except ProtocolError as error:
            self._close(error)
            raise
        if message is NOTHING:
            self._borrow()
        return message

    async def _wait_readable(self) -> None:
        if self.closed():
            raise self.why_closed()
        if self._reader is not None:
            raise ProtocolError("two readers of one stream at the same time")
        self._reader = self._loop.create_future()
        try:
            self.resume_reading()
            await self._reader
        finally:
            self._reader = None

    def _on_readable(self) -> None:
        try:
            view = self._decoder.wanted()
            if view is not None and len(view) >= DIRECT_NBYTES_MIN:
                count = self._receive_frame(view)
            else:
                chunk = self._sock.recv(self._chunk_nbytes)
                count = len(chunk)
                if count:
                    self._decoder.feed(chunk)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._close(CommClosedError(self.peer.address, error.strerror or str(error)))
            return
        if count:
            self.receives += 1
            self._look_for_pending()
            self._deliver()
        else:
            self._close(CommClosedError(self.peer.address, "the other side closed it"))

    def _look_for_pending(self) -> None:
        """The loop sees what waits in the socket, not what was taken out of it and not handed to us."""
        if self._pending is not None and self._pending():
            self._loop.call_soon(self._on_pending)

    def _on_pending(self) -> None:
        if self._reading and not self.closed():
            self._on_readable()

    def _receive_frame(self, view: memoryview | None) -> int:
        """Receive into `view` and those after it while bytes are there; the size of the last piece, 0 at the end."""
        count = 0
        for _ in range(DIRECT_CALLS_MAX):  # then the loop gets a turn
            if view is None or len(view) < DIRECT_NBYTES_MIN:
                break
            try:
                count = self._sock.recv_into(view)
            except (BlockingIOError, InterruptedError):
                if not count:
                    raise
                break
            if not count:
                break
            self._decoder.filled(count)
            view = self._decoder.wanted()
        return count

    def _deliver(self) -> None:
        if self._reader is not None:
            if not self._reader.done():
                self._reader.set_result(None)
            return
        if self._handler is None:
            if self._decoder.nbytes_pending > PENDING_CHUNKS_MAX * self._chunk_nbytes:
                self.pause_reading()
            return
        next_message = self._decoder.next_message
        while self._handler is not None and self._reading:  # closing takes the handler away
            try:
                message = next_message()
            except ProtocolError as error:
                self._close(error)
                return
            if message is NOTHING:
                self._borrow()
                return
            try:
                self._handler(message)
            except Exception as error:
                reason = f"{type(error).__name__} while a message was handled"
                self._close(CommClosedError(self.peer.address, reason))
                raise

    # ------------------------------------------------------------ lent frames

    def _borrow(self) -> None:
        """Read what the peer has lent for the message in progress; what comes after it has to wait."""
        if self._borrower is not None and self._borrowing is None and (loans := self._decoder.loans()):
            self._borrowing = self._borrower.read_soon(loans, self._loop)
            self._borrowing.add_done_callback(self._on_borrowed)
            self._loop.remove_reader(self._sock.fileno())

    def _on_borrowed(self, reads: asyncio.Future[list[BaseException | None]]) -> None:
        self._borrowing = None
        if self._borrower is None:
            _ = reads.cancelled() or reads.exception()  # cancelled by closing
            return
        fault = self._borrower.fault(self.peer.address, reads.result()) or self._borrower.give_receipt()
        if fault is not None:
            self._close(fault)
            return
        self._decoder.loans_taken()
        if self._reading:
            self._loop.add_reader(self._sock.fileno(), self._on_readable)
        self._deliver()

    def _on_receipts(self) -> None:
        assert self._lender is not None
        try:
            if not self._lender.collect():
                self._loop.remove_reader(self._lender.receipts)
                if self._lender.nbytes:  # nobody will take it; and we may not be reading, so the socket may not tell
                    self._close(CommClosedError(self.peer.address, "the other side closed it"))
        except ProtocolError as error:
            self._close(error)
        self._tell_drained()

    def _end_sharing(self) -> None:
        if self._borrowing is not None:
            self._borrowing.cancel()
        if self._lender is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._lender.receipts)
            self._lender.close()
        if self._borrower is not None:
            self._borrower.close()
        self._lender = self._borrower = None

    # ------------------------------------------------------------ writing

    def write(self, data: Buffer) -> asyncio.Future[None]:
        """Send raw bytes; the future is done when the operating system has taken them all."""
        self.write_buffers([memoryview(data).cast("B")])
        flushed = asyncio.ensure_future(self.flush())
        flushed.add_done_callback(lambda done: done.cancelled() or done.exception())  # as Tornado: nobody has to wait
        return flushed

    def write_message_nowait(self, message: Any) -> None:
        """Queue one message, to leave at the end of this turn of the loop. Errors as `encode`, and CommClosedError."""
        self.write_encoded(encode(message, self._limits))

    def write_plain_nowait(self, message: Any) -> None:
        """`write_message_nowait` for messages of our own, see `encode_plain`."""
        self.write_encoded(encode_plain(message, self._limits))

    def write_encoded(self, buffers: list[Buffer]) -> None:
        """Queue one message that is encoded already: its header, then its frames. Errors as `write_buffers`."""
        if self._lender is not None and len(buffers) > 1:  # header and frames
            buffers = self._lender.lend(buffers)
        self.write_buffers(buffers)

    def write_buffers(self, buffers: list[Buffer]) -> None:
        """Queue encoded bytes, memoryviews flat; they must not change until sent.

        Raises:
            CommClosedError: the connection ended, or ends now because its peer has not read for too long.
        """
        if self._is_closed:
            raise self.why_closed()
        for buffer in buffers:
            size = len(buffer)
            if size:  # the socket takes 0 bytes of an empty one, for ever
                self._out.append(buffer)
                self._unsent += size
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        elif len(self._out) >= FLUSH_COUNT and not self._writing:
            self._flush()
        elif self.nbytes_unsent > self._unsent_max:
            error = CommClosedError(self.peer.address, f"{self.nbytes_unsent:,} bytes wait and the peer does not read")
            self._close(error)
            raise error

    async def drain(self) -> None:
        """Wait while more than 4 MiB are unsent, so that a slow peer slows us instead of filling memory.

        Raises:
            CommClosedError: the connection ended meanwhile.
        """
        while self.nbytes_unsent > UNSENT_NBYTES_HIGH:
            await self._wait_sent()
            if self.closed():
                raise self.why_closed()

    async def flush(self) -> None:
        """Wait until everything is handed to the operating system, and what was lent is taken.

        Raises:
            CommClosedError: the connection ended first.
        """
        while self.nbytes_unsent:
            await self._wait_sent()
        if self.closed():
            raise self.why_closed()

    async def _wait_sent(self) -> None:
        if self.closed():
            raise self.why_closed()
        if self._drained is None or self._drained.done():
            self._drained = self._loop.create_future()
        await asyncio.shield(self._drained)

    def _flush(self) -> None:
        if self.closed():
            return
        try:
            while self._out:
                self._send_some()
        except (BlockingIOError, InterruptedError):
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._sock.fileno(), self._flush)
        except OSError as error:
            self._is_deaf = isinstance(error, BrokenPipeError) and self._reading
            self._stop_writing()
            if not self._is_deaf:
                self._close(CommClosedError(self.peer.address, error.strerror or str(error)))
            return
        else:
            self._flushing = False
            self._stop_writing()
        self._tell_drained()

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._sock.fileno())

    def _tell_drained(self) -> None:
        if self._drained is not None and self.nbytes_unsent <= UNSENT_NBYTES_HIGH and not self._drained.done():
            self._drained.set_result(None)

    def _send_some(self) -> None:
        out = self._out
        if len(out) == 1:
            sent = self._sock.send(out[0])
        elif self._unsent <= JOIN_NBYTES_MAX:
            whole = b"".join(out)
            out.clear()
            out.append(whole)
            sent = self._sock.send(whole)
        else:
            sent = self._sock.sendmsg([out[i] for i in range(min(len(out), BUFFERS_PER_CALL))])
        self._unsent -= sent
        while sent:
            size = len(out[0])
            if sent < size:
                out[0] = memoryview(out[0])[sent:]
                return
            sent -= size
            out.popleft()

    # ------------------------------------------------------------ the end

    def why_closed(self) -> DistributedError:
        """What to raise for whoever still wants something of this stream."""
        if isinstance(self.error, CommClosedError):  # a fresh one: each raise has a traceback of its own
            torn = " in the middle of a message" if self._decoder.is_within_message() else ""
            return CommClosedError(self.error.address, self.error.reason + torn)
        return self.error or CommClosedError(self.peer.address, "closed")

    def _close(self, error: DistributedError) -> None:
        if self.closed():
            return
        self._is_closed = True
        self.error = error
        descriptor = self._sock.fileno()
        if not self._loop.is_closed():
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)
        if self._lender is not None or self._borrower is not None:
            with suppress(OSError):  # the peer shut it down first
                self._sock.shutdown(socket.SHUT_RDWR)  # at once, whoever else has the descriptor: see Borrower.fault
            self._end_sharing()
        self._sock.close()
        self._handler = None
        self._out.clear()
        self._unsent = 0
        if self._loop.is_closed():
            return  # nobody can be told any more
        for waiter in (self._reader, self._drained):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        for callback in (*self._owner_callbacks, *self._close_callbacks):
            self._loop.call_soon(callback)
        self._owner_callbacks.clear()
        self._close_callbacks.clear()

    def __repr__(self) -> str:
        return f"<Stream {self.peer.address} as {self.peer.role}{' closed' if self.closed() else ''}>"
