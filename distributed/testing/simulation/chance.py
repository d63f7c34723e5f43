"""The only source of chance: draws in named streams, all from one seed, recorded on one tape.

A stream is a generator of its own, so a draw that is left out (a fault, a step of a client) shifts no draw of another
stream: that is what makes shrinking work. Only integers are drawn, and only with ``getrandbits``, which Python promises
to keep; names become seeds through SHA-256, because ``hash()`` differs from process to process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from random import Random
from typing import TypeVar

__all__ = ["Chance", "Stream"]

T = TypeVar("T")


class Stream:
    """Draws for one purpose. Every draw is appended to the tape."""

    __slots__ = ("_bits", "_tape")

    def __init__(self, seed: int, tape: list[int]) -> None:
        self._bits = Random(seed).getrandbits
        self._tape = tape

    def below(self, bound: int) -> int:
        """An integer from 0 to ``bound - 1``; `bound` >= 1 and far below 2**32."""
        value = (self._bits(32) * bound) >> 32
        self._tape.append(value)
        return value

    def between(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def percent(self, chance: int) -> bool:
        """True in `chance` of 100 draws."""
        return self.below(100) < chance

    def pick(self, choices: Sequence[T]) -> T:
        """One of `choices`, which is not empty."""
        return choices[self.below(len(choices))]

    def some(self, choices: Sequence[T], count: int) -> list[T]:
        """Up to `count` different ones of `choices`, in their order."""
        left = list(range(len(choices)))
        taken = [left.pop(self.below(len(left))) for _ in range(min(count, len(left)))]
        return [choices[index] for index in sorted(taken)]

    def skewed(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, small ones far more often."""
        return low + self.below(self.below(high - low + 1) + 1)


class Chance:
    """All streams of one seed.

    Attributes:
        tape: every value drawn, in order. Cost: a list append per draw.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.tape: list[int] = []

    def stream(self, name: str) -> Stream:
        """A fresh stream; the same name gives the same draws."""
        digest = hashlib.sha256(f"{self.seed}:{name}".encode()).digest()
        return Stream(int.from_bytes(digest[:8], "big"), self.tape)
