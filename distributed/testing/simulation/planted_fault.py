"""What a planted fault is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Fault"]


@dataclass(slots=True, frozen=True)
class Fault:
    """A mistake that somebody could make.

    Attributes:
        name: unique, for the command line.
        sentence: what goes wrong.
        module, function: where; a method with its class.
        edits: ``(old, new)`` pieces of the function's source; each old one is there exactly once.
        seeds: some that find it, cheapest first; empty: we do not claim that it is found.
        note: why it is not found, if we know.
    """

    name: str
    sentence: str
    module: str
    function: str
    edits: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...] = ()
    note: str = ""
