"""Sizes and times between people and the program: ``"2 GiB"`` is 2147483648, 100 s is ``"1m 40s"``."""

from __future__ import annotations

import re

from distributed.errors import ConfigError

__all__ = ["GiB", "KiB", "MiB", "format_nbytes", "format_seconds", "parse_nbytes", "parse_seconds"]

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB

_NBYTES_BY_UNIT = {"": 1, "b": 1, "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9,
                   "t": 10**12, "tb": 10**12, "kib": KiB, "mib": MiB, "gib": GiB, "tib": 1024 * GiB,
                   "ki": KiB, "mi": MiB, "gi": GiB, "ti": 1024 * GiB}  # fmt: skip
_SECONDS_BY_UNIT = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-zA-Z]*)\s*", re.IGNORECASE)


def parse_nbytes(text: str | int | float, setting: str = "size") -> int:
    """Bytes of ``"2 GiB"``, ``"500MB"``, ``"1e6"`` or a number; k, M, G are decimal, Ki, Mi, Gi binary.

    Raises:
        ConfigError: no such quantity; the text names `setting`.
    """
    return int(_parse(text, _NBYTES_BY_UNIT, setting, "write a size such as 500MB or 2GiB"))


def parse_seconds(text: str | int | float, setting: str = "time") -> float:
    """Seconds of ``"90"``, ``"1.5m"``, ``"20 ms"`` or a number.

    Raises:
        ConfigError: no such quantity; the text names `setting`.
    """
    return _parse(text, _SECONDS_BY_UNIT, setting, "write a time such as 30s, 5m or 200ms")


def format_nbytes(nbytes: float) -> str:
    """``1536`` is ``"1.5 KiB"``: three digits at most, binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(nbytes) < 999.5:
            return f"{nbytes:.0f} B" if unit == "B" else f"{nbytes:.3g} {unit}"
        nbytes /= 1024
    return f"{nbytes:.3g} TiB" if abs(nbytes) < 999.5 else f"{nbytes:,.0f} TiB"


def format_seconds(seconds: float) -> str:
    """``0.0123`` is ``"12.3 ms"``, ``100`` is ``"1m 40s"``."""
    if seconds < 0:
        return f"-{format_seconds(-seconds)}"
    for unit, factor in (("us", 1e6), ("ms", 1e3)):
        if seconds * factor < 999.5:
            return f"{seconds * factor:.3g} {unit}"
    if seconds < 99.5:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {rest}s"


def _parse(text: str | int | float, factors: dict[str, float] | dict[str, int], setting: str, rule: str) -> float:
    match = _QUANTITY.fullmatch(str(text))
    if match is None or match[2].lower() not in factors:
        raise ConfigError(setting, text, rule)
    quantity = float(match[1]) * factors[match[2].lower()]
    if quantity == float("inf"):
        raise ConfigError(setting, text, rule)
    return quantity
