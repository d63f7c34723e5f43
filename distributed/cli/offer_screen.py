"""The screen of ``dstatus`` for an offer, as text: what it lends, its tenants, its rooms. Asks nobody."""

from __future__ import annotations

from typing import Any

from distributed.cli.screen import table
from distributed.units import format_nbytes, format_seconds

__all__ = ["offer_screen"]

ID_LENGTH = 12  # of a workspace's


def offer_screen(status: dict[str, Any], width: int, height: int | None) -> str:
    """Lines of at most `width` characters, at most `height` of them; None: all.

    Args:
        status: what the op ``offer_status`` answers, and its ``address``.
    """
    lines = [*_head(status), *_tenants(status["tenants"]), *_rooms(status["rooms"])]
    return "\n".join(line if len(line) <= width else f"{line[: width - 3]}..." for line in lines[:height])


def _head(status: dict[str, Any]) -> list[str]:
    info, lent = status["offer"], status["lent"]
    memory = "no limit" if info["memory_nbytes"] is None else format_nbytes(info["memory_nbytes"])
    state = "withdrawn" if info["is_withdrawn"] else f"{info['cores']} of {lent['cores']} core(s)"
    return [
        f"offer     {status['address']}",
        f"lends     {state}; memory {format_nbytes(status['taken_nbytes'])} of {memory}",
        f"rooms     {info['rooms']} of {info['rooms_max']}; python {', '.join(info['pythons'] or [info['python']])}",
        f"tags      {', '.join(info['tags'])}",
    ]


def _tenants(tenants: list[dict[str, Any]]) -> list[str]:
    if not tenants:
        return ["", "no Main uses it"]
    rows = [
        (
            tenant["name"],
            tenant["grant"] or "-",
            "connected" if tenant["is_connected"] else "away",
            format_seconds(tenant["left_s"]),
            str(tenant["rooms"]),
            str(tenant["wishes"]),
            _number(tenant.get("slots")),
            _number(tenant.get("waiting")),
            "-" if tenant.get("slot_seconds") is None else f"{tenant['slot_seconds']:.1f}",
            format_nbytes(tenant["memory_nbytes"]),
        )
        for tenant in tenants
    ]
    head = ("main", "grant", "is", "lease", "rooms", "wishes", "slots", "waiting", "slot-seconds", "memory")
    return ["", *table(head, rows, "<<<>>>>>>>")]


def _rooms(rooms: list[dict[str, Any]]) -> list[str]:
    if not rooms:
        return []
    rows = [
        (
            room["room"],
            room["tenant"] or "-",
            (room["workspace"] or "-")[:ID_LENGTH],
            room["state"],
            "-" if room["pid"] is None else str(room["pid"]),
            str(room["running"]),
            format_nbytes(room["memory_nbytes"]),
            room["cause"] or "",
        )
        for room in rooms
    ]
    return ["", *table(("room", "main", "workspace", "state", "pid", "running", "memory", ""), rows, "<<<<>>><")]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
