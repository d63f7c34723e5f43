"""Chunks of bytes to messages: finds the sentinel, allocates frames, says where the next bytes should go.

`MessageDecoder` is fed by a stream and does no I/O. Its states:

    HEADER   collecting bytes until the sentinel; at most ``limits.header_nbytes_max``
    FRAMES   filling the buffers that the header declared; some may be lent, and are read elsewhere
"""

from __future__ import annotations

import mmap
from typing import Any, Final

from distributed.errors import MessageTooLargeError, ProtocolError
from distributed.protocol.codec import SENTINEL, HeaderReader, Limits, decode, unescape
from distributed.protocol.serialize import BUFFER_NBYTES_MIN, Buffer
from distributed.units import MiB

__all__ = ["LOAN_NBYTES", "NOTHING", "MessageDecoder"]

# Touching new memory is what receiving costs most: loopback TCP fills small new pages at 1.2 GB/s, huge ones at 2.7.
HUGE_NBYTES = 2 * MiB  # a huge page of x86 and of most ARM; others only lose a little
MAPPED_NBYTES_MIN = 2 * HUGE_NBYTES  # smaller frames come from malloc's own, used memory
MAPPED_FLAGS = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)  # shared memory gets no huge pages

ALIGNMENT_NBYTES = 64  # of buffers: a line of the cache, and the widest vector instructions; malloc gives 16
LOAN_NBYTES = 8  # what stands for a frame that is lent: an address


class _Nothing:
    def __repr__(self) -> str:
        return "NOTHING"


NOTHING: Final = _Nothing()  # None is a message


class _Place(bytearray):
    """What says where `frame` is."""

    frame: memoryview


