"""What chaos computes: a graph of tasks whose results can be known without computing them on a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, NamedTuple

__all__ = ["Node", "draw_graph", "expected_numbers", "mix", "number_of"]

MODULUS = 2**61 - 1
REACH = 400  # a task depends on some of so many before it
ROOTS = 100
BIG_EVERY = 40  # one of so many results is big enough not to ride inline, so that workers fetch it from each other
BIG_NBYTES = 200_000


class Node(NamedTuple):
    """One task: what it depends on, by number, and whether its result is big."""

    dependencies: tuple[int, ...]
    is_big: bool


def draw_graph(count: int, seed: int) -> list[Node]:
    """`count` tasks, each after those it depends on (at most three)."""
    random = Random(seed)
    nodes = []
    for number in range(count):
        width = 0 if number < ROOTS else random.randrange(4)
        chosen = {random.randrange(max(0, number - REACH), number) for _ in range(width)}
        nodes.append(Node(tuple(sorted(chosen)), number % BIG_EVERY == 0))
    return nodes


def mix(number: int, is_big: bool, pause_s: float, *values: Any) -> int | bytes:
    """The task: waits, then mixes its number with those of its dependencies."""
    time.sleep(pause_s)
    mixed = _mixed(number, [number_of(value) for value in values])
    return mixed.to_bytes(8, "big") + bytes(BIG_NBYTES) if is_big else mixed


def number_of(value: int | bytes) -> int:
    """The number in a result, big or not."""
    return int.from_bytes(value[:8], "big") if isinstance(value, bytes) else value


def expected_numbers(nodes: Sequence[Node]) -> Iterator[int]:
    """What every task must give, in order."""
    known: list[int] = []
    for number, node in enumerate(nodes):
        known.append(_mixed(number, [known[dependency] for dependency in node.dependencies]))
        yield known[-1]


def _mixed(number: int, values: list[int]) -> int:
    total = number + 1
    for value in values:
        total = (total * 6_364_136_223_846_793_005 + value) % MODULUS
    return total
