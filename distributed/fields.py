"""What a field of a message may hold: one predicate for each annotation that `distributed.messages` uses.

A check is exact about types (a bool is no int) and linear in the length of the field; it never looks inside payloads.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

from distributed.protocol.serialize import BUFFER_NBYTES_MIN, Serialized

__all__ = ["CHECK_BY_ANNOTATION", "FAILURE_LENGTH_MAX", "PAYLOAD_NBYTES_MAX", "are_numbers", "are_strings"]

# What is bigger travels as `Serialized`, in frames: then it can be passed on in the header of any message.
PAYLOAD_NBYTES_MAX = 8 * BUFFER_NBYTES_MIN
FAILURE_LENGTH_MAX = 200_000  # characters; `distributed.protocol.failure` cuts at 50,000

_PAYLOAD_KINDS = frozenset({bytes, Serialized, type(None)})


def are_strings(value: Any) -> bool:
    """A list of texts."""
    return type(value) is list and set(map(type, value)) <= {str}


def _integers(value: Any) -> bool:
    return type(value) is list and set(map(type, value)) <= {int} and (not value or min(value) >= 0)


def _digests(value: Any) -> bool:
    return type(value) is list and set(map(type, value)) <= {bytes}


def are_numbers(value: Any) -> bool:
    """A list of finite numbers >= 0."""
    is_right = type(value) is list and set(map(type, value)) <= {float, int}
    return is_right and (not value or (min(value) >= 0 and isfinite(sum(value))))  # the sum tells of any NaN


def _booleans(value: Any) -> bool:
    return type(value) is list and set(map(type, value)) <= {bool}


def _string_lists(value: Any) -> bool:
    return type(value) is list and all(entry is None or are_strings(entry) for entry in value)


def _no_none(value: Any) -> bool:
    return _string_lists(value) and None not in value


def _pair_lists(value: Any) -> bool:
    return type(value) is list and all(
        type(entry) is list and all(are_strings(pair) and len(pair) == 2 for pair in entry) for entry in value
    )


def _failures(value: Any) -> bool:
    return type(value) is list and all(
        type(f) is list and len(f) == 4 and type(f[0]) is type(f[1]) is type(f[2]) is str
        and sum(map(len, f[:3])) <= FAILURE_LENGTH_MAX
        and (f[3] is None or type(f[3]) is dict or (type(f[3]) is bytes and len(f[3]) <= PAYLOAD_NBYTES_MAX))
        for f in value
    )  # fmt: skip


def _payloads(value: Any) -> bool:
    """Opaque, and of a size and shape that can be passed on in any message."""
    is_right = type(value) is list and set(map(type, value)) <= _PAYLOAD_KINDS
    return is_right and all(type(p) is not bytes or len(p) <= PAYLOAD_NBYTES_MAX for p in value)


CHECK_BY_ANNOTATION: dict[str, Callable[[Any], bool]] = {
    "dict[bytes, Payload]": lambda v: type(v) is dict and _digests(list(v)) and _payloads(list(v.values())),
    "list[TaskSpec]": lambda v: type(v) is list,
    "list[RunOptions] | None": lambda v: v is None or type(v) is list,
    "list[int]": _integers,
    "list[int] | None": lambda v: v is None or _integers(v),
    "list[str]": are_strings,
    "list[bytes]": _digests,
    "list[float]": are_numbers,
    "list[bool] | None": lambda v: v is None or _booleans(v),
    "list[Payload]": _payloads,
    "list[Failure]": _failures,
    "list[list[str] | None] | None": lambda v: v is None or _string_lists(v),
    "list[list[str]]": _no_none,
    "list[list[list[str]]]": _pair_lists,
    "dict[str, list[str]]": lambda v: type(v) is dict and are_strings(list(v)) and all(map(are_strings, v.values())),
    "dict[str, int]": lambda v: type(v) is dict and set(map(type, v)) <= {str} and _integers(list(v.values())),
    "dict[str, float]": lambda v: (
        type(v) is dict and set(map(type, v)) <= {str} and set(map(type, v.values())) <= {int, float}
    ),
    "bool": lambda v: type(v) is bool,
    "int": lambda v: type(v) is int and v >= 0,
    "str": lambda v: type(v) is str,
    "str | None": lambda v: v is None or type(v) is str,
}
