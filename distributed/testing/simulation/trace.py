"""What happened, as a hash that must be the same everywhere, and as text for people when it is wanted."""

from __future__ import annotations

import hashlib
from typing import Any

from msgpack import unpackb

from distributed.testing.simulation.clock import SECOND, Clock

__all__ = ["Trace"]

TEXT_MAX = 160  # characters of one message in a story


class Trace:
    """Of one run.

    Attributes:
        lines: the story, if it is kept; else empty.
    """

    def __init__(self, clock: Clock, is_kept: bool) -> None:
        self._clock = clock
        self._hash = hashlib.sha256()
        self.is_kept = is_kept
        self.lines: list[str] = []

    def message(self, end: Any, packed: bytes) -> None:
        """`packed` arrives at `end`."""
        sender, receiver = end.other.process.name, end.process.name
        self._hash.update(f"\n{self._clock.now} {sender} > {receiver} ".encode())
        self._hash.update(packed)
        if self.is_kept:
            self._say(f"{sender} > {receiver}", describe(unpackb(packed, strict_map_key=False)))

    def note(self, name: str, text: str) -> None:
        """Something else happened to the process `name`."""
        self._hash.update(f"\n{self._clock.now} {name}: {text}".encode())
        if self.is_kept:
            self._say(name, text)

    def _say(self, who: str, text: str) -> None:
        self.lines.append(f"{self._clock.now / SECOND:9.4f}  {who:<24} {text}")

    def digest(self) -> str:
        """SHA-256 over all events so far, in hexadecimal."""
        return self._hash.hexdigest()


def describe(wire: list[Any]) -> str:
    """A message in few words."""
    op, *fields = wire
    parts = [_short(field) for field in fields if field not in (None, {}, [])]
    text = f"{op} {' '.join(parts)}"
    return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 3]}..."


def _short(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex() if len(value) == 8 else value[:16].decode("ascii", "replace").rstrip(".")
    if isinstance(value, list):
        return f"[{' '.join(map(_short, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_short(name)}: {_short(entry)}" for name, entry in value.items()) + "}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
