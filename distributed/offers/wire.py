"""What Mains and offers say to each other: the contract of the Offer's ops, and the checks of what comes in. Pure.

Ops of who uses an offer (roles client and guest)::

    offer_info()                            what it lends, see `OfferInfo`
    join_offer(tenant, name, lease_s, keys, ticket_key)
                                            on a stream of its own (connect, write, read): becomes a tenant. Answered by
                                            notices until the stream closes. `keys`: {role: 32 bytes}, the Main's own
                                            keys, which its rooms get. `tenant`: 32 hex digits that only this Main
                                            knows: who knows them may act for it. `ticket_key`: 32 bytes or None:
                                            then credentials named `tenant_root` with this key, and tickets of
                                            them, are let in too, see below.
    open_room(tenant, wish)                 see `RoomWish`; answered by an `OpenRoom` as a dict, when the room has met
                                            the scheduler, or listens for one that dials: that one dials this offer, or
                                            the nanny that is answered. The same wish (see `RoomWish.identity`) while it
                                            is open: the same room. Without memory or cores for it the wish waits in the
                                            tenant's queue, at most `wait_s`.
    close_room(tenant, room, is_graceful)   {"closed": whether there was one}; graceful: what it holds is handed on
    workspace_*                             see `distributed.workspace.receiving`

On the stream of `join_offer` the Main says ``{"beat": number}`` at least every third of its lease, and in the end
``{"leave": True}``: then everything of it ends at once. Any message renews the lease. A stream that breaks does not end
it: a Main that joins again with the same `tenant` before the lease is over finds its rooms as they were.

Notices, dicts with the key ``notice``::

    joined       lease_s, is_again, rooms: [OpenRoom as dicts], offer: OfferInfo as a dict; always the first one
    beat         number: the answer to a beat, so that the Main knows that the offer lives
    room-ended   room, cause, is_expected: closed by the Main's wish, or retired because it was idle
    progress     room, line: what is being done for a room that was asked for, such as a line of pip's
    withdrawn    cores, memory_nbytes: what is left for tenants; grace_s: what is too much ends after so long
    returned     cores, memory_nbytes: what is there again
    ended        reason: no tenant any more (lease over, grant withdrawn, offer ends); the stream closes

Tickets: a room that submits work by itself is a Main of its own there, with a tenant's name, a scheduler and keys of
its own. It connects with a ticket (`security.credentials`) of its Main's credential: limited to a workspace, a time and
a depth (0: it may open no rooms). What it sends lies with its Main's contents, its slots are its Main's share, and when
its Main is no tenant any more, it is none either. Its own `ticket_key` lets nobody in, which would be worth more than
its ticket: those below it come with tickets of that.

Errors by type: LeaseOverError (unknown tenant: join again), OfferWithdrawnError (nothing is lent now: wait for
``returned``, or go elsewhere), OfferFullError (too many tenants, rooms or wishes, or `wait_s` is over),
UnknownWorkspaceError (send it first), WorkerStartError and what an environment can raise (the room did not come up).

Ops of the owner (role client, with the owner's key)::

    offer_status()                                  see `docs/offers.md`; role readonly will do
    withdraw_offer(cores, memory_nbytes, grace_s)   takes so much back, None and None: everything; answers what is left
    return_offer()                                  lends everything again; answers what is lent
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

from distributed.dataclass import dataclass, field, fields
from distributed.environments.spec import EnvironmentSpec
from distributed.errors import BadRequestError
from distributed.security.permissions import ROLES

__all__ = [
    "LEASE_S",
    "LEASE_S_MAX",
    "LEASE_S_MIN",
    "OFFER_PORT",
    "TICKETS",
    "OfferInfo",
    "OpenRoom",
    "RoomWish",
    "check_keys",
    "check_lease",
    "check_name",
    "check_tenant",
    "check_ticket_key",
    "tenant_root",
    "to_wire",
    "wish_from_wire",
]

OFFER_PORT = 8788
LEASE_S = 30.0  # of a Main that names none
LEASE_S_MIN, LEASE_S_MAX = 0.5, 600.0
WAIT_S, WAIT_S_MAX = 60.0, 3600.0  # of a wish, in its queue
NAME_LENGTH_MAX = 200
TEXT_LENGTH_MAX = 4096
ROOTS_MAX, ROOTS_LENGTH_MAX = 256, 65_536
KEY_NBYTES = 32
TICKETS = "tenant:"  # how names of tenants' credentials begin; no grant is called so

_TENANT = re.compile(r"[0-9a-f]{32}")
_WORKSPACE = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True, frozen=True)
class OfferInfo:
    """What an offer lends, to whom it lets in.

    Attributes:
        cores: slots for tenants; memory_nbytes: for all rooms together, None: no limit; both as they are now.
        tags: what `platform=` may match.
        platform: `sys.platform`; python: ``3.11``; pythons: minor versions of interpreters that rooms can have.
        rooms: that are open; rooms_max: that may be.
        is_withdrawn: nothing is lent at the moment.
    """

    id: str
    address: str
    cores: int
    memory_nbytes: int | None
    tags: list[str]
    platform: str
    python: str
    pythons: list[str]
    rooms: int
    rooms_max: int
    is_withdrawn: bool


@dataclass(slots=True, frozen=True)
class RoomWish:
    """What a tenant wants of `open_room`.

    Attributes:
        workspace: id of a workspace that was sent; None: no workspace, functions travel by value.
        entry: module to import as Main's ``__main__``, such as ``pkg.tool``; None: none.
        entry_file: the script, relative, where `entry` is not what its file would be imported as; None: it is.
        roots: folders of the workspace, relative, that come first in `sys.path`.
        source: the workspace's own folder, for an offer on the same machine: rooms find modules in the copy only.
        environment: an `EnvironmentSpec` as ``to_wire`` makes it; None: the offer's own interpreter and packages.
        scheduler: address of the Main's scheduler; ``dialled://...`` for one that dials, see `open_room`.
        threads: slots, None: as many as the offer has cores.
        memory_nbytes: bound of this room; None: the offer's.
        name: of the worker, unique among the scheduler's; None: the offer makes one.
        resources: amounts that tasks may ask for.
        wait_s: how long the wish may wait in its queue.
        number: tells rooms apart that are alike otherwise: Python code of one room uses one core at a time.
    """

    scheduler: str
    workspace: str | None = None
    entry: str | None = None
    entry_file: str | None = None
    roots: list[str] = field(default_factory=list)
    source: str | None = None
    environment: Any = None
    threads: int | None = None
    memory_nbytes: int | None = None
    name: str | None = None
    resources: dict[str, float] = field(default_factory=dict)
    wait_s: float = WAIT_S
    number: int = 0

    @property
    def identity(self) -> tuple[str | None, str, str, int]:
        """What makes two wishes of a tenant the same room: workspace, environment, scheduler and number."""
        return self.workspace, repr(self.environment), self.scheduler, self.number


@dataclass(slots=True, frozen=True)
class OpenRoom:
    """What `open_room` answers.

    Attributes:
        room: its name, for `close_room` and notices.
        worker, nanny: addresses; pid: of the worker's first life.
        python: its version, ``3.11.9``; environment: the digest of what is installed, None: the offer's own.
    """

    room: str
    workspace: str | None
    worker: str
    nanny: str
    pid: int
    threads: int
    memory_nbytes: int | None
    python: str
    environment: str | None
    scheduler: str


_CHECKS: dict[str, Any] = {
    "scheduler": lambda v: _is_text(v, TEXT_LENGTH_MAX) and v.isprintable(),
    "workspace": lambda v: v is None or (type(v) is str and _WORKSPACE.fullmatch(v) is not None),
    "entry": lambda v: v is None or (_is_text(v, NAME_LENGTH_MAX) and all(map(str.isidentifier, v.split(".")))),
    "entry_file": lambda v: v is None or (_is_inside(v) and v != ""),
    "roots": lambda v: (
        type(v) is list
        and len(v) <= ROOTS_MAX
        and all(_is_inside(root) for root in v)
        and sum(map(len, v)) <= ROOTS_LENGTH_MAX
    ),
    "source": lambda v: v is None or _is_text(v, TEXT_LENGTH_MAX),
    "environment": lambda v: v is None or EnvironmentSpec.from_wire(v) is not None,
    "threads": lambda v: v is None or (type(v) is int and 1 <= v <= 65_536),
    "memory_nbytes": lambda v: v is None or (type(v) is int and v > 0),
    "name": lambda v: v is None or (_is_text(v, NAME_LENGTH_MAX) and v.isprintable()),  # the owner may see it
    "resources": lambda v: (
        type(v) is dict
        and len(v) <= 1000
        and all(_is_text(name, NAME_LENGTH_MAX) and _is_number(amount, 0, 1e300) for name, amount in v.items())
    ),
    "number": lambda v: type(v) is int and 0 <= v < 65_536,
    "wait_s": lambda v: _is_number(v, 0, WAIT_S_MAX),
}


def wish_from_wire(value: Any) -> RoomWish:
    """The wish that a dict describes. Raises BadRequestError, which names the field, or as `EnvironmentSpec`."""
    if type(value) is not dict or not set(value) <= set(_CHECKS) or "scheduler" not in value:
        raise BadRequestError(f"a wish for a room is a dict with 'scheduler' and any of {', '.join(_CHECKS)}")
    for name, content in value.items():
        if not _CHECKS[name](content):
            raise BadRequestError(f"the wish for a room has a bad {name!r}: {content!r:.100}")
    return RoomWish(**value)


def to_wire(value: Any) -> dict[str, Any]:
    """One of the dataclasses here as a dict."""
    return {each.name: getattr(value, each.name) for each in fields(type(value))}


def check_tenant(value: Any) -> str:
    """A tenant's secret name, 32 hex digits. Raises BadRequestError."""
    if type(value) is not str or _TENANT.fullmatch(value) is None:
        raise BadRequestError("a tenant is named by 32 hex digits of its own making (secrets.token_hex(16))")
    return value


