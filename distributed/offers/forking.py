"""What forks the rooms of an offer: it imports what both stand on, and nothing that only offers need."""

from __future__ import annotations

from distributed.core import Server
from distributed.driver import Driver
from distributed.endpoint import Endpoint
from distributed.process.zygote import Zygote
from distributed.rooms.kind import ROOM_MAINS, ROOM_PRELOAD
from distributed.wire import from_wire

__all__ = ["SHARED", "room_zygote"]

SHARED = (Server, Driver, Endpoint, from_wire)  # imported once for all


def room_zygote() -> Zygote:
    """What forks rooms of this interpreter; make it before any thread, and before what only an offer needs."""
    return Zygote(dict(ROOM_MAINS), preload=ROOM_PRELOAD)
