"""The methods of a client that tell what workers do and how big results are; and the futures inside a structure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from distributed.client.futures import Future, FutureSequence
from distributed.client.options import named_workers
from distributed.client.part import ClientPart
from distributed.client.structures import listed, records_in

__all__ = ["LookMethods", "futures_of"]


class LookMethods(ClientPart):
    """A part of `Client`, see there."""

    def processing(self, workers: str | Iterable[str] | None = None) -> Any:
        """``{address: [keys]}``: what these workers, or all, were sent and have not answered, in the order sent."""
        return self._finish(self._live().ask("processing", workers=named_workers(workers)))

    def nbytes(self, futures: Any = None, summary: bool = True) -> Any:
        """How big results are that lie on workers, one copy of each.

        Args:
            futures: only of these; None: of all, whoever submitted them.
            summary: ``{name: bytes}``, where the name is that of the function (what comes before the last ``-`` of a
                key); False: ``{key: bytes}``.
        """
        session = self._live()
        keys = None if futures is None else [record.key for record in records_in(session, [listed(futures)])]

        async def ask() -> dict[str, int]:
            sizes: dict[str, int] = await session.ask("nbytes", keys=keys)
            return _by_name(sizes) if summary else sizes

        return self._finish(ask())

    def futures_of(self, value: Any) -> list[Future]:
        """The futures in a structure; see `distributed.futures_of`."""
        return futures_of(value)


def _by_name(sizes: dict[str, int]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for key, nbytes in sizes.items():
        name = key.rpartition("-")[0] or key
        totals[name] = totals.get(name, 0) + nbytes
    return totals


def futures_of(value: Any) -> list[Future]:
    """The futures in lists, tuples, dicts and sets, of any depth, each once, in order; other things are skipped."""
    found: dict[Future, None] = {}
    todo = [listed(value)]
    while todo:
        entry = todo.pop()
        if isinstance(entry, Future):
            found[entry] = None
        elif isinstance(entry, dict):
            todo.extend(reversed(entry.values()))
        elif isinstance(entry, (list, tuple, set, frozenset, FutureSequence)):
            todo.extend(reversed(list(entry)))
    return list(found)