class MessageDecoder:
    """Turns received bytes into messages.

    Args:
        limits: bounds per message, checked before allocation.
        may_send_objects: whether this peer may send pickles at all.

    Attributes:
        lent_nbytes_min: frames of this size and more are lent: in the place of each stand `LOAN_NBYTES` bytes that say
            where it is. Whoever reads them there asks `loans`. Bytes of zero mean that the frame follows after all.
            None: no frame is lent.
    """

    __slots__ = (
        *("_data", "_frames", "_header", "_headers", "_loans", "_position", "_scan", "_views"),
        *("lent_nbytes_min", "limits"),
    )

    def __init__(self, limits: Limits, may_send_objects: bool = True) -> None:
        self.limits = limits
        self._headers = HeaderReader(limits, may_send_objects)
        self._data: bytes | bytearray = b""
        self._position = 0  # of the first byte not yet used
        self._scan = 0  # no sentinel begins before this position
        self._header = b""
        self._frames: list[Buffer] | None = None  # only in FRAMES
        self._views: list[memoryview] = []  # what is still to be filled, last one first; empty in HEADER
        self._loans: list[tuple[memoryview, memoryview]] = []  # where a frame is, and where it is to be; not in HEADER
        self.lent_nbytes_min: int | None = None

    @property
    def nbytes_pending(self) -> int:
        """Bytes received and not yet part of a returned message (frames in progress not counted)."""
        return len(self._data) - self._position

    def set_rights(self, may_send_objects: bool, limits: Limits) -> None:
        """Once the peer is known: whether it may send pickles, and how much."""
        self.limits = limits
        self._headers.set_rights(may_send_objects, limits)

    def is_within_message(self) -> bool:
        """Whether the stream may not end here: a message has begun and is not complete."""
        return self._frames is not None or self.nbytes_pending > 0

    def feed(self, chunk: bytes) -> None:
        """Take what was received."""
        if self._position == len(self._data):
            self._data, self._position, self._scan = chunk, 0, 0
            return
        if isinstance(self._data, bytes):
            self._data = bytearray(memoryview(self._data)[self._position :])
        else:
            del self._data[: self._position]
        self._scan -= self._position
        self._position = 0
        self._data += chunk

    def take(self, nbytes: int) -> bytes | None:
        """The next `nbytes` raw bytes, for what precedes messages; None when there are not enough."""
        if self.nbytes_pending < nbytes:
            return None
        start, self._position = self._position, self._position + nbytes
        self._scan = max(self._scan, self._position)
        return bytes(self._data[start : self._position])

    def next_message(self) -> Any:
        """The next complete message, else NOTHING.

        Raises:
            ProtocolError: the stream is not what it should be; nothing after it can be trusted, so close it.
        """
        if self._frames is None:
            header = self._next_header()
            if header is None:
                return NOTHING
            message, lengths = self._headers.read(header)
            if not lengths:
                return message
            try:
                self._frames = [_allocate(nbytes) for nbytes in lengths]
            except (MemoryError, OSError) as error:
                raise ProtocolError(f"no memory for a message of {sum(lengths):,} bytes: {error}") from None
            self._header = header
            self._views = [self._place(memoryview(frame)) for frame in reversed(self._frames) if len(frame)]
        while self._views and self.nbytes_pending:
            self._fill_from_pending()
        if self._views or self._loans:
            return NOTHING
        header, frames = self._header, self._frames
        self._header, self._frames = b"", None
        return decode(header, frames)

    def wanted(self) -> memoryview | None:
        """Where the next received bytes should go directly (then call `filled`), or None: `feed` them."""
        return self._views[-1] if self._views else None

    def filled(self, nbytes: int) -> None:
        """`nbytes` were received into the view that `wanted` gave."""
        view = self._views[-1]
        if nbytes < len(view):
            self._views[-1] = view[nbytes:]
            return
        self._views.pop()
        place = view.obj
        if type(place) is _Place:
            if any(place):
                self._loans.append((memoryview(place), place.frame))
            else:
                self._views.append(place.frame)

    def loans(self) -> list[tuple[memoryview, memoryview]]:
        """What has to be read elsewhere before the message is complete: pairs of where it is, and where it has to go.

        Empty until everything else is there. Then call `loans_taken`.
        """
        return [] if self._views else self._loans

    def loans_taken(self) -> None:
        """What `loans` told has been read; `next_message` gives the message."""
        self._loans = []

    def _place(self, frame: memoryview) -> memoryview:
        """Where the bytes go that stand for `frame` on the wire."""
        if self.lent_nbytes_min is None or len(frame) < self.lent_nbytes_min:
            return frame
        place = _Place(LOAN_NBYTES)
        place.frame = frame
        return memoryview(place)

    def _next_header(self) -> bytes | None:
        end = self._data.find(SENTINEL, self._scan)
        limit = self.limits.header_nbytes_max
        size = (len(self._data) if end < 0 else end + len(SENTINEL)) - self._position
        if size > limit:
            raise MessageTooLargeError("message header", size, limit, "header_nbytes_max")
        if end < 0:
            self._scan = max(self._position, len(self._data) - 1)  # the last byte may be half a sentinel
            return None
        header = bytes(self._data[self._position : end])
        self._position = self._scan = end + len(SENTINEL)
        return unescape(header)

    def _fill_from_pending(self) -> None:
        view = self._views[-1]
        count = min(len(view), self.nbytes_pending)
        view[:count] = memoryview(self._data)[self._position : self._position + count]
        self._position += count
        self._scan = self._position
        self.filled(count)


def _allocate(nbytes: int) -> Buffer:
    if nbytes >= MAPPED_NBYTES_MIN and MAPPED_FLAGS:
        # Linux puts only mappings of whole huge pages where huge pages begin: 8 MB arrive 1.5 times faster there. The
        # last one is used if that wastes less than half of it; what is mapped and never touched costs nothing.
        pages = mmap.mmap(-1, -(-nbytes // HUGE_NBYTES) * HUGE_NBYTES, flags=MAPPED_FLAGS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            pages.madvise(mmap.MADV_HUGEPAGE, 0, (nbytes + HUGE_NBYTES // 2) // HUGE_NBYTES * HUGE_NBYTES)
        return memoryview(pages)[:nbytes]
    if nbytes < BUFFER_NBYTES_MIN:
        return memoryview(bytearray(nbytes)) if nbytes else b""
    import ctypes  # lazy: 3 ms that need not stand before the first task

    memory = bytearray(nbytes + ALIGNMENT_NBYTES)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % ALIGNMENT_NBYTES
    return memoryview(memory)[start : start + nbytes]
