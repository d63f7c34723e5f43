"""What users may say about their calls, checked before it is sent: keys, workers, resources, retries, priority."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any

from distributed.errors import BadRequestError
from distributed.ids import is_key
from distributed.messages import TaskSpec
from distributed.units import parse_nbytes
from distributed.worker.context import current

__all__ = ["checked_key", "named_workers", "task_spec"]

INTEGER_MAX = 2**31  # what messages can carry, and nobody needs more
NBYTES_MAX = 2**62
PLATFORM_LENGTH_MAX = 200
SECONDS_MAX = 1e9  # thirty years


def task_spec(
    digest: bytes,
    workers: str | Iterable[str] | None = None,
    resources: Mapping[str, float] | None = None,
    retries: int = 0,
    priority: int = 0,
    allow_other_workers: bool = False,
    platform: str | None = None,
    memory_limit: str | int | None = None,
    timeout: float | None = None,
    actor: bool = False,
    redundant: bool = False,
    threads: int = 1,
) -> TaskSpec:
    """What calls of the function named by `digest` share that have these options.

    Raises:
        BadRequestError: an option of the wrong kind. ValueError: a number out of its bounds.
    """
    # The scheduler closes the connection with whoever sends what is not in the contract, so it is checked here.
    retries, priority = _integer("retries", retries, 0), _integer("priority", priority, -INTEGER_MAX)
    names = named_workers(workers)
    if names is not None and (not names or not all(isinstance(name, str) and name for name in names)):
        raise BadRequestError(f"workers={workers!r}: one or more addresses, names or hosts, each a text")
    if resources is not None and not (isinstance(resources, Mapping) and all(map(_is_amount, resources.items()))):
        raise BadRequestError(f"resources={resources!r}: amounts >= 0 by name, such as {{'GPU': 1}}")
    if type(allow_other_workers) is not bool or (allow_other_workers and names is None):
        raise BadRequestError(f"allow_other_workers={allow_other_workers!r}: True or False, and only with workers=")
    if platform is not None and not (isinstance(platform, str) and 0 < len(platform) <= PLATFORM_LENGTH_MAX):
        raise BadRequestError(f"platform={platform!r}: a tag of workers, such as 'linux' or 'linux-*'")
    if type(actor) is not bool:
        raise BadRequestError(f"actor={actor!r}: True or False")
    if type(redundant) is not bool or (redundant and actor):
        raise BadRequestError(f"redundant={redundant!r}: True or False, and not for actors, of which there is one each")
    threads = _integer("threads", threads, 1)
    if threads > 1 and (actor or redundant):
        raise BadRequestError(f"threads={threads!r}: more than one is neither for actors nor for redundant=True")
    parent, depth = None, 0
    context = current()
    if context is not None and context.task is not None:  # a task's child: as urgent as its parent, unless told else
        parent, depth = context.task.key, context.task.options.depth + 1
        priority = max(-INTEGER_MAX, min(INTEGER_MAX, priority + context.task.options.priority))
    return TaskSpec(
        digest,
        priority,
        retries,
        True,
        None if names is None else tuple(sorted(names)),
        None if resources is None else tuple(sorted((name, float(amount)) for name, amount in resources.items())),
        allow_other_workers,
        platform,
        None if memory_limit is None else _nbytes("memory_limit", memory_limit),
        None if timeout is None else _seconds("timeout", timeout),
        actor=actor,
        parent=parent,
        depth=depth,
        redundant=redundant,
        threads=threads,
    )


def _seconds(name: str, value: Any) -> float:
    if not isinstance(value, (int, float)) or type(value) is bool or not 0 < value < SECONDS_MAX:
        raise ValueError(f"{name}={value!r}: seconds, more than 0")
    return float(value)


def _nbytes(name: str, value: Any) -> int:
    number = parse_nbytes(value, name) if isinstance(value, (str, int, float)) and type(value) is not bool else 0
    if not 0 < number < NBYTES_MAX:
        raise ValueError(f"{name}={value!r}: more than 0 bytes, such as '2GiB'")
    return number


def _is_amount(entry: tuple[Any, Any]) -> bool:
    name, amount = entry
    return isinstance(name, str) and isinstance(amount, (int, float)) and 0 <= amount < math.inf


def _integer(name: str, value: Any, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise BadRequestError(f"{name}={value!r}: an integer is needed") from None
    if not least <= number <= INTEGER_MAX:
        raise ValueError(f"{name}={value!r} must be between {least:,} and {INTEGER_MAX:,}")
    return number


def named_workers(workers: str | Iterable[str] | None) -> list[str] | None:
    """Names of workers as a list: one alone may be given without."""
    return None if workers is None else [workers] if isinstance(workers, str) else list(workers)


def checked_key(key: Any) -> str:
    """`key` if it can name a task; else BadRequestError."""
    if not is_key(key):
        raise BadRequestError(f"{key!r} cannot be a key: a key is a text of 1 to 1,000 characters (one for every call)")
    return str(key)
