"""A session as the carrier of calls to actors, and as who holds them for the proxies that it loads."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any

from distributed.actors import carriers, loading
from distributed.actors.calling import ActorCalls
from distributed.messages import Payload, WantKeys
from distributed.protocol.serialize import loads_payload
from distributed.security.keys import keyring
from distributed.security.permissions import WORKER
from distributed.worker.context import await_lent, wait_lent

__all__ = ["ActorCarrier"]


class ActorCarrier:
    """See the module; one per session, made on its loop."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._calls: ActorCalls | None = None
        self.actor_thread = threading.get_ident()

    @property
    def actor_calls(self) -> ActorCalls:
        """The calling side, made when the first actor is called."""
        calls = self._calls
        if calls is None:
            with self._session.table.lock:
                calls = self._calls
                if calls is None:
                    # As a worker, if we may, see `Session.worker`.
                    keys = self._session.client.keys
                    role = WORKER if WORKER in (keys or keyring()).key_by_role else None
                    calls = self._calls = ActorCalls(self._session.loop, role, keys)
        return calls

    def start(self) -> None:
        """Carry the calls of proxies that nobody else carries, too."""
        carriers.append(self)

    def close(self) -> None:
        """The session ends, and with it what is under way; on the loop."""
        if self in carriers:
            carriers.remove(self)
        if self._calls is not None:
            self._calls.close("this client was closed")

    def loads(self, payload: Payload) -> Any:
        """The object of a result; proxies in it hold their actors, and call over this session.

        Raises:
            Exception: whatever loading raises.
        """
        before, loading.session = loading.session, self
        try:
            return loads_payload(payload)
        finally:
            loading.session = before

    @contextmanager
    def loading(self) -> Iterator[None]:
        """What this thread loads meanwhile with `loads_payload` is as if by `loads`, which costs more for each."""
        before, loading.session = loading.session, self
        try:
            yield
        finally:
            loading.session = before

    def hold_actor(self, key: str) -> bool:
        """One holder more of `key`, for a proxy that was loaded; False: the session has ended, and holds nothing."""
        session = self._session
        with session.table.lock:
            if session.link.end is not None:
                return False
            if session.table.admit(key)[1]:
                session.link.outbox.append(WantKeys([key]))
        session.link.wake()
        return True

    def release(self, keys: list[str]) -> None:
        """A proxy is gone; from any thread, even inside garbage collection."""
        self._session.release(keys)

    def wait_for_actor(self, gate: threading.Lock, timeout_s: float | None) -> bool:
        """Block this thread until there is an answer; False: time is up. Ctrl-C gets through."""
        return wait_lent(lambda left_s: gate.acquire(timeout=-1 if left_s is None else left_s), timeout_s)

    async def await_actor(self, awaited: Awaitable[Any]) -> Any:
        """`wait_for_actor` for coroutines."""
        return await await_lent(awaited)
