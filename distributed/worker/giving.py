"""Answers with data: what fits in one, pickled once however many ask. Not here: who is served first (`peers`)."""

from __future__ import annotations

import logging

from distributed.errors import UnpicklableError
from distributed.protocol.serialize import Serialized, raiser
from distributed.units import MiB
from distributed.worker.once import Once
from distributed.worker.spill import SpillReadError
from distributed.worker.store import Store

__all__ = ["Answers"]

logger = logging.getLogger(__name__)

ANSWER_NBYTES_MAX = 32 * MiB  # of small results in one answer: they are in its header, and this is half of its limit
ANSWER_FRAMED_NBYTES_MAX = 256 * MiB  # of big ones, unless it is one alone: some 50 ms on the way, 100 times a call
ANSWER_FRAMES_MAX = 5_000  # likewise


class Answers:
    """Makes them from what is in `store`. Any thread but the loop's: pickling may run the code of users."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._once: Once[Serialized | None] = Once()

    def payloads(self, keys: list[str]) -> dict[str, Serialized]:
        """Results by key, as many of the first as fit; at least one if any is here."""
        found: dict[str, Serialized] = {}
        inline, framed, frames = 0, 0, 0
        for key in keys:
            payload = self._once.get(key, self._payload)
            if payload is not None:
                if payload.is_inline():
                    inline += payload.nbytes
                else:
                    framed += payload.nbytes
                    frames += len(payload.frames)
                is_full = inline > ANSWER_NBYTES_MAX or framed > ANSWER_FRAMED_NBYTES_MAX or frames > ANSWER_FRAMES_MAX
                if found and is_full:
                    break
                found[key] = payload
        return found

    def _payload(self, key: str) -> Serialized | None:
        if key not in self._store:
            return None
        try:
            payload = self._store.get_payload(key)
        except UnpicklableError as error:
            return raiser(error)
        except SpillReadError:
            logger.exception("the result of %s is lost", key)
            return None
        except Exception as error:  # the asker is told what is wrong with the value, instead of asking again and again
            return raiser(UnpicklableError(f"the result of {key}", type(error).__name__, str(error)))
        return payload if isinstance(payload, Serialized) else Serialized([payload])
