"""`Lock` under the name by which other libraries look for it."""

from __future__ import annotations

from distributed.client.coordination.locks import Lock

__all__ = ["Lock"]
