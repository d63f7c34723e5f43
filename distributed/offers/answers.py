"""What offers say, checked by Mains: an offer may be somebody else's, and a Main goes on whatever it says. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from distributed.dataclass import fields
from distributed.errors import ProtocolError
from distributed.offers.wire import OfferInfo, OpenRoom

__all__ = ["info_from_wire", "lent_from_wire", "notice_from_wire", "room_from_wire"]

TEXT_LENGTH_MAX = 4096
LIST_LENGTH_MAX = 1000  # tags, versions of Python, rooms
CORES_MAX = 65_536

T = TypeVar("T")
_PYTHON = re.compile(r"[0-9]+\.[0-9]+")


def _is_text(value: Any) -> bool:
    return type(value) is str and len(value) <= TEXT_LENGTH_MAX


def _is_texts(value: Any) -> bool:
    return type(value) is list and len(value) <= LIST_LENGTH_MAX and all(map(_is_text, value))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_cores(value: Any) -> bool:
    return _is_count(value) and value <= CORES_MAX


def _or_none(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _is_python(value: Any) -> bool:
    return _is_text(value) and _PYTHON.match(value) is not None


_INFO: dict[str, Callable[[Any], bool]] = {
    "id": _is_text,
    "address": _is_text,
    "cores": _is_cores,
    "memory_nbytes": _or_none(_is_count),
    "tags": _is_texts,
    "platform": _is_text,
    "python": _is_python,
    "pythons": _is_texts,
    "rooms": _is_count,
    "rooms_max": _is_count,
    "is_withdrawn": lambda value: type(value) is bool,
}
_ROOM: dict[str, Callable[[Any], bool]] = {
    "room": _is_text,
    "workspace": _or_none(_is_text),
    "worker": _is_text,
    "nanny": _is_text,
    "pid": _is_count,
    "threads": _is_cores,
    "memory_nbytes": _or_none(_is_count),
    "python": _is_python,
    "environment": _or_none(_is_text),
    "scheduler": _is_text,
}
_NOTICES: dict[str, dict[str, Callable[[Any], bool]]] = {
    "joined": {
        "offer": lambda value: type(value) is dict,
        "rooms": lambda value: (
            type(value) is list
            and len(value) <= LIST_LENGTH_MAX
            and all(type(room) is dict and _is_text(room.get("room")) for room in value)
        ),
    },
    "room-ended": {"room": _is_text},
    "progress": {"line": lambda value: type(value) is str},
    "withdrawn": {"cores": _is_cores, "memory_nbytes": _or_none(_is_count)},
    "returned": {"cores": _is_cores, "memory_nbytes": _or_none(_is_count)},
}


def info_from_wire(value: Any, offer: str) -> OfferInfo:
    """What is lent at the address `offer`. Raises ProtocolError, which names it and the field."""
    return _checked(OfferInfo, value, _INFO, offer)


def room_from_wire(value: Any, offer: str) -> OpenRoom:
    """A room that was opened at the address `offer`. Errors as `info_from_wire`."""
    return _checked(OpenRoom, value, _ROOM, offer)


def notice_from_wire(value: Any, offer: str) -> dict[str, Any]:
    """A notice, with what a Main reads of it; kinds that are not known are left to the reader. Errors likewise."""
    if type(value) is not dict or not _is_text(value.get("notice")):
        raise ProtocolError(f"the offer at {offer} says what is no notice")
    _check(value, _NOTICES.get(value["notice"], {}), f"a notice {value['notice'][:40]!r}", offer)
    return value


def lent_from_wire(info: OfferInfo, notice: Mapping[str, Any]) -> OfferInfo:
    """What is lent after a notice ``withdrawn`` or ``returned``."""
    told = {each.name: getattr(info, each.name) for each in fields(OfferInfo)}
    cores = notice["cores"]
    return OfferInfo(
        **{**told, "cores": cores, "memory_nbytes": notice.get("memory_nbytes"), "is_withdrawn": cores == 0}
    )


def _checked(kind: type[T], value: Any, checks: Mapping[str, Callable[[Any], bool]], offer: str) -> T:
    what = f"what should be an {kind.__name__}"
    if type(value) is not dict:
        raise ProtocolError(f"the offer at {offer} says {what}, and it is none")
    _check(value, checks, what, offer)
    return kind(**{name: value[name] for name in checks})


def _check(value: Mapping[str, Any], checks: Mapping[str, Callable[[Any], bool]], what: str, offer: str) -> None:
    for name, is_right in checks.items():
        if not is_right(value.get(name)):
            raise ProtocolError(f"the offer at {offer} says {what}, and its {name} is none: {value.get(name)!r:.100}")
