"""What tasks do in a simulation, and what must come of them.

A value is eight bytes that follow from the key and the values of the dependencies, so every result can be checked to be
right without running anything. A task may raise, always or a few times, and may kill the worker that runs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container
from dataclasses import dataclass, field

from distributed.messages import TaskSpec

__all__ = ["ALWAYS", "FUNCTIONS", "INLINE_MAX", "Recipe", "Work", "argument_of", "code_of", "scattered_value"]

ALWAYS = 1_000_000
INLINE_MAX = 16 * 1024  # results up to this size ride inline, as with real workers
FUNCTIONS = tuple(name.encode().ljust(16, b".") for name in ("load", "combine", "finish", "other"))


@dataclass(slots=True)
class Recipe:
    """One task.

    Attributes:
        duration: ticks.
        raises: so many of its first runs raise.
        kills: so many of its first runs kill their worker.
        children: tasks that it submits and waits for, half-way.
    """

    key: str
    spec: TaskSpec
    dependencies: tuple[str, ...] = ()
    duration: int = 0
    nbytes: int = 8
    raises: int = 0
    kills: int = 0
    children: tuple[Recipe, ...] = ()


@dataclass(slots=True)
class Work:
    """All recipes of one simulation, what has run, and what must come of it.

    Attributes:
        runs: how often each key has been begun, by any worker.
        deaths: how often a worker died while it ran the key.
    """

    recipes: dict[str, Recipe] = field(default_factory=dict)
    scattered: dict[str, int] = field(default_factory=dict)  # sizes
    runs: dict[str, int] = field(default_factory=dict)
    deaths: dict[str, int] = field(default_factory=dict)
    _values: dict[str, bytes] = field(default_factory=dict)

    def value(self, key: str) -> bytes:
        """The only right value of `key`. Cost: computed once."""
        value = self._values.get(key)
        if value is None:
            todo = [key]
            while todo:
                name = todo[-1]
                needs = [n for n in self.dependencies(name) if n not in self._values]
                if needs:
                    todo.extend(needs)
                    continue
                todo.pop()
                self._values[name] = self.value_from(name, [self._values[n] for n in self.dependencies(name)])
            value = self._values[key]
        return value

    def value_from(self, key: str, values: list[bytes]) -> bytes:
        """What the task `key` makes of these values of its dependencies."""
        if key in self.scattered:
            return scattered_value(key)
        return hashlib.blake2b(b"|".join([key.encode(), *values]), digest_size=8).digest()

    def nbytes(self, key: str) -> int:
        """How big the result is."""
        return self.scattered[key] if key in self.scattered else self.recipes[key].nbytes

    def dependencies(self, key: str) -> tuple[str, ...]:
        """What it needs; scattered data needs nothing."""
        recipe = self.recipes.get(key)
        return () if recipe is None else recipe.dependencies

    def ancestors(self, key: str) -> dict[str, None]:
        """`key` and all it needs, at every level, in a stable order."""
        found: dict[str, None] = {}
        todo = [key]
        while todo:
            name = todo.pop()
            if name not in found:
                found[name] = None
                todo.extend(self.dependencies(name))
        return found

    def must_fail(self, key: str) -> bool:
        """Whether no run of it, or of something that it needs, can ever succeed."""
        return any(
            recipe.raises >= ALWAYS or recipe.kills >= ALWAYS
            for name in self.ancestors(key)
            if (recipe := self.recipes.get(name)) is not None
        )

    def why_failure_is_wrong(self, key: str, failure: list[object], forgotten: Container[str]) -> str | None:
        """Why a task must not have failed like this; None: it may.

        Args:
            forgotten: keys that the scheduler may not know any more though somebody held them.
        """
        kind = str(failure[0]).rpartition(".")[2]
        family = self.ancestors(key)
        if kind == "SimulatedError":
            origin = str(failure[1]).partition(" ")[0]
            if origin not in family or not self.recipes[origin].raises:
                return f"{origin} never raises, or {key} does not need it"
            return None
        if kind == "KilledWorker":
            detail = failure[3]
            origin = str(detail["key"]) if isinstance(detail, dict) else ""
            if origin not in family:
                return f"killed by {origin!r}, which it does not need"
            return None  # whether deaths were counted right is an invariant of its own
        if kind == "LostDataError":
            return None if any(name in self.scattered or name in forgotten for name in family) else "nothing is lost"
        if kind == "UnreachableDataError":
            return None
        return f"nothing here fails with {failure[0]}: {failure[1]}"


def scattered_value(key: str) -> bytes:
    """The value a client scatters under `key`."""
    return hashlib.blake2b(b"scattered|" + key.encode(), digest_size=8).digest()


def code_of(digest: bytes) -> bytes:
    """The function that `digest` names, as it travels."""
    return b"code of " + digest


def argument_of(key: str) -> bytes:
    """The arguments of the task `key`, as they travel."""
    return b"arguments of " + key.encode()
