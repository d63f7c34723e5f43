"""Names that are imported when first touched (PEP 562), so that importing the package costs only what is used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["lazy_attributes"]


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
