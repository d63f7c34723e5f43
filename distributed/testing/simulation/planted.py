"""Plants faults in the machines, one at a time, and counts the seeds until a rule breaks.

A fault replaces a piece of one function's source by another. The function keeps its identity and gets other code, so
that tables and modules that hold it run the fault too. The faults: `distributed.testing.simulation.planted_faults`.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from types import CodeType, FunctionType

from distributed.testing.simulation.planted_faults import FAULTS, Fault
from distributed.testing.simulation.simulate import simulate

__all__ = ["StaleFaultError", "hunt", "main", "planted"]


class StaleFaultError(AssertionError):
    """The source has changed so that the fault cannot be planted: write the fault anew, or drop it."""

    def __init__(self, fault: Fault, count: int) -> None:
        self._arguments = fault, count
        super().__init__(f"{fault.name}: its snippet is {count} times in {fault.module}.{fault.function}, not once")

    def __reduce__(self) -> tuple[type[StaleFaultError], tuple[Fault, int]]:
        return StaleFaultError, self._arguments  # it comes from another process


def _code_of(code: CodeType, names: list[str]) -> CodeType:
    """The code of what `names` lead to, from that of a module."""
    for name in names:
        code = next(part for part in code.co_consts if isinstance(part, CodeType) and part.co_name == name)
    return code


def _faulty_code(fault: Fault, function: FunctionType) -> CodeType:
    module = sys.modules[function.__module__]
    source, whole = inspect.getsource(function), inspect.getsource(module)
    faulty = source
    for old, new in fault.edits:
        if faulty.count(old) != 1:
            raise StaleFaultError(fault, faulty.count(old))
        faulty = faulty.replace(old, new)
    assert whole.count(source) == 1
    code = compile(whole.replace(source, faulty), module.__file__ or "", "exec", dont_inherit=True)
    return _code_of(code, fault.function.split("."))


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    """Within it the machines of this process have `fault`.

    Raises:
        StaleFaultError: the source does not have the snippet exactly once.
    """
    function = importlib.import_module(fault.module)
    for name in fault.function.split("."):
        function = getattr(function, name)
    assert isinstance(function, FunctionType)
    right = function.__code__
    function.__code__ = _faulty_code(fault, function)
    try:
        yield
    finally:
        function.__code__ = right


def hunt(fault: Fault, seeds: Iterable[int]) -> tuple[int, str] | None:
    """The first of `seeds` that finds `fault`, and what it said; None: all rules held."""
    with planted(fault):
        for seed in seeds:
            failure = simulate(seed).failure
            if failure is not None:
                return seed, failure.rule
    return None


def _hunt_named(name: str, seeds: range) -> tuple[int, str] | None:
    return hunt(next(fault for fault in FAULTS if fault.name == name), seeds)


def main(arguments: list[str] | None = None) -> int:
    """Run the command: a line for each fault; 1 if one that we claim to find was missed."""
    parser = argparse.ArgumentParser(
        prog="python -m distributed.testing.simulation.planted", description=textwrap.dedent(__doc__).splitlines()[0]
    )
    parser.add_argument("--seeds", type=int, default=300, help="how many to try for each fault")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("names", nargs="*", help="faults; none: all")
    options = parser.parse_args(arguments)
    seeds = range(options.first, options.first + options.seeds)
    names = options.names or [fault.name for fault in FAULTS]
    missed = 0
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        answers = {name: pool.submit(_hunt_named, name, seeds) for name in names}
        for fault in FAULTS:
            if fault.name in answers:
                found = answers[fault.name].result()
                missed += found is None and bool(fault.seeds)
                what = "missed" if found is None else f"{found[0] - options.first + 1:4}  {found[1]}"
                print(f"{fault.name:34} {what}", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
