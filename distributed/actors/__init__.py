"""Actors as their users see them: proxies, what their methods answer, and the connection over which calls travel.

The object itself never leaves its worker (`distributed.worker.actors`). This file has only what is looked at wherever
results are loaded, so that programs without actors pay nothing: who unpickles just now, and who could carry calls.
"""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["carriers", "loading"]


class _Loading(threading.local):
    """For whom this thread unpickles results: a session, whose proxies then hold their keys; None: nobody known."""

    session: Any = None


loading = _Loading()
carriers: list[Any] = []  # sessions and workers of this process, newest last; each has `actor_calls`
