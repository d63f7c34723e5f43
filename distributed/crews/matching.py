"""Which offers can run a call, and what becomes of one that none of them ever can. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from distributed.crews.options import ANY_PLATFORM, CallOptions
from distributed.dataclass import dataclass, replace
from distributed.units import format_nbytes

__all__ = ["MEMORY", "Lent", "asked", "fits", "loosened", "offered", "promised"]

MEMORY = "memory"  # the resource of rooms that calls with ``memory=`` take
MEMORY_NBYTES_MAX = 2**62  # of an offer without a limit


@dataclass(slots=True, frozen=True)
class Lent:
    """What one offer lends: its `tags`, slots, and memory for all rooms together (None: no limit)."""

    offer: str
    tags: tuple[str, ...]
    cores: int
    memory_nbytes: int | None


def fits(options: CallOptions, lent: Lent) -> bool:
    """Whether a room there can run such a call, when it has nothing else to do."""
    return _matches(options.platform, lent) and options.threads <= lent.cores and _has(options.memory_nbytes, lent)


def loosened(options: CallOptions, offers: Iterable[Lent]) -> CallOptions:
    """`options` without what no offer can give: the platform, then threads, then memory, each as far as it must be."""
    left = list(offers)
    if not left or any(fits(options, lent) for lent in left):
        return options
    if any(_matches(options.platform, lent) for lent in left):
        left = [lent for lent in left if _matches(options.platform, lent)]
    else:
        options = replace(options, platform=ANY_PLATFORM)
    widest = max(lent.cores for lent in left)
    if options.threads > widest:
        options = replace(options, threads=widest)
    left = [lent for lent in left if lent.cores >= options.threads]
    if not any(_has(options.memory_nbytes, lent) for lent in left):
        options = replace(options, memory_nbytes=-1)
    return options


def asked(options: CallOptions) -> str:
    """What a call asks for, for people."""
    parts = []
    if options.platform != ANY_PLATFORM:
        parts.append("platform " + " or ".join(repr(pattern) for pattern in options.platform))
    if options.threads > 1:
        parts.append(f"{options.threads} threads")
    if options.memory_nbytes > 0:
        parts.append(f"{format_nbytes(options.memory_nbytes)} of memory")
    return ", ".join(parts) or "nothing in particular"


def offered(offers: Iterable[Lent]) -> str:
    """What is lent, for people: each offer in a few words."""
    return "; ".join(
        f"{lent.offer}: {lent.cores} threads, "
        f"{'memory without a limit' if lent.memory_nbytes is None else format_nbytes(lent.memory_nbytes)}, "
        f"tags {', '.join(lent.tags) or 'none'}"
        for lent in offers
    )


def promised(memory_nbytes: int | None, number: int) -> dict[str, float]:
    """The resources of a crew's room with that number at an offer that lends so much memory.

    The first room promises all of it, and may use all cores, so calls with ``memory=`` run there. If each promised a
    part, a call that `fits` the offer would fit into no room; if each promised all, they would promise it many times.
    """
    return {MEMORY: 0.0 if number else float(memory_nbytes or MEMORY_NBYTES_MAX)}


def _matches(patterns: tuple[str, ...], lent: Lent) -> bool:
    return patterns == ANY_PLATFORM or any(fnmatchcase(tag, pattern) for pattern in patterns for tag in lent.tags)


def _has(nbytes: int, lent: Lent) -> bool:
    return nbytes <= 0 or lent.memory_nbytes is None or nbytes <= lent.memory_nbytes
