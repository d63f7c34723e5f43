"""Lock, MultiLock and Semaphore: held by one, or by so many, of all programs and tasks of a cluster.

They are held until they are released, or until the client that holds them is gone: a worker's with its process.
"""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from distributed.client.client import Client
from distributed.client.coordination.base import Named, is_done, seconds
from distributed.client.coordination.errand import Errand
from distributed.errors import NotHeldError
from distributed.ids import unique_id
from distributed.messages import RequestAnswered

__all__ = ["Lock", "MultiLock", "Semaphore"]


class _Held(Named, ABC):
    """What can be acquired and released; a handle knows what it has acquired, oldest first."""

    def __init__(self, name: str | None = None, client: Client | None = None) -> None:
        super().__init__(name, client)
        self._leases: list[Errand] = []
        self._guard = threading.Lock()

    def _acquire(self, count: int, blocking: bool, timeout: str | float | None) -> Errand:
        timeout_s = seconds(timeout)
        waits = blocking and (timeout_s is None or timeout_s > 0)
        return self._errand("acquire", count=count, waits=waits, timeout_s=timeout_s if waits else None)

    def _keep(self, errand: Errand, answer: RequestAnswered | None) -> bool:
        if not is_done(answer):
            return False
        with self._guard:
            self._leases.append(errand)
        errand.settle()
        return True

    def _release(self) -> Errand:
        """The errand that releases the lease that this handle has had for the longest time.

        Raises:
            NotHeldError: there is none, or it was lost.
        """
        what = f"{self.kind} {self.name!r}"
        with self._guard:
            if not self._leases:
                raise NotHeldError(what, "this handle has not acquired it; acquire it first, or use `with`")
            lease = self._leases.pop(0)
        requests = lease.session.requests
        if lease.life != requests.life or lease.session.link.end is not None:
            reason = requests.reason or "ended"
            raise NotHeldError(what, f"the scheduler {reason}, so others may have had it meanwhile")
        return Errand(lease.session, self.kind, self._names(), "release", frees=lease)

    def release(self) -> Any:
        """Let the next one have it.

        Raises:
            NotHeldError: this handle does not hold it, or it was lost meanwhile.
        """
        return self._release().run(self._released)

    def _released(self, answer: RequestAnswered | None) -> None:
        if not is_done(answer):
            raise NotHeldError(f"{self.kind} {self.name!r}", "the scheduler gave it to others")

    @abstractmethod
    def _enter(self) -> Errand:
        """What `with` asks for."""

    def __enter__(self) -> Any:
        errand = self._enter()
        errand.now(lambda answer: self._keep(errand, answer))
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        # An exception on its way tells more than the loss that it may have come of.
        with contextlib.suppress(*([NotHeldError] if kind is not None else [])):
            self._release().now(self._released)

    async def __aenter__(self) -> Any:
        errand = self._enter()
        await errand.later(lambda answer: self._keep(errand, answer))
        return self

    async def __aexit__(self, kind: object, *rest: object) -> None:
        with contextlib.suppress(*([NotHeldError] if kind is not None else [])):
            await self._release().later(self._released)


class Lock(_Held):
    """A lock for programs and tasks on all machines of a cluster, first come first served.

    It is free again when its holder's client is gone. It is not reentrant: who holds it and asks again waits. ::

        lock = Lock('file')
        with lock:                       # or: async with lock
            ...
    """

    kind = "lock"

    def acquire(self, blocking: bool = True, timeout: str | float | None = None) -> Any:
        """Wait until nobody else holds it; whether it is held.

        Args:
            blocking: False: do not wait.
            timeout: seconds, or such as ``"10s"``; None: as long as it takes.
        Raises:
            RequestLostError: the scheduler has forgotten this client meanwhile. CoordinationLimitError: too many wait.
        """
        errand = self._acquire(0, blocking, timeout)
        return errand.run(lambda answer: self._keep(errand, answer))

    def locked(self) -> Any:
        """Whether anybody holds it now."""
        return self._errand("look").run(is_done)

    def _enter(self) -> Errand:
        return self._acquire(0, True, None)


class MultiLock(_Held):
    """Several locks, held together or not at all; the same locks that `Lock` has by these names.

    Args:
        names: at most 1,000.
    """

    kind = "lock"

    def __init__(self, names: Iterable[str] = (), client: Client | None = None) -> None:
        self.names = list(dict.fromkeys(names)) or [unique_id(self.kind)]
        super().__init__(", ".join(self.names), client)

    def acquire(self, blocking: bool = True, timeout: str | float | None = None, num_locks: int | None = None) -> Any:
        """Wait until all of them are free, or `num_locks` of them; whether they are held.

        Whoever waits for several keeps those behind it waiting for each of them, so that its turn comes.

        Args:
            blocking, timeout: as `Lock.acquire`.
        """
        if num_locks is not None and not 1 <= num_locks <= len(self.names):
            raise ValueError(f"num_locks={num_locks!r}: 1 to {len(self.names)}, as many as there are names")
        errand = self._acquire(num_locks or 0, blocking, timeout)
        return errand.run(lambda answer: self._keep(errand, answer))

    def __reduce__(self) -> tuple[Any, ...]:
        return MultiLock, (self.names,)

    def _names(self) -> list[str]:
        return self.names

    def _enter(self) -> Errand:
        return self._acquire(0, True, None)


class Semaphore(_Held):
    """Something that at most `max_leases` hold at a time, such as connections with a database.

    Args:
        max_leases: >= 1; the same for all who use the name at a time.
    """

    kind = "semaphore"

    def __init__(self, max_leases: int = 1, name: str | None = None, client: Client | None = None) -> None:
        if not isinstance(max_leases, int) or max_leases < 1:
            raise ValueError(f"max_leases={max_leases!r}: a whole number, 1 or more")
        super().__init__(name, client)
        self.max_leases = max_leases

    def acquire(self, timeout: str | float | None = None) -> Any:
        """Wait until fewer than `max_leases` hold it; whether this is one more.

        Args:
            timeout: seconds, or such as ``"10s"``; 0: do not wait; None: as long as it takes.
        Raises:
            BadRequestError: others use another `max_leases` for the same name. The rest as `Lock.acquire`.
        """
        errand = self._acquire(self.max_leases, True, timeout)
        return errand.run(lambda answer: self._keep(errand, answer))

    def get_value(self) -> Any:
        """How many hold it now, of all clients."""
        return self._errand("look").run(lambda answer: answer.number if answer is not None else 0)

    def __reduce__(self) -> tuple[Any, ...]:
        return Semaphore, (self.max_leases, self.name)

    def _enter(self) -> Errand:
        return self._acquire(self.max_leases, True, None)
