"""What an offer does, for people and programs that look: a snapshot of its machine. Pure."""

from __future__ import annotations

from typing import Any

from distributed.offers.records import Room, State, Tenant
from distributed.offers.retirement import nbytes_taken
from distributed.offers.tenants import Tenants

__all__ = ["status_of"]


def status_of(machine: Tenants, shares: dict[str, dict[str, float]], now: float) -> dict[str, Any]:
    """``lent``, ``taken_nbytes``, ``tenants`` and ``rooms``, as messages carry them; no tenant's secret name.

    Args:
        shares: what tenants use of the slots, see `Sharing.shares`.
    """
    return {
        "lent": {"cores": machine.limits.cores, "memory_nbytes": machine.limits.memory_nbytes},
        "taken_nbytes": nbytes_taken(machine.rooms.values()),
        "tenants": [{**_tenant(each, now), **shares.get(each.id, {})} for each in machine.tenants.values()],
        "rooms": [_room(each, machine.tenants.get(each.tenant)) for each in machine.rooms.values()],
    }


def _tenant(tenant: Tenant, now: float) -> dict[str, Any]:
    return {
        "name": tenant.name,
        "grant": tenant.owner,
        "is_connected": tenant.connection is not None,
        "lease_s": tenant.lease_s,
        "left_s": round(max(0.0, tenant.ends - now), 3),
        "joined_s": round(now - tenant.joined, 3),
        "rooms": sum(room.state is not State.ASKED for room in tenant.rooms.values()),
        "wishes": sum(room.state is State.ASKED for room in tenant.rooms.values()),
        "opened": tenant.opened,
        "memory_nbytes": nbytes_taken(tenant.rooms.values()),
    }


def _room(room: Room, tenant: Tenant | None) -> dict[str, Any]:
    return {
        "room": room.id,
        "tenant": None if tenant is None else tenant.name,
        "workspace": room.wish.workspace,
        "state": room.state.value,
        "pid": None if room.place is None else room.place["pid"],
        "running": room.running,
        "is_idle": room.is_idle,
        "memory_nbytes": room.memory_nbytes,
        "cause": room.cause or None,
    }
