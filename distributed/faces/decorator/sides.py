"""Which side code runs on, the Main's or a worker's; functions and objects that differ by side; facts of a machine.

Not here: what nested calls do on a worker (`function`).
"""

from __future__ import annotations

import functools
import os
import shutil
import struct
import sys
from collections.abc import Callable
from enum import Enum
from typing import Generic, ParamSpec, TypeVar

from distributed.dataclass import dataclass
from distributed.deploy.machine import cores_available, memory_available
from distributed.rooms.entry import is_inside
from distributed.worker.context import current

__all__ = ["MachineFacts", "Proxy", "Sides", "machine_facts", "proxy", "side", "sided", "singleton"]

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")


class Sides(Enum):
    """The two sides of a program."""

    MAIN = "main"  # the user's program
    WORKER = "worker"  # a task, or a module that a worker imports for one


def side() -> Sides:
    """The side of whoever calls this."""
    return Sides.WORKER if current() is not None or is_inside() else Sides.MAIN


def sided(where: Sides) -> Callable[[Callable[P, R]], Callable[P, R | None]]:
    """A decorator: the function runs on that side only, and is None on the other one.

    @sided(Sides.MAIN)
    def report(done): print(done)
    """
    if not isinstance(where, Sides):
        raise TypeError(f"sided() needs a side, Sides.MAIN or Sides.WORKER, not {where!r}; write @sided(Sides.MAIN)")

    def decorate(function: Callable[P, R]) -> Callable[P, R | None]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
            return function(*args, **kwargs) if side() is where else None

        return call

    return decorate


class Proxy(Generic[P, R]):
    """One name, two implementations; `proxy` makes it."""

    def __init__(self, main: Callable[P, R], worker: Callable[P, R]) -> None:
        for which, function in (("main", main), ("worker", worker)):
            if not callable(function):
                raise TypeError(f"proxy() needs two functions; {which} is {type(function).__name__}")
        functools.update_wrapper(self, main)
        self.main = main
        self.worker = worker

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return (self.main if side() is Sides.MAIN else self.worker)(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Proxy: main {self.main!r}, worker {self.worker!r}>"


def proxy(main: Callable[P, R], worker: Callable[P, R]) -> Proxy[P, R]:
    """One function of two implementations: `main` is called in the program, `worker` in its tasks.

    open_log = proxy(main=open_file, worker=open_socket)
    """
    return Proxy(main, worker)


def singleton(cls: Callable[[], C]) -> C:
    """A decorator: the name of the class is its only instance, made there and then on each side.

        @singleton
        class settings: depth = 3

    Then ``settings.depth`` is 3, on the Main and in every room.
    """
    return cls()


@dataclass(slots=True, frozen=True)
class MachineFacts:
    """What there is on a machine, as far as this process may use it.

    Attributes:
        platform: as ``sys.platform``.
        bitness: 32 or 64, of this interpreter.
        threads: cores.
        memory: bytes.
        disk: bytes free where this process keeps temporary files; -1: unknown.
    """

    platform: str
    bitness: int
    threads: int
    memory: int
    disk: int


def machine_facts() -> MachineFacts:
    """Those of the machine that this runs on: call it in a task to learn about the worker's."""
    folder = os.environ.get("TMPDIR") or "/tmp"
    try:
        disk = shutil.disk_usage(folder).free
    except OSError:
        disk = -1
    return MachineFacts(sys.platform, struct.calcsize("P") * 8, cores_available(), memory_available(), disk)
