"""Center: a scheduler that also answers the plain ops, by which programs tell and ask who has what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from distributed.comm.stream import Stream
from distributed.config import CENTER_PORT
from distributed.faces.center.ops import CenterOps
from distributed.scheduler.effects import AcceptWorker
from distributed.scheduler.server import Scheduler
from distributed.scheduler.state import Settings
from distributed.security.keys import Keyring

__all__ = ["Center"]


class Center(Scheduler):
    """A `Scheduler` on port 8787 that also keeps metadata about members.

    Workers, clients and tools use it as any scheduler. Beside them there may be members: servers of any make that
    ``register`` by a plain request, tell which keys lie with them, and get no tasks. Whoever asks ``who_has``,
    ``has_what`` or ``ncores`` hears of both.
    """

    default_port = CENTER_PORT

    def __init__(
        self,
        *,
        keys: Keyring | None = None,
        settings: Settings | None = None,
        services: Mapping[Any, Callable[[Any], Any]] | None = None,
        http_port: int | None = None,
    ) -> None:
        super().__init__(keys=keys, settings=settings, services=services, http_port=http_port)
        ops = CenterOps(self.machine.state, self._services_of)
        self.book = ops.book
        self.add_handlers({
            "register": ops.register,
            "unregister": ops.unregister,
            "add_keys": ops.add_keys,
            "remove_keys": ops.remove_keys,
            "who_has": ops.who_has,
            "has_what": ops.has_what,
            "ncores": ops.ncores,
            "worker_services": ops.worker_services,
            "delete_data": ops.delete_data,
            "broadcast": ops.broadcast,
        })  # fmt: skip

    def _accept_worker(self, effect: AcceptWorker) -> None:
        self.book.forget(effect.address)  # a member's whose port it was, or what lay there in its former life
        super()._accept_worker(effect)
        stream = self._workers[effect.address]
        stream.add_close_callback(lambda: self._forget_worker(effect.address, stream))

    def _forget_worker(self, address: str, stream: Stream) -> None:
        if self._workers.get(address, stream) is stream:  # else it is back already
            self.book.forget(address)

    def _services_of(self, address: str) -> dict[str, int]:
        services = self._worker_details.get(address, {}).get("services")
        return dict(services) if isinstance(services, dict) else {}
