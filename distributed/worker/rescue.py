"""Data that was put on a worker and has no recipe: where it lies, told so that it can outlive the process.

A process whose task cannot be stopped is ended by its nanny. What was computed there is computed again; what a client
scattered there would be lost, and a process that holds the interpreter cannot help. So it says beforehand, in a log,
where that data lies, and its nanny takes it out of the stopped process before it ends that. The next life maps it.

    log:     msgpack, one entry after the other, written with one system call each
             ["put", key, [frame, ...]]         frame: bytes, if small; else [address, length]
             ["file", key, path, parts, plain]  it was spilled, see `distributed.worker.spill`
             ["drop", keys]
    folder:  a file for each value, as `spill` writes them; `index`: msgpack, {key: [name, parts, plain]}

What the log names is there whenever the process is stopped: it is told after it was kept, and its end before it goes.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
from collections.abc import Iterable
from typing import Any

import msgpack

from distributed.comm.memory import address_of, read_memory
from distributed.protocol.serialize import Serialized, payload_nbytes
from distributed.worker.spill import ALIGNMENT, Spilled, SpillReadError
from distributed.worker.store import Packed, Store

__all__ = ["RescueLog", "load_rescued", "log_path", "rescue"]

logger = logging.getLogger(__name__)

INDEX_NAME = "index"
INLINE_NBYTES = 1024  # frames up to that are in the log itself; an address costs 2 us and 14 bytes
LOG_NBYTES_MIN = 1024 * 1024  # a shorter log is not written anew
LOG_GROWTH = 4  # a log so many times as long as it was when written anew is written anew
PIECE_NBYTES = 64 * 1024 * 1024  # read from another process with one system call


def log_path(running_path: str) -> str:
    """Where the log of a worker lies."""
    return f"{running_path}.scattered"


class RescueLog:
    """Written by the worker, from the first value on. Loop thread, but for `spilled`.

    Args:
        running_path: of the file of what runs, beside which it lies; None: nothing is told, nobody would read it.
    Cost: 10 us per call, and 1 us per key; a look at an empty dict for workers onto which nothing is scattered.
    """

    def __init__(self, running_path: str | None) -> None:
        self.keys: dict[str, Packed | Spilled] = {}
        self._path = None if running_path is None else log_path(running_path)
        self._file = -1
        self._nbytes = self._nbytes_before = 0

    def put(self, values: dict[str, Packed], store: Store) -> None:
        """Those of `values` that `store` keeps are told; one that was loaded and has no payload any more cannot be."""
        if self._path is None or not values:
            return
        if self._file < 0:
            self._file = self._open(self._path)
        told = {key: value for key, value in values.items() if store.keeps(key, value) and value.payload is not None}
        self.keys.update(told)
        self._write(map(_entry, told.items()))

    def spilled(self, key: str, spilled: Spilled) -> None:
        """This one is about to lie in a file, and in memory no more."""
        if key in self.keys:
            self.keys[key] = spilled
            self._write([_entry((key, spilled))])

    def drop(self, keys: Iterable[str]) -> None:
        """These are about to go; others than those told are no matter."""
        if self.keys and (known := [key for key in keys if self.keys.pop(key, None) is not None]):
            self._write([["drop", known]])

    def close(self) -> None:
        """The process ends in good order: there is nothing to rescue."""
        self.keys.clear()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, entries: Iterable[list[Any]]) -> None:
        if self._file < 0:
            return
        if self._nbytes > max(LOG_NBYTES_MIN, LOG_GROWTH * self._nbytes_before):
            self._write_anew()
            return
        data = b"".join(map(msgpack.packb, entries))
        try:
            os.write(self._file, data)
        except OSError as error:  # without a log the data is as safe as it would be without a nanny
            logger.warning("scattered data will not survive a killed process: %s", error)
            self.close()
        self._nbytes += len(data)

    @staticmethod
    def _open(path: str) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _write_anew(self) -> None:
        """All that is kept, and nothing else, in a new file in the place of the old one."""
        assert self._path is not None
        old, path = self._file, self._path + ".new"
        self._file = self._open(path)
        os.close(old)
        self._nbytes = 0
        self._write(map(_entry, list(self.keys.items())))
        self._nbytes_before = self._nbytes
        os.replace(path, self._path)


def _entry(kept: tuple[str, Packed | Spilled]) -> list[Any]:
    key, value = kept
    if isinstance(value, Spilled):
        return ["file", key, value.path, value.parts, value.is_plain]
    payload = value.payload
    frames = payload.frames if isinstance(payload, Serialized) else [payload]
    return ["put", key, list(map(_place, frames)), not isinstance(payload, Serialized)]


def _place(frame: Any) -> Any:
    nbytes = memoryview(frame).nbytes
    return bytes(frame) if nbytes <= INLINE_NBYTES else [address_of(frame), nbytes]


# ---------------------------------------------------------------- the nanny


def rescue(pid: int, log_path: str, folder: str) -> list[str]:
    """Take what the log names out of the stopped process `pid`, into `folder`; the keys. Blocks: 1 s for some GB.

    What cannot be read stays out, with a line in our log; what the worker was about to write may be missing.

    Raises:
        OSError: `folder` takes no more.
    """
    index: dict[str, list[Any]] = {}
    for key, entry in _read_log(log_path).items():
        path = os.path.join(folder, str(len(index)))
        try:
            if entry[0] == "file":
                os.link(entry[2], path)
                parts = entry[3]
            else:
                parts = _copy_frames(pid, entry[2], path)
        except OSError as error:
            logger.warning("the data of %s could not be rescued: %s", key, error)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            continue
        index[key] = [os.path.basename(path), parts, entry[-1]]
    with open(os.path.join(folder, INDEX_NAME), "wb") as file:
        file.write(msgpack.packb(index))
    return list(index)


def _read_log(path: str) -> dict[str, list[Any]]:
    """The newest entry of every key that is kept."""
    kept: dict[str, list[Any]] = {}
    try:
        with open(path, "rb") as file:
            for entry in msgpack.Unpacker(file, strict_map_key=False):  # it ends before an entry that is cut short
                if entry[0] == "drop":
                    for key in entry[1]:
                        kept.pop(key, None)
                else:
                    kept[entry[1]] = entry
    except FileNotFoundError:
        return {}
    return kept


def _copy_frames(pid: int, frames: list[Any], path: str) -> list[list[int]]:
    """Write the frames to a file; where each of them lies there."""
    parts, start = [], 0
    for frame in frames:
        nbytes = len(frame) if isinstance(frame, bytes) else frame[1]
        parts.append([start, start + nbytes])
        start += nbytes + -nbytes % ALIGNMENT
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, max(1, start))  # a full disk is an error here, not SIGBUS later
        with mmap.mmap(descriptor, max(1, start)) as pages, memoryview(pages) as view:
            for frame, (begin, end) in zip(frames, parts, strict=True):
                if isinstance(frame, bytes):
                    view[begin:end] = frame
                    continue
                for offset in range(0, end - begin, PIECE_NBYTES):
                    with view[begin + offset : min(end, begin + offset + PIECE_NBYTES)] as piece:
                        read_memory(pid, frame[0] + offset, piece)
    finally:
        os.close(descriptor)
    return parts


# ---------------------------------------------------------------- the next life


def load_rescued(folder: str) -> tuple[dict[str, Packed], dict[str, int]]:
    """Values and sizes by key of what `rescue` put into `folder`; the files may go then.

    What cannot be read is left out, with a line in the log: a worker without it is better than none.
    """
    values: dict[str, Packed] = {}
    nbytes: dict[str, int] = {}
    try:
        with open(os.path.join(folder, INDEX_NAME), "rb") as file:
            index = msgpack.unpackb(file.read(), strict_map_key=False)
        for key, (name, parts, is_plain) in index.items():
            spilled = Spilled(os.path.join(folder, name), [(start, end) for start, end in parts], is_plain)
            payload = spilled.private_payload()
            values[key] = Packed(payload, is_original=True)
            nbytes[key] = payload_nbytes(payload)
    except (OSError, SpillReadError) as error:
        logger.error("data that was rescued from the process before cannot be read: %s", error)
    return values, nbytes
