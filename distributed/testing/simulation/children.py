"""Which tasks of a plan submit tasks, and which ones."""

from __future__ import annotations

from distributed.testing.simulation.chance import Stream
from distributed.testing.simulation.clock import MS
from distributed.testing.simulation.work import Recipe

__all__ = ["give_children"]

PERCENT = 35  # of the seeds have tasks with children
PARENTS_MAX = 6


def give_children(draws: Stream, parents: list[Recipe]) -> None:
    """Some of these recipes get children, and some of the children too."""
    if not draws.percent(PERCENT):
        return
    for parent in draws.some([recipe for recipe in parents if not recipe.kills], PARENTS_MAX):
        parent.children = _children(draws, parent, 1)


def _children(draws: Stream, parent: Recipe, depth: int) -> tuple[Recipe, ...]:
    children = []
    for number in range(draws.between(1, 3)):
        spec = parent.spec._replace(parent=parent.key, depth=depth, resources=None, retries=draws.pick((0, 2)))
        recipe = Recipe(
            f"{parent.key}.{number}", spec, (), draws.skewed(1, 100) * MS, draws.pick((8, 8, 12_000, 100_000))
        )
        fate = draws.below(100)
        recipe.raises = 1 if fate < 10 else 0
        recipe.kills = 1 if fate >= 97 else 0
        if depth < 3 and not recipe.kills and draws.percent(40):
            recipe.children = _children(draws, recipe, depth + 1)
        children.append(recipe)
    return tuple(children)
