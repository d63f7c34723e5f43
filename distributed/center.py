"""`Center` under the name by which people look for it."""

from __future__ import annotations

from distributed.faces.center.server import Center

__all__ = ["Center"]