def tenant_root(tenant: str) -> str:
    """The name under which a tenant's tickets are known; tells nothing about the tenant's secret one."""
    return f"{TICKETS}{hashlib.sha256(tenant.encode()).hexdigest()[:32]}"


def check_ticket_key(value: Any) -> bytes | None:
    """32 bytes, or None. Raises BadRequestError."""
    if value is None or (type(value) is bytes and len(value) == KEY_NBYTES):
        return value
    raise BadRequestError(f"ticket_key is {KEY_NBYTES} bytes, or nothing")


def check_name(value: Any) -> str:
    """What people call a tenant. Raises BadRequestError."""
    if not _is_text(value, NAME_LENGTH_MAX) or not value.isprintable():  # people see it, on terminals too
        raise BadRequestError(f"a tenant's name is a printable text of 1 to {NAME_LENGTH_MAX} characters")
    assert isinstance(value, str)
    return value


def check_lease(value: Any) -> float:
    """Seconds of a lease, within our bounds. Raises BadRequestError: no number."""
    if not _is_number(value, 0, math.inf):
        raise BadRequestError("lease_s is a number of seconds")
    return min(LEASE_S_MAX, max(LEASE_S_MIN, float(value)))


def check_keys(value: Any) -> dict[str, bytes]:
    """A key for each role. Raises BadRequestError."""
    is_right = type(value) is dict and set(value) <= set(ROLES) and {"client", "worker"} <= set(value)
    if not is_right or any(type(key) is not bytes or len(key) != KEY_NBYTES for key in value.values()):
        raise BadRequestError(f"keys are {KEY_NBYTES} bytes for each role, at least for client and worker")
    return dict(value)


def _is_text(value: Any, length_max: int) -> bool:
    return type(value) is str and 0 < len(value) <= length_max and "\0" not in value


def _is_number(value: Any, low: float, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high


def _is_inside(root: Any) -> bool:
    """Whether it is a plain relative path; ``.`` or empty is the workspace itself."""
    if type(root) is not str or len(root) > TEXT_LENGTH_MAX or "\0" in root or root.startswith("/"):
        return False
    return ".." not in root.split("/")
