"""How much memory a process takes: what it alone can give back.

That is anonymous and shared memory. Pages of mapped files are left out, because the system takes them back by itself
when it needs room: results that were loaded from disk by mapping would count as memory for ever.
"""

from __future__ import annotations

import gc
from typing import Any

__all__ = ["collect_and_trim", "peak_nbytes", "process_nbytes", "reset_peak", "trim"]

_processes: dict[int | None, Any] = {}  # of psutil, where there is no /proc


def process_nbytes(pid: int | None = None) -> int:
    """Bytes of memory that the process takes; None: this one. 0 if it is gone.

    Where there is no ``/proc`` it is the resident set as psutil has it, files included.

    Cost: 25 us.
    """
    try:
        with open(f"/proc/{'self' if pid is None else pid}/status", "rb") as file:
            return _from_status(file.read())
    except FileNotFoundError:
        return _by_psutil(pid)
    except ProcessLookupError:  # it ended between opening and reading
        return 0


def reset_peak() -> None:
    """Give back what is free; from now on `peak_nbytes` tells the peak since now. Takes milliseconds."""
    trim()  # what is taken again would not be seen
    try:
        with open("/proc/self/clear_refs", "wb") as file:
            file.write(b"5")  # proc(5): reset the peak resident set size
    except OSError:  # no Linux, or forbidden in this container: peaks between two looks are not seen
        return


def peak_nbytes() -> int:
    """The most that this process took since `reset_peak`, about: less what it has of mapped files now.

    Not below `process_nbytes`; the same where there is no ``/proc``.
    """
    try:
        with open("/proc/self/status", "rb") as file:
            status = file.read()
    except FileNotFoundError:
        return _by_psutil(None)
    return max(_from_status(status), 1024 * (_kilobytes(status, b"\nVmHWM:") - _kilobytes(status, b"\nRssFile:")))


def collect_and_trim() -> None:
    """Collect garbage, then `trim`. Takes milliseconds, with many objects more."""
    gc.collect()
    trim()


def trim() -> None:
    """Give what was freed back to the system, where the C library can. Takes milliseconds."""
    import ctypes  # lazy: 3 ms that need not stand before the first task

    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # not the GNU library: freed memory stays with the process
        return


def _from_status(status: bytes) -> int:
    """Text of ``/proc/PID/status``; a process that has ended has no such lines."""
    return 1024 * (_kilobytes(status, b"\nRssAnon:") + _kilobytes(status, b"\nRssShmem:"))


def _kilobytes(status: bytes, name: bytes) -> int:
    start = status.find(name)
    return 0 if start < 0 else int(status[start + len(name) : status.index(b"kB", start)])


def _by_psutil(pid: int | None) -> int:
    import psutil  # lazy: 10 ms, and not needed on Linux

    try:
        process = _processes.get(pid)
        if process is None:
            process = psutil.Process(pid)
            if pid is None:
                _processes[pid] = process
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
