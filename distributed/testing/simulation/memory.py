"""The memory of a simulated worker: its results and their sizes."""

from __future__ import annotations

from typing import Any

__all__ = ["Memory", "Shelf"]


class Shelf:
    """Results by key, as the store of a worker keeps them."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[bytes, int]] = {}

    def __len__(self) -> int:
        return len(self.values)

    def __contains__(self, key: object) -> bool:
        return key in self.values

    @property
    def managed_nbytes(self) -> int:
        """Of all of them."""
        return sum(nbytes for _, nbytes in self.values.values())

    def nbytes_by_key(self) -> dict[str, int]:
        """Sizes."""
        return {key: nbytes for key, (_, nbytes) in self.values.items()}

    def drop(self, keys: list[str]) -> None:
        """Forget these; unknown ones are no error."""
        for key in keys:
            self.values.pop(key, None)


class Memory:
    """Of one life of a worker.

    Attributes:
        is_paused: no task begins.
    """

    def __init__(self, worker: Any, limit_nbytes: int | None) -> None:
        self.store = Shelf()
        self.is_paused = False

    def keep(self, keys: list[str], values: list[Any], nbytes: list[int]) -> None:
        """Put these into the store."""
        for key, value, size in zip(keys, values, nbytes, strict=True):
            self.store.values[key] = (value, size)

    def value(self, key: str) -> bytes | None:
        """For a task or a peer; None: it is not here."""
        entry = self.store.values.get(key)
        return None if entry is None else entry[0]

    payload = value
