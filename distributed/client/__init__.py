"""The user's side: Client, Future, wait and as_completed, found here by whoever looks for ``distributed.client``."""

from __future__ import annotations

from typing import Any

from distributed.lazy import lazy_attributes

__all__ = ["Client", "Future", "as_completed", "default_client", "fire_and_forget", "get_client", "wait"]


def __getattr__(name: str) -> Any:
    return lazy_attributes(__name__, name, _PLACES)


_PLACES = {
    "Client": "distributed.client.client",
    "Future": "distributed.client.futures",
    "as_completed": "distributed.client.waiting",
    "default_client": "distributed.client.client",
    "fire_and_forget": "distributed.client.data",
    "get_client": "distributed.client.inside",
    "wait": "distributed.client.waiting",
}
