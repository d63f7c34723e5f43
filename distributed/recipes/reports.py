"""How a worker tells what came of files: the bodies of ``PUT /update_file_hash`` and ``/update_file_hashes``; pure.

    /update_file_hash      form fields ``file_path`` and ``file_hash``, or ``file_error``: why there is none
    /update_file_hashes    a JSON object: by path a digest, or ``{"error": reason}``; to masters that push also null,
                           which says that the file was not begun

Paths are percent-encoded as in `naming`. Not here: what a master makes of it.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlencode

from distributed.errors import HomeError
from distributed.recipes.naming import decode_path

__all__ = ["FORM", "JSON", "Outcome", "Report", "Verdict", "field_of", "form", "json_bodies", "path_of", "read_json"]

FORM, JSON = "application/x-www-form-urlencoded", "application/json"
BODY_NBYTES_MAX = 500_000  # masters take up to 1 MiB

Outcome = str | dict[str, str] | None  # a digest, {"error": reason}, or not begun
Report = Mapping[str, Outcome]  # by percent-encoded path


class Verdict(enum.Enum):
    """What becomes of what a worker tells; the value is the text that it is told."""

    ACCEPTED = "ok"
    UNKNOWN_FILE = "file not found"
    NO_DIGEST = "file_hash is no digest of this master's algorithm"
    NOT_HELD = "this worker was not given the file"
    DISPUTED = "another worker has told another digest of this file, which stays"


def form(path: str, outcome: str | dict[str, str]) -> bytes:
    """The outcome of one file, whose path is percent-encoded."""
    value = {"file_error": outcome["error"]} if isinstance(outcome, dict) else {"file_hash": outcome}
    return urlencode({"file_path": path, **value}).encode()


def json_bodies(report: Report) -> Iterator[bytes]:
    """JSON objects of bounded size that hold all of it together."""
    part: dict[str, Outcome] = {}
    nbytes = 0
    for path, outcome in report.items():
        part[path] = outcome
        nbytes += len(path) + len(json.dumps(outcome)) + 6
        if nbytes > BODY_NBYTES_MAX:
            yield json.dumps(part).encode()
            part, nbytes = {}, 0
    if part:
        yield json.dumps(part).encode()


def read_json(body: bytes, may_be_null: bool = False) -> dict[str, Outcome] | None:
    """What such a body says, by percent-encoded path; None: it is none.

    Args:
        may_be_null: an outcome, see above.
    """
    try:
        report = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(report, dict):
        return None
    return report if all(_is_outcome(value) or (value is None and may_be_null) for value in report.values()) else None


def _is_outcome(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get("error"), str))


def field_of(arguments: Mapping[str, list[bytes]], name: str) -> str | None:
    """A field of a form; of several the last one."""
    values = arguments.get(name)
    return values[-1].decode(errors="surrogateescape") if values else None


def path_of(arguments: Mapping[str, list[bytes]], is_file: Callable[[str], bool]) -> str | None:
    """The path in a form, percent-encoded as a header had it; or, from who decoded it first, as it is."""
    text = field_of(arguments, "file_path")
    if not text:
        return None
    try:
        path = decode_path(text)
    except HomeError:
        return text
    return path if is_file(path) else text
