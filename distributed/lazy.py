"""Importing by name: attributes of modules when they are first touched (PEP 562), and what ``module:name`` means.

So importing the package costs only what is used.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["lazy_attributes", "object_at"]


def lazy_attributes(module: str, name: str, places: Mapping[str, str]) -> Any:
    """The attribute `name` of the module that `places` gives for it, kept in `module` from then on.

    Raises:
        AttributeError: `places` does not know the name.
    """
    place = places.get(name)
    if place is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(place), name)
    setattr(sys.modules[module], name, value)
    return value


def object_at(place: str) -> Any:
    """What ``module:name`` is, where the name may have dots.

    Raises:
        ImportError, ValueError: no such module. AttributeError: nothing of that name is in it.
    """
    module, _, names = place.partition(":")
    found: Any = importlib.import_module(module)
    for name in names.split("."):
        found = getattr(found, name)
    return found
