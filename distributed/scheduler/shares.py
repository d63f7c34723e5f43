"""Shares: which tasks each worker can do alone, because it holds all that they need.

Pure. Which worker then takes which task is decided in `stealing` and `placement`.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, KeysView, Mapping
from typing import TypeVar

__all__ = ["divide_tasks"]

W = TypeVar("W", bound=Hashable)  # a worker
T = TypeVar("T", bound=Hashable)  # a task
D = TypeVar("D", bound=Hashable)  # a result or other data, by key


def divide_tasks(
    who_has: Mapping[D, Collection[W]], needed: Mapping[T, Collection[D]]
) -> tuple[dict[W, list[T]], KeysView[T]]:
    """The share of each worker, and the extra tasks, which nobody can do alone.

        who_has = {'x': {'Alice'}, 'y': {'Alice', 'Bob'}, 'z': {'Bob'}}
        needed = {1: {'x'}, 2: {'y'}, 3: {'z'}, 4: {'x', 'z'}, 5: set()}
        divide_tasks(who_has, needed)       # {'Alice': [2, 1], 'Bob': [2, 3]} and 4, 5

    Args:
        who_has: the holders of each input.
        needed: the inputs of each task.
    Returns:
        Lists to ``pop()`` from: the last task is the one that fewest others can do; among equals, the one that
        `needed` names first. A task without inputs is an extra one, and so is one with an input that nobody has.
        The extra ones are an ordered set, as `needed` names them; workers come in the order of their texts.
    Cost: one look at each holder of each input, and a sort of each share.
    """
    holders_by_task: dict[T, list[W]] = {}
    for task, inputs in needed.items():
        groups = sorted((who_has.get(key, ()) for key in inputs), key=len)
        holders = list(dict.fromkeys(groups[0])) if groups else []
        for group in groups[1:]:
            holders = [worker for worker in holders if worker in group]
        holders_by_task[task] = holders
    shares: dict[W, list[T]] = {}
    for task in reversed(list(holders_by_task)):  # so that the sort below, being stable, ends with the first named
        for worker in holders_by_task[task]:
            shares.setdefault(worker, []).append(task)
    for share in shares.values():
        share.sort(key=lambda task: -len(holders_by_task[task]))
    extra = {task: None for task, holders in holders_by_task.items() if not holders}
    return {worker: shares[worker] for worker in sorted(shares, key=str)}, extra.keys()
