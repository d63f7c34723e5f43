"""What the machine of an offer remembers, hears and says: records, events, effects. Pure."""

from __future__ import annotations

import enum
from typing import Any

from distributed.dataclass import dataclass, field
from distributed.offers.wire import RoomWish
from distributed.units import MiB

__all__ = [
    "Allow",
    "Answer",
    "Begin",
    "Cast",
    "CloseOffer",
    "CloseRoom",
    "Disconnected",
    "End",
    "Forget",
    "Heard",
    "Join",
    "Leave",
    "Limits",
    "Notify",
    "Refuse",
    "ReturnOffer",
    "Room",
    "RoomFailed",
    "RoomGone",
    "RoomOpened",
    "RoomSeen",
    "State",
    "Tenant",
    "Tick",
    "Unwish",
    "Wish",
    "WithdrawOffer",
]


class State(enum.Enum):
    """Of a room: ASKED ─▶ STARTING ─▶ OPEN ─▶ RETIRING; STARTING and RETIRING may also be next to the end."""

    ASKED = "asked"
    STARTING = "starting"
    OPEN = "open"
    RETIRING = "retiring"


@dataclass(slots=True, frozen=True)
class Limits:
    """What an owner lends, and bounds on what tenants can make an offer hold.

    Attributes:
        cores: slots; memory_nbytes: of all rooms together, None: no limit.
        rooms_max, tenants_max: at once; tenants_per_grant_max: of these, with one grant, and with tickets below it.
        rooms_per_tenant_max, wishes_per_tenant_max: of each Main, with all tenants that its tickets have let in.
        room_nbytes: what a room is taken to need until it was looked at; a fresh one takes some 40 MiB.
        retire_fraction: of the memory; above it idle rooms are retired.
        retire_grace_s: how long a retired room may take to hand on what it holds.
    """

    cores: int
    memory_nbytes: int | None = None
    rooms_max: int = 64
    tenants_max: int = 64
    tenants_per_grant_max: int = 32
    rooms_per_tenant_max: int = 32
    wishes_per_tenant_max: int = 64
    room_nbytes: int = 48 * MiB
    retire_fraction: float = 0.9
    retire_grace_s: float = 10.0


@dataclass(slots=True)
class Room:
    """One room, from the wish for it to its end.

    Attributes:
        requests: calls of `open_room` that wait for it, while it is ASKED or STARTING.
        asked: when; deadline: until when it may be ASKED.
        place: what the server told of it (an `OpenRoom` as a dict), once it is OPEN.
        used: when it was last seen at work; memory_nbytes, is_idle, holds_nbytes, running: as last seen.
        cause: why it is RETIRING, and whether the Main knows that or need not mind.
    """

    id: str
    tenant: str
    wish: RoomWish
    threads: int
    asked: float
    deadline: float
    state: State = State.ASKED
    requests: list[int] = field(default_factory=list)
    place: dict[str, Any] | None = None
    used: float = 0.0
    memory_nbytes: int = 0
    is_idle: bool = True
    holds_nbytes: int = 0
    running: int = 0
    cause: str = ""
    is_expected: bool = False


@dataclass(slots=True)
class Tenant:
    """A Main that uses the offer, while its lease lasts.

    Attributes:
        owner: the name of the grant that admitted it; None: the owner's own key.
        payer: the tenant whose share and bounds are used: itself, or the Main above it that made its ticket.
        connection: number of its stream; None: it is broken, and its lease runs out.
        ends: when its lease is over; joined: when it came.
        rooms: by id, in the order of asking; a relation with `Room.tenant`, changed by the machine's `_add`, `_drop`.
        opened: rooms that it has had.
    """

    id: str
    owner: str | None
    payer: str
    name: str
    lease_s: float
    ends: float
    joined: float
    connection: int | None
    rooms: dict[str, Room] = field(default_factory=dict)
    opened: int = 0


# ---------------------------------------------------------------- events


@dataclass(slots=True)
class Join:
    """A Main came, or came again; `connection` is new."""

    tenant: str
    owner: str | None
    name: str
    lease_s: float
    connection: int


@dataclass(slots=True)
class Heard:
    """Something came from a tenant: its lease begins anew."""

    tenant: str


@dataclass(slots=True)
class Disconnected:
    """A stream of `join_offer` has ended."""

    tenant: str
    connection: int


@dataclass(slots=True)
class Leave:
    """A tenant goes, or has to go: its rooms end at once."""

    tenant: str
    reason: str


@dataclass(slots=True)
class Wish:
    """A call of `open_room`, with the number of that call."""

    tenant: str
    owner: str | None
    request: int
    wish: RoomWish


@dataclass(slots=True)
class Unwish:
    """Whoever called does not wait any more."""

    request: int


@dataclass(slots=True)
class CloseRoom:
    """The tenant does not need a room any more."""

    room: str
    is_graceful: bool


@dataclass(slots=True)
class RoomOpened:
    """A room that was begun has met its scheduler, or listens."""

    room: str
    place: dict[str, Any]


@dataclass(slots=True)
class RoomFailed:
    """A room that was begun did not come up."""

    room: str
    error: Exception


@dataclass(slots=True)
class RoomGone:
    """A room has ended, whyever."""

    room: str
    cause: str


@dataclass(slots=True)
class RoomSeen:
    """How a room is; told about once a second."""

    room: str
    memory_nbytes: int
    is_idle: bool
    holds_nbytes: int = 0
    running: int = 0


@dataclass(slots=True)
class WithdrawOffer:
    """The owner takes so much back; None and None: everything. What is too much after `grace_s` is killed."""

    cores: int | None
    memory_nbytes: int | None
    grace_s: float


@dataclass(slots=True)
class ReturnOffer:
    """The owner lends everything again."""


@dataclass(slots=True)
class CloseOffer:
    """The offer ends: as if everything was withdrawn, for ever."""

    grace_s: float


@dataclass(slots=True)
class Tick:
    """The time that `next_wakeup` named has come."""


# ---------------------------------------------------------------- effects


@dataclass(slots=True)
class Begin:
    """Lay out the workspace of this room and start it; then RoomOpened, RoomFailed or RoomGone."""

    room: str


@dataclass(slots=True)
class End:
    """End a room: `grace_s` for handing on what it holds, then kill it; 0: kill it at once. Then RoomGone."""

    room: str
    cause: str
    grace_s: float


@dataclass(slots=True)
class Answer:
    """Answer a call of `open_room`."""

    request: int
    place: dict[str, Any]


@dataclass(slots=True)
class Refuse:
    """Answer a call with an error."""

    request: int
    error: Exception


@dataclass(slots=True)
class Notify:
    """Say something to a tenant, if it is connected."""

    tenant: str
    notice: dict[str, Any]


@dataclass(slots=True)
class Cast:
    """Say something to every tenant."""

    notice: dict[str, Any]


@dataclass(slots=True)
class Forget:
    """A tenant is none any more: say so, close its stream, let go of its keys, pins and blobs."""

    tenant: str
    reason: str


@dataclass(slots=True)
class Allow:
    """So many slots are there for all rooms together, from now on."""

    cores: int
