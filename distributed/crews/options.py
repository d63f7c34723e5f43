"""What a Main is told once, and what each of its calls asks for; plain values without any decision."""

from __future__ import annotations

from typing import Any

from distributed.dataclass import dataclass
from distributed.errors import ConfigError
from distributed.units import GiB
from distributed.workspace.limits import FILES_MAX, NBYTES_MAX

__all__ = ["ANY_PLATFORM", "REDISTRIBUTIONS", "CallOptions", "MainSettings"]

ANY_PLATFORM = ("*",)
REDISTRIBUTIONS = (None, "relayed", "direct")

QUEUED_CALLS_MAX = 200_000  # not decided yet; a call costs a Main some 2 KiB, so this is 400 MiB
QUEUED_NBYTES_MAX = 2 * GiB  # of their arguments


@dataclass(slots=True, frozen=True)
class CallOptions:
    """What one call asks of the worker that runs it.

    Attributes:
        platform: patterns, one of which must match a tag of the worker, such as ``linux-*``.
        threads: slots that the call takes; -1 and 0: one.
        memory_nbytes: that must be free for it; -1: no matter.
        strict: whether it fails when no worker can ever match; else it runs on any, and a warning says so.
        retries: how often it runs again when it raises.
        redistribute: what becomes of `@distributed` calls inside it: None: they run there and then; ``relayed``: the
            Main's scheduler gets them; ``direct``: the worker gives them to other workers itself.
    """

    platform: tuple[str, ...] = ANY_PLATFORM
    threads: int = -1
    memory_nbytes: int = -1
    strict: bool = False
    retries: int = 0
    redistribute: str | None = None

    def check(self) -> CallOptions:
        """Itself; ConfigError: a value that cannot be."""
        if self.redistribute not in REDISTRIBUTIONS:
            raise ConfigError("redistribute", self.redistribute, "it is None, 'relayed' or 'direct'")
        if not self.platform or not all(type(pattern) is str and pattern for pattern in self.platform):
            raise ConfigError("platform", self.platform, "one or more patterns such as 'linux-*', each a text")
        for name in ("threads", "memory_nbytes", "retries"):
            value, least = getattr(self, name), 0 if name == "retries" else -1
            if type(value) is not int or value < least:
                raise ConfigError(name, value, f"an integer of at least {least}")
        return self


@dataclass(slots=True, frozen=True)
class MainSettings:
    """What a Main is told before its first call.

    Attributes:
        ident: shown to people at offers and in keys; empty: the name of the entry file.
        entry: the program's file; None: that of the ``__main__`` module, if it has one.
        workers: addresses of offers; empty: those that the scheduler knows, else one of our own on this machine.
        scheduler: address of a running scheduler, whose workers' offers are used.
        credential: path of a grant for offers of other users; None: the key of this user.
        root, include, exclude, nbytes_max, files_max: of the workspace, see `distributed.workspace`; root None: the
            entry's project.
        requirements: of the environment, see `distributed.environments`.
        n_workers, threads, memory_limit: of the offer of our own; None: what this machine has.
        follow: whether edits of the workspace are picked up by the next call.
        timeout_s: for the first worker to be there; then calls fail. None: they wait, and say so.
        queued_calls_max, queued_nbytes_max: more calls than that, or more bytes of arguments, make the caller wait.
    """

    ident: str = ""
    entry: str | None = None
    workers: tuple[str, ...] = ()
    scheduler: str | None = None
    credential: str | None = None
    root: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    nbytes_max: int = NBYTES_MAX
    files_max: int = FILES_MAX
    requirements: Any = "inherit"
    n_workers: int | None = None
    threads: int | None = None
    memory_limit: str | int | None = None
    follow: bool = True
    timeout_s: float | None = None
    queued_calls_max: int = QUEUED_CALLS_MAX
    queued_nbytes_max: int = QUEUED_NBYTES_MAX
