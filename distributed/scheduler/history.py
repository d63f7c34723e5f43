"""The last transitions of all tasks, for `story`. A batch that changed state together is one entry: cheap to write.

Bounded: `ENTRIES_MAX` entries, and in those of batches not much more than `KEYS_MAX` keys.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from distributed.scheduler.records import TaskState

__all__ = ["History", "Transition"]

ENTRIES_MAX = 10_000
KEYS_MAX = 20_000  # with the entries some 3 MB

Transition = tuple[str, TaskState, TaskState, str, float]  # key, from, to, because, monotonic seconds
_Entry = tuple[str | list[str], TaskState, TaskState, str, float]


class History:
    """See the module. `append` takes one transition, an entry of a single key."""

    __slots__ = ("_entries", "_news", "_nkeys", "_on_news", "append")

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque(maxlen=ENTRIES_MAX)
        self._nkeys = 0  # of batches that were added since it was counted last
        self._news: list[_Entry] = []  # what nobody has taken, once it is watched
        self._on_news: Callable[[], object] | None = None
        self.append = self._entries.append  # straight into it: the most frequent call of the scheduler

    def append_batch(self, keys: list[str], origin: TaskState, to: TaskState, because: str, now: float) -> None:
        """`keys`, which nobody changes any more, went from `origin` to `to`. Cost: O(1), amortised."""
        self.append((keys, origin, to, because, now))
        self._nkeys += len(keys)
        if self._nkeys > 2 * KEYS_MAX:
            self._forget()

    def watch(self, on_news: Callable[[], object]) -> None:
        """From now on `on_news` is called after each entry, which it must not act upon at once, see `take_news`."""
        self._on_news = on_news
        self.append = self._append_watched

    def _append_watched(self, entry: _Entry) -> None:
        assert self._on_news is not None
        self._entries.append(entry)
        self._news.append(entry)
        self._on_news()

    def take_news(self) -> list[Transition]:
        """The transitions since the last call, as long as it is watched."""
        news, self._news = self._news, []
        return list(_single(news))

    def _forget(self) -> None:
        """Drop the oldest until the batches have no more than `KEYS_MAX` keys; the newest entry stays."""
        self._nkeys = sum(len(entry[0]) for entry in self._entries if type(entry[0]) is list)
        while self._nkeys > KEYS_MAX and len(self._entries) > 1:
            keys = self._entries.popleft()[0]
            self._nkeys -= len(keys) if type(keys) is list else 0

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._entries)

    @property
    def is_full(self) -> bool:
        """Whether the next entry drops the oldest."""
        return len(self._entries) == ENTRIES_MAX

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._nkeys = 0

    def after(self, count: int) -> Iterator[Transition]:
        """The transitions of all entries but the first `count`."""
        return _single(islice(self._entries, count, None))

    def of(self, key: str) -> list[Transition]:
        """The transitions of `key`, oldest first. Cost: O(keys that are remembered)."""
        return [
            (key, origin, to, because, now)
            for keys, origin, to, because, now in self._entries
            if (keys == key if isinstance(keys, str) else key in keys)
        ]


def _single(entries: Iterable[_Entry]) -> Iterator[Transition]:
    for keys, origin, to, because, now in entries:
        for key in (keys,) if isinstance(keys, str) else keys:
            yield key, origin, to, because, now
