"""How big a workspace may be, and which of its items make it big. No file is touched here."""

from __future__ import annotations

from collections.abc import Iterable

from distributed.dataclass import dataclass
from distributed.units import MiB

__all__ = [
    "DEFAULT_LIMITS",
    "FILES_MAX",
    "LINKS_MAX",
    "NBYTES_MAX",
    "NBYTES_SOFT",
    "PART_NBYTES_MAX",
    "PATH_NBYTES_MAX",
    "PATH_PARTS_MAX",
    "WorkspaceLimits",
    "biggest_items",
]

NBYTES_SOFT = 64 * MiB  # above it somebody probably forgot a data set or a build; the user is told what is big
NBYTES_MAX = 512 * MiB  # a first call that sends more than that takes minutes over a usual network
FILES_MAX = 50_000  # a second of looking at files before each call that follows an edit
LINKS_MAX = 5_000  # each is followed before a workspace is laid out

# Of a path in a manifest. Linux allows 4,096 bytes for a whole path; what the worker puts before ours needs room too.
PATH_NBYTES_MAX = 2_048
PART_NBYTES_MAX = 255
PATH_PARTS_MAX = 128


@dataclass(slots=True, frozen=True)
class WorkspaceLimits:
    """What a workspace may hold.

    Attributes:
        nbytes_max: of all its files together.
        files_max: files and links, and as many folders.
    """

    nbytes_max: int = NBYTES_MAX
    files_max: int = FILES_MAX


DEFAULT_LIMITS = WorkspaceLimits()


def biggest_items(files: Iterable[tuple[str, int]], count: int = 5) -> list[tuple[str, int]]:
    """The items that say most about where the bytes are: files, or folders (with a ``/`` at the end), biggest first.

    A folder is named as a whole, unless one thing in it makes up more than half of it: then that is looked into.

    Args:
        files: relative paths and sizes.
        count: how many items at most; no item lies in another one.
    """
    nbytes_by_item: dict[str, int] = {}
    children: dict[str, set[str]] = {}
    for path, nbytes in files:
        item = path
        while True:
            nbytes_by_item[item] = nbytes_by_item.get(item, 0) + nbytes
            parent = item.rstrip("/").rpartition("/")[0]
            parent = f"{parent}/" if parent else ""
            children.setdefault(parent, set()).add(item)
            if not parent:
                break
            item = parent

    def rank(item: str) -> tuple[int, str]:
        return -nbytes_by_item[item], item

    found: list[str] = []
    waiting = sorted(children.get("", ()), key=rank)
    while waiting and len(found) < count:
        item = waiting.pop(0)
        inside = sorted(children.get(item, ()), key=rank)
        if inside and 2 * nbytes_by_item[inside[0]] > nbytes_by_item[item]:
            waiting = sorted([*waiting, *inside], key=rank)
        else:
            found.append(item)
    return [(item, nbytes_by_item[item]) for item in found]
