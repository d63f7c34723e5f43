"""What this machine has to give: cores, memory, and how they are shared out among workers."""

from __future__ import annotations

import math
import os

from distributed.units import parse_nbytes

__all__ = ["cores_available", "memory_available", "memory_limit_nbytes", "split_cores"]


def split_cores(cores: int) -> tuple[int, int]:
    """Workers and threads in each: up to four cores one thread each, beyond that about as many threads as workers.

    Pure Python runs one thread at a time per process, while many processes cost memory.
    """
    if cores <= 4:
        return cores, 1
    workers = next(count for count in range(math.isqrt(cores), cores + 1) if cores % count == 0 and count**2 >= cores)
    return workers, cores // workers


def cores_available() -> int:
    """Cores that this process may use, as affinity and cgroup limits have it; at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = _read_words("/sys/fs/cgroup/cpu.max", 2)
    if quota is not None and quota.isdigit() and period is not None:
        count = min(count, math.ceil(int(quota) / int(period)))
    return max(1, count)


def memory_available() -> int:
    """Bytes of memory this process may use, as the machine and cgroup limits have it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    (limit,) = _read_words("/sys/fs/cgroup/memory.max", 1)
    return min(total, int(limit)) if limit is not None and limit.isdigit() else total


def memory_limit_nbytes(limit: str | int | None, share: float) -> int | None:
    """What ``--memory-limit`` and ``memory_limit=`` mean: ``'auto'``: `share` of the machine's; 0, None: no limit."""
    if limit == "auto":
        return int(memory_available() * min(1.0, share))
    return None if limit is None else parse_nbytes(limit, "memory_limit") or None


def _read_words(path: str, count: int) -> list[str | None]:
    try:
        with open(path) as file:
            words: list[str | None] = list(file.read().split())
    except OSError:
        words = []
    return [*words, *[None] * count][:count]
