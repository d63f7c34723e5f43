"""What the parts of `Client`, each with methods about one subject, use of the whole."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from distributed.client.session import Session

__all__ = ["ClientPart"]


class ClientPart:
    """Base of the classes that `Client` is made of. It declares only; `Client` has what is named here."""

    id: str
    name: str
    asynchronous: bool
    _session: Session | None
    _timeout_s: float
    _live: Callable[[], Session]  # the session; raises when there is none
    _finish: Callable[[Coroutine[Any, Any, Any]], Any]  # waits for a coroutine, or gives it to who awaits
