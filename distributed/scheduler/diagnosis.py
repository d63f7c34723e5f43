"""Ops that tell people what goes on: why a task is where it is, what happened to it, what ran when, all on one screen.

They only look. Monotonic seconds of the machine leave here as seconds since 1970. Not here: the sentences (`explain`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from distributed.calls import rpc
from distributed.errors import BadRequestError, DistributedError, PermissionDeniedError, UnknownOpError
from distributed.ids import is_key
from distributed.scheduler import snapshot
from distributed.scheduler.explain import why
from distributed.scheduler.overview import overview
from distributed.scheduler.state import SchedulerState
from distributed.why import Why

__all__ = ["DiagnosisOps"]

WORKER_PATIENCE_S = 1.0  # for a worker to say what a task of its does; one whose interpreter is held does not
KEYS_MAX = 100  # of which a story is told at once: each is a walk through the log
RUNS_MAX = 5_000  # in one answer: some 20 ms of work


class DiagnosisOps:
    """The handlers.

    Args:
        worker: the connection with the worker at an address.
    """

    def __init__(self, state: SchedulerState, worker: Callable[[str], rpc]) -> None:
        self._state = state
        self._worker = worker

    async def why(self, stream: Any, key: str) -> dict[str, object]:
        """Why `key` is not done yet, see `Why.to_wire`. The worker that has it is asked too, for a second at most."""
        if not is_key(key):
            raise BadRequestError("why: key is a text")
        answer = why(self._state, key)
        if answer.reason in ("with-worker", "lent"):
            answer = await self._why_there(key, answer)
        return answer.to_wire()

    async def _why_there(self, key: str, answer: Why) -> Why:
        address = answer.blockers[0]
        try:
            async with asyncio.timeout(WORKER_PATIENCE_S):
                told = await self._worker(address).call("explain", key=key)
        except TimeoutError:
            return Why(f"{answer} The worker did not answer within a second.", answer.state, answer.reason, [address])
        except (PermissionDeniedError, UnknownOpError):  # an older worker
            return answer
        except DistributedError:
            return Why(f"{answer} The worker cannot be reached now.", answer.state, answer.reason, [address])
        if not isinstance(told, dict) or not told.get("reason"):
            return why(self._state, key)  # it has ended, or moved, meanwhile
        there = Why.from_wire(told)
        reason = there.reason if answer.reason == "with-worker" else answer.reason
        return Why(f"{answer} {there}", answer.state, reason, there.blockers or [address])

    def story(self, stream: Any, keys: list[str]) -> list[dict[str, Any]]:
        """The steps of `keys` in the order in which they happened, see `snapshot.story_of`, with ``key``."""
        if not isinstance(keys, list) or len(keys) > KEYS_MAX or not all(is_key(key) for key in keys):
            raise BadRequestError(f"story: at most {KEYS_MAX} keys")
        offset_s = _offset_s()
        steps = [
            {**step, "key": key, "at": step["at"] + offset_s}
            for key in dict.fromkeys(keys)
            for step in snapshot.story_of(self._state, key)
        ]
        return sorted(steps, key=lambda step: float(step["at"]))

    def task_stream(self, stream: Any, first: int | None = None, since_s: float | None = None) -> dict[str, Any]:
        """What ran: from number `first` on, or what ended in the last `since_s` seconds; neither: where one begins now.

        Returns:
            ``next``: the number to go on with, ``end``: the number of the next one to come, ``missed``: asked for and
            forgotten, ``runs``: ``[key, worker, thread, start, stop, status]`` each.
        """
        ended, offset_s = self._state.ended, _offset_s()
        if since_s is not None:
            if isinstance(since_s, bool) or not isinstance(since_s, (int, float)) or not since_s >= 0:
                raise BadRequestError(f"since_s={since_s!r}: seconds, >= 0")
            first = ended.first_since(_now_s() - since_s)
        if first is None:
            return {"next": ended.count, "end": ended.count, "missed": 0, "runs": []}
        if type(first) is not int or first < 0:
            raise BadRequestError(f"first={first!r}: a number that an earlier answer gave")
        following, runs = ended.runs(first, RUNS_MAX)
        return {
            "next": following,
            "end": ended.count,
            "missed": max(0, following - first - len(runs)),
            "runs": [[r.key, r.worker, r.thread, r.start + offset_s, r.stop + offset_s, r.status] for r in runs],
        }

    def overview(self, stream: Any) -> dict[str, Any]:
        """What `dstatus` shows, see `scheduler.overview`."""
        return overview(self._state, _now_s())


def _now_s() -> float:
    """In the machine's seconds, which are the loop's."""
    return asyncio.get_running_loop().time()


def _offset_s() -> float:
    """From the machine's seconds to those since 1970."""
    return time.time() - _now_s()
