"""What tasks of one worker have written and the scheduler has not been told: whole lines, bounded. Pure.

    a task's write ──▶ line begun ──▶ lines, in the order in which they ended ──▶ `take`
                                 └──▶ left out: counted by key, told once a second

A task that prints without end is held to its own allowance, so it takes nothing from others; all together are held to
the worker's. Not here: which thread runs which task, and the streams (`output`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from distributed.allowance import Allowance

__all__ = ["LINE_LENGTH_MAX", "Lines", "Printed"]

KEY_BURST, KEY_RATE = 256 * 1024, 32 * 1024  # characters of one task: a long table at once, then a page per second
WORKER_BURST, WORKER_RATE = 1024 * 1024, 128 * 1024  # of all tasks of a worker
LINE_LENGTH_MAX = 16 * 1024  # a longer one is told in pieces; a progress bar may never end its line
LINE_COST = 64  # what the shortest line counts: it is carried and shown like any other
KEYS_MAX = 2_000  # remembered with an allowance, and with lines left out
OMITTED_S = 1.0  # between two words on what was left out

Printed = tuple[str, str, str]  # key, stream, text of whole lines


@dataclass(slots=True)
class _Omitted:
    lines: int = 0
    nbytes: int = 0


@dataclass(slots=True)
class Lines:
    """See the module. Not for several threads at once.

    Attributes:
        ended: lines that are to be told, in order.
        begun: by key and stream, a line that has not ended.
        omitted: by key, what was left out since it was last told.
    """

    ended: list[Printed] = field(default_factory=list)
    begun: dict[tuple[str, str], str] = field(default_factory=dict)
    omitted: dict[str, _Omitted] = field(default_factory=dict)
    _all: Allowance = field(default_factory=lambda: Allowance(WORKER_BURST, WORKER_RATE))
    _by_key: dict[str, Allowance] = field(default_factory=dict)
    _told_at: float = float("-inf")

    def write(self, key: str, stream: str, text: str, now: float) -> list[str]:
        """Task `key` writes `text`; the pieces of whole lines that it completes and that will be told.

        Args:
            now: monotonic seconds.
        Cost: linear in the text, some us for a line.
        """
        place = (key, stream)
        begun = self.begun.pop(place, "")
        if begun:
            text = begun + text
        if "\r" in text:
            text = _overwritten(text)
        end = text.rfind("\n") + 1
        rest = text[end:]
        if len(rest) > LINE_LENGTH_MAX or (rest and len(self.begun) >= KEYS_MAX):
            text, end, rest = text + "\n", len(text) + 1, ""
        if rest:
            self.begun[place] = rest
        if not end:
            return []
        return [piece for piece in _pieces(text[:end]) if self._admit(key, stream, piece, now)]

    def _admit(self, key: str, stream: str, text: str, now: float) -> bool:
        allowance = self._by_key.get(key)
        if allowance is None:
            if len(self._by_key) >= KEYS_MAX:
                self._by_key.clear()  # they begin anew; the worker's own bound holds all the same
            allowance = self._by_key[key] = Allowance(KEY_BURST, KEY_RATE)
        lines = text.count("\n")
        amount = max(len(text), LINE_COST * lines)
        if allowance.left(now) > 0 and self._all.left(now) > 0:
            allowance.take(amount, now)
            self._all.take(amount, now)
            self.ended.append((key, stream, text))
            return True
        if key not in self.omitted and len(self.omitted) >= KEYS_MAX:
            key = next(reversed(self.omitted))  # so many noisy tasks at once are not told apart
        omitted = self.omitted.setdefault(key, _Omitted())
        omitted.lines += lines
        omitted.nbytes += len(text)
        return False

    @property
    def has_any(self) -> bool:
        """Whether `take` may have something, now or later."""
        return bool(self.ended or self.begun or self.omitted)

    def take(self, now: float, is_last: bool = False) -> list[Printed]:
        """What is to be told now, each text of whole lines.

        Args:
            is_last: nothing will be written for a while: lines that have not ended are told too, with an end.
        """
        if is_last and self.begun:
            for (key, stream), text in self.begun.items():
                self._admit(key, stream, f"{text}\n", now)
            self.begun.clear()
        ended, self.ended = _joined(self.ended), []
        if self.omitted and now - self._told_at >= OMITTED_S:
            self._told_at = now
            for key, omitted in self.omitted.items():
                text = f"... {omitted.lines:,} lines ({omitted.nbytes:,} bytes) of {key} left out\n"
                ended.append((key, "stderr", text))
            self.omitted.clear()
        return ended

    def end(self, keys: list[str], now: float) -> None:
        """These tasks have ended: what they have begun to write is complete."""
        for place in [place for place in self.begun if place[0] in keys]:
            self._admit(*place, f"{self.begun.pop(place)}\n", now)


def _overwritten(text: str) -> str:
    """What a terminal would show of lines that go back to their beginning, as progress bars do."""
    return "\n".join([line[line.rstrip("\r").rfind("\r") + 1 :] for line in text.split("\n")])


def _pieces(text: str) -> list[str]:
    """`text`, which ends with a line's end, cut so that no piece is much longer than a line may be."""
    if len(text) <= LINE_LENGTH_MAX:
        return [text]
    pieces: list[str] = []
    for line in text.splitlines(keepends=True):
        while len(line) > LINE_LENGTH_MAX:
            pieces.append(f"{line[:LINE_LENGTH_MAX]}\n")
            line = line[LINE_LENGTH_MAX:]
        pieces.append(line)
    return pieces


def _joined(printed: list[Printed]) -> list[Printed]:
    """The same with neighbours of one task and stream in one entry."""
    joined: list[Printed] = []
    texts: list[str] = []
    last: tuple[str, str] | None = None
    for key, stream, text in printed:
        if last != (key, stream):
            if last is not None:
                joined.append((*last, "".join(texts)))
            last, texts = (key, stream), []
        texts.append(text)
    if last is not None:
        joined.append((*last, "".join(texts)))
    return joined
