"""The memory of another process of this machine, read without its help. Linux only; elsewhere `peer_of` knows nobody.

The kernel asks for what a debugger would need: the same user, no sandbox between the two, and a system that lets
processes of one user look at each other (``kernel.yama.ptrace_scope`` 0). Whoever wants to read finds out by trying.
"""

from __future__ import annotations

import functools
import os
import socket
import struct
import sys
from typing import Any

from distributed.protocol.serialize import Buffer

__all__ = ["address_of", "peer_of", "prepare", "read_memory"]

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


def peer_of(sock: socket.socket) -> tuple[int, int] | None:
    """Process id and user id at the other end of a unix socket, as the kernel vouches for them.

    None: it cannot be told, or the process is in a pid namespace that we do not see.
    """
    if not sys.platform.startswith("linux") or sock.family != socket.AF_UNIX:
        return None
    pid, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return (pid, uid) if pid > 0 else None


def address_of(buffer: Buffer) -> int:
    """Where the first byte of a contiguous buffer lies. It stays there as long as somebody holds the buffer."""
    library = _library()
    described = library.Description()
    library.get(library.Object(buffer), library.reference(described), 0)
    try:
        return int(described.address or 0)
    finally:
        library.release(library.reference(described))


def read_memory(pid: int, address: int, into: memoryview) -> None:
    """Fill `into` from the memory of process `pid`. Releases the interpreter meanwhile, so call it in a thread.

    Raises:
        OSError: no such process, not allowed, or nothing lies there.
    Cost: one copy. 4 GB/s into new huge pages, 7 into used ones, twice that in two threads (docs/decisions/0019).
    """
    library = _library()
    target, done, nbytes = address_of(into), 0, len(into)
    while done < nbytes:
        local = library.Piece(target + done, nbytes - done)
        remote = library.Piece(address + done, nbytes - done)
        count = library.read(pid, library.reference(local), 1, library.reference(remote), 1, 0)
        if count <= 0:
            number = library.errno() if count else 0
            raise OSError(number, os.strerror(number) if number else "nothing was read")
        done += count


def prepare() -> None:
    """Do now what the first use of the others would do, for a process that is about to be forked."""
    _library()


class _Library:
    """What `ctypes` needs to know of the four C functions."""

    def __init__(self) -> None:
        import ctypes  # lazy: 3 ms that need not stand before the first task

        class Description(ctypes.Structure):  # Py_buffer
            _fields_ = (
                ("address", ctypes.c_void_p),
                ("owner", ctypes.c_void_p),
                ("nbytes", ctypes.c_ssize_t),
                ("rest", ctypes.c_ssize_t * 12),  # more than the rest of it: ints and pointers
            )

        class Piece(ctypes.Structure):  # struct iovec
            _fields_ = (("address", ctypes.c_void_p), ("nbytes", ctypes.c_size_t))

        self.Description: Any = Description
        self.Piece: Any = Piece
        self.Object: Any = ctypes.py_object
        self.reference: Any = ctypes.byref
        self.errno: Any = ctypes.get_errno
        self.get: Any = ctypes.pythonapi.PyObject_GetBuffer
        self.get.argtypes = [ctypes.py_object, ctypes.c_void_p, ctypes.c_int]
        self.release: Any = ctypes.pythonapi.PyBuffer_Release
        self.release.argtypes, self.release.restype = [ctypes.c_void_p], None
        self.read: Any = ctypes.CDLL(None, use_errno=True).process_vm_readv
        many = ctypes.c_ulong
        self.read.argtypes = [ctypes.c_int, ctypes.c_void_p, many, ctypes.c_void_p, many, many]
        self.read.restype = ctypes.c_ssize_t


@functools.cache
def _library() -> _Library:
    return _Library()
