"""Small functions that tests submit. In a module of their own, so that workers import nothing else with them."""

from __future__ import annotations

import time
from typing import Any

__all__ = ["dec", "div", "double", "inc", "slowinc", "throws"]


def inc(x: Any) -> Any:
    """``x + 1``."""
    return x + 1


def dec(x: Any) -> Any:
    """``x - 1``."""
    return x - 1


def double(x: Any) -> Any:
    """``2 * x``."""
    return 2 * x


def div(x: Any, y: Any) -> Any:
    """``x / y``."""
    return x / y


def throws(x: Any) -> Any:
    """Raises RuntimeError("hello!"), whatever `x`."""
    raise RuntimeError("hello!")


def slowinc(x: Any, delay: float = 0.02) -> Any:
    """``x + 1`` after `delay` seconds."""
    time.sleep(delay)
    return x + 1
