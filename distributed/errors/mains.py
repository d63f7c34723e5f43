"""What is wrong between Mains and offers: admission, leases, rooms, handles of `@distributed` calls."""

from __future__ import annotations

__all__: list[str] = []
