"""What is wrong with a workspace, the environment it needs, or a place where it is laid out."""

from __future__ import annotations

__all__: list[str] = []
