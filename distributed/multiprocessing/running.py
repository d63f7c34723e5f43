"""What a pool runs on a worker: one call, or a chunk of them, after the pool's initializer. It travels by name."""

from __future__ import annotations

from collections.abc import Callable
from itertools import starmap
from time import perf_counter
from typing import Any

from distributed.client.initializing import Setup, initialize
from distributed.worker.sizes import nbytes_of

__all__ = ["run_chunk"]


def run_chunk(
    function: Callable[..., Any], is_star: bool, setup: Setup | None, /, *elements: Any
) -> tuple[float, int, list[Any]]:
    """How many seconds the calls took, about how big their results are, and these in order.

    Args:
        is_star: the elements are the arguments of a call each.
    Raises:
        What a call raises; the rest of the chunk is then not run.
    """
    if setup is not None:
        initialize(*setup, function)
    began = perf_counter()
    results = list(starmap(function, elements) if is_star else map(function, elements))
    return perf_counter() - began, nbytes_of(results), results
