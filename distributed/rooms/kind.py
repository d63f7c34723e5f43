"""What a zygote has to know to fork rooms; cheap to import."""

from __future__ import annotations

__all__ = ["ROOM_KIND", "ROOM_MAINS", "ROOM_PRELOAD"]

ROOM_KIND = "room"
ROOM_MAINS = {ROOM_KIND: "distributed.rooms.child:run_room_child"}  # for ``Zygote(ROOM_MAINS, tuple(ROOM_MAINS))``
ROOM_PRELOAD = (*ROOM_MAINS, "distributed.faces.decorator.function:Distributed")  # nearly every workspace imports it
