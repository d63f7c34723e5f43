"""What peers tell of themselves, checked and bounded before it is kept or passed on to others."""

from __future__ import annotations

from typing import Any

from distributed.errors import BadRequestError

__all__ = ["bounded", "services_of", "tags_of", "texts"]

SERVICES_MAX, NAME_LENGTH_MAX = 16, 100
TAGS_MAX, TAG_LENGTH_MAX = 64, 200
STDERR_LINES, STDERR_LENGTH_MAX = 20, 500  # of a death certificate: a screen


def bounded(certificate: dict[str, Any]) -> dict[str, Any]:
    """A certificate that is worth keeping: the machine stores it with tasks, and errors carry it to clients."""
    lines = certificate.get("stderr")
    stderr = [str(line)[:STDERR_LENGTH_MAX] for line in lines[-STDERR_LINES:]] if isinstance(lines, list) else []
    known = ("cause", "exitcode", "signal", "memory_peak_nbytes", "pid", "worker")
    kept = {name: certificate[name] for name in known if isinstance(certificate.get(name), (str, int))}
    return {
        **kept,
        "cause": str(certificate.get("cause"))[:STDERR_LENGTH_MAX],
        "running": certificate["running"],
        "late": certificate.get("late", []),
        "stderr": stderr,
    }


def tags_of(tags: Any) -> tuple[str, ...]:
    """The tags of a worker, bounded: they are compared with patterns again and again."""
    if tags is None:
        return ()
    if not isinstance(tags, list) or len(tags) > TAGS_MAX or not all(isinstance(tag, str) for tag in tags):
        raise BadRequestError(f"tags={tags!r:.200}: at most {TAGS_MAX} texts")
    return tuple(dict.fromkeys(tag[:TAG_LENGTH_MAX] for tag in tags))


def services_of(services: Any) -> dict[str, int]:
    """Ports by name, as a worker tells them of what else answers beside it."""
    found = {} if services is None else services
    if not isinstance(found, dict) or len(found) > SERVICES_MAX:
        raise BadRequestError(f"services={services!r:.200}: at most {SERVICES_MAX} ports by name")
    for name, port in found.items():
        is_name = isinstance(name, str) and len(name) <= NAME_LENGTH_MAX
        if not is_name or type(port) is not int or not 0 <= port <= 65_535:
            raise BadRequestError(f"services={services!r:.200}: {name!r:.100} is no name, or has no port")
    return dict(found)


def texts(versions: Any) -> dict[str, str]:
    """What a peer says of its versions, fit to be passed on to others."""
    return {str(name): str(version) for name, version in dict(versions or {}).items()}
