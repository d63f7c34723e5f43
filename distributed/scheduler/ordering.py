"""In which order the tasks of one submitted graph should run: depth first, so that little is held at once.

A graph is walked from its sinks (tasks nothing in it depends on) down to its roots, dependencies before dependents. A
task whose dependencies need different numbers of results at once has the most needing one computed first, as registers
are allotted for expressions (Sethi and Ullman): a fold then holds two results, a balanced tree of n leaves log2(n) + 1.
Not here: tasks of other messages; who runs what (`placement`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from distributed.scheduler.records import TaskRecord

__all__ = ["depth_first"]


def depth_first(tasks: Collection[TaskRecord]) -> list[TaskRecord]:
    """`tasks`, which are linked and without cycles, each after all of its dependencies among them.

    Ties go by the order of `tasks` and of each task's dependencies. Cost: O(tasks + dependencies), about 1 us each.
    """
    depended: set[TaskRecord] = set()  # asked only for membership
    for task in tasks:
        if task.dependencies is not None:
            depended.update(task.dependencies)
    sinks = [task for task in tasks if task not in depended]
    order = _walk(sinks, tasks, reversed)
    needs, is_even = _needs(order)
    if is_even:
        return order
    # Lowest need pushed first, so visited last; equal ones keep their order.
    return _walk(sinks, tasks, lambda found: sorted(reversed(found), key=lambda task: needs.get(task, 0)))


def _walk(
    sinks: Iterable[TaskRecord],
    tasks: Collection[TaskRecord],
    arrange: Callable[[tuple[TaskRecord, ...]], Iterable[TaskRecord]],
) -> list[TaskRecord]:
    """Dependencies before dependents, last arranged first."""
    order: list[TaskRecord] = []
    seen: set[TaskRecord] = set()  # asked only for membership
    for sink in sinks:
        stack: list[TaskRecord | None] = [sink]
        while stack:
            task = stack.pop()
            if task is None:  # all below the next one are done
                finished = stack.pop()
                assert finished is not None
                order.append(finished)
            elif task not in seen and task in tasks:
                seen.add(task)
                if task.dependencies is None:
                    order.append(task)
                else:
                    stack += (task, None)
                    stack += arrange(task.dependencies)
    return order


def _needs(order: list[TaskRecord]) -> tuple[dict[TaskRecord, int], bool]:
    """How many results must be held at once to compute each task alone, and whether the order makes no difference."""
    needs: dict[TaskRecord, int] = {}
    is_even = True
    for task in order:
        found = task.dependencies
        if found is None:
            needs[task] = 1
        elif len(found) == 1:
            needs[task] = needs.get(found[0], 1)
        else:
            below = [needs.get(dependency, 0) for dependency in found]
            if below.count(below[0]) != len(below):
                is_even = False
                below.sort(reverse=True)
            needs[task] = max([need + held for held, need in enumerate(below)])
    return needs, is_even
