"""The status of a push worker, as it comes over the wire; pure."""

from __future__ import annotations

import json
from typing import Any

from distributed.push.roster import Status

__all__ = ["parse_status"]

PROCESSES_MAX = 10_000
JOBS_MAX = 100_000
ID_LENGTH_MAX = 100
PERCENT_MAX = 1_000_000  # some systems count 100 per core


def parse_status(text: str) -> Status | None:
    """What ``GET /status`` answered; None: that is no status."""
    try:
        given = json.loads(text)
        processes = given["processes"]
        status = Status(given["id"], processes["total"], processes["idle"], given["cpu_percent"], given["jobs"])
    except (ValueError, RecursionError, TypeError, KeyError):
        return None
    if not (_is_count(status.total) and _is_count(status.idle) and status.total >= 1 and status.idle <= status.total):
        return None
    percent = status.cpu_percent
    if isinstance(percent, bool) or not isinstance(percent, (int, float)) or not 0 <= percent <= PERCENT_MAX:
        return None  # also nan, which is neither more nor less than any other
    is_list = isinstance(status.jobs, list) and len(status.jobs) <= JOBS_MAX and all(map(_is_id, status.jobs))
    if not is_list or not _is_id(status.id):
        return None
    status.jobs = frozenset(status.jobs)  # each of ours is looked up in it
    return status


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= PROCESSES_MAX


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= ID_LENGTH_MAX
