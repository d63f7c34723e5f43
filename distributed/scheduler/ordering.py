"""In which order the roots of one submitted graph should run: depth first, so that little is held at once.

A graph is walked from its sinks (tasks nothing in it depends on) down to its roots. A task whose dependencies need
different numbers of results at once has the most needing one computed first, as registers are allotted for expressions
(Sethi and Ullman): a fold then holds two results, a balanced tree of n leaves log2(n) + 1.
Not here: tasks of other messages; who runs what (`placement`).
"""

from __future__ import annotations

from collections.abc import Collection

from distributed.scheduler.records import TaskRecord

__all__ = ["depth_first"]


def depth_first(tasks: Collection[TaskRecord]) -> list[TaskRecord]:
    """The roots among `tasks`, which are linked and without cycles, in the order in which a walk comes to them.

    Ties go by the order of `tasks` and of each task's dependencies; needs count only if `tasks` names dependencies
    before their dependents, as clients do. Cost: O(tasks + dependencies), about 1 us each.
    """
    depended: set[TaskRecord] = set()  # asked only for membership
    for task in tasks:
        if task.dependencies is not None:
            depended.update(task.dependencies)
    needs = _needs(tasks)
    roots: list[TaskRecord] = []
    seen: set[TaskRecord] = set()  # asked only for membership
    for sink in [task for task in tasks if task not in depended]:
        stack = [sink]
        while stack:
            task = stack.pop()
            if task in seen or task not in tasks:
                continue
            seen.add(task)
            found = task.dependencies
            if found is None:
                roots.append(task)
            elif needs is None or len(found) == 1:
                stack += found[::-1]
            else:  # least need pushed first, so visited last; equal ones keep their order
                stack += sorted(found[::-1], key=lambda dependency: needs.get(dependency, 0))
    return roots


def _needs(tasks: Collection[TaskRecord]) -> dict[TaskRecord, int] | None:
    """How many results must be held at once to compute each task alone; None if that makes no difference to anybody."""
    needs: dict[TaskRecord, int] = {}
    is_even = True
    for task in tasks:
        found = task.dependencies
        if found is None:
            needs[task] = 1
        elif len(found) == 1:
            needs[task] = needs.get(found[0], 1)
        else:
            below = [needs.get(dependency, 0) for dependency in found]
            if below.count(below[0]) == len(below):
                needs[task] = below[0] + len(below) - 1
            else:
                is_even = False
                below.sort(reverse=True)
                needs[task] = max([need + held for held, need in enumerate(below)])
    return None if is_even else needs
