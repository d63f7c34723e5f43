"""What the workers do for `distributed.recipes.hashing`: read files they see themselves, hash content they are sent."""

from __future__ import annotations

import hashlib
import os
import socket
from collections import OrderedDict
from typing import Any

__all__ = ["UNSEEN", "boot_id", "digest_files", "digest_of", "digest_part"]

UNSEEN = "not the same file here"
CHUNK_NBYTES = 1024 * 1024
UNFINISHED_MAX = 100  # hashes of big files that wait for their next part; a client that died leaves its own behind

Fingerprint = tuple[bytes, int, int, int, int]  # path, device, inode, bytes, time of change in ns

_unfinished: OrderedDict[str, tuple[int, Any]] = OrderedDict()  # by token: number of the next part, hash


def boot_id() -> str:
    """Names this boot of this machine; '' where the system does not tell, and then no file is ever the same."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def digest_files(
    algorithm: str, boot: str, files: list[Fingerprint]
) -> tuple[str, list[tuple[str | None, str | None]]]:
    """Who did it, and per file ``(digest, None)`` or ``(None, reason)``; `UNSEEN` if it is not the caller's file."""
    is_here = bool(boot) and boot == boot_id()
    return _process(), [_digest_file(algorithm, file) if is_here else (None, UNSEEN) for file in files]


def digest_of(algorithm: str, content: bytes) -> tuple[str, str]:
    """Who did it, and the digest of `content`."""
    return _process(), hashlib.new(algorithm, content).hexdigest()


def digest_part(algorithm: str, token: str, number: int, part: bytes) -> tuple[str, str | None]:
    """Add part `number` (from 0) of a content; an empty part ends it and gives the digest.

    Raises:
        LookupError: this process does not have the parts before: it has been started again since.
    """
    expected, hasher = (0, hashlib.new(algorithm)) if number == 0 else _unfinished.pop(token, (-1, None))
    if expected != number:
        raise LookupError(f"part {number} of {token} came, but the parts before it are not here")
    if not part:
        return _process(), hasher.hexdigest()
    hasher.update(part)
    _unfinished[token] = (number + 1, hasher)
    if len(_unfinished) > UNFINISHED_MAX:
        _unfinished.popitem(last=False)
    return _process(), None


def _digest_file(algorithm: str, file: Fingerprint) -> tuple[str | None, str | None]:
    path, device, inode, _, _ = file
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) != (device, inode):
                return None, UNSEEN
            hasher = hashlib.new(algorithm)
            while chunk := stream.read(CHUNK_NBYTES):
                hasher.update(chunk)
    except OSError:
        return None, UNSEEN  # not our tree, vanished, or not for us: the caller finds out when it reads it
    return hasher.hexdigest(), None


def _process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
