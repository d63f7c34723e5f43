"""What is wrong with a workspace, the environment it needs, or a place where it is laid out."""

from __future__ import annotations

from collections.abc import Sequence

from distributed.errors.base import DistributedError

__all__ = ["EnvironmentBuildError", "PythonMismatchError", "RequirementsError"]


class RequirementsError(DistributedError, ValueError):
    """The caller's fault: ``requirements=`` cannot be used; the text names file, line and rule.

    Attributes:
        source: the file, or what else the line is of.
        number: of the line, from 1; 0: it is not about a line.
    """

    def __init__(self, source: str, number: int, line: str, rule: str) -> None:
        self.source = source
        self.number = number
        self.line = line
        self.rule = rule
        place = f"{source}, line {number}" if number else source
        super().__init__(f"{place}: {line!r}: {rule}" if line else f"{place}: {rule}")


class EnvironmentBuildError(DistributedError):
    """An environment could not be built on a worker: mostly a package that does not exist or does not fit.

    The last lines of the installer say which; change the requirements, or ask the owner of the worker for what is
    missing there. Nothing half-built is kept, so the next call tries again.

    Attributes:
        what: the requirements, in short.
        reason: what ended how.
        lines: the installer's last ones.
    """

    def __init__(self, what: str, reason: str, lines: Sequence[str] = ()) -> None:
        self.what = what
        self.reason = reason
        self.lines = tuple(lines)
        told = "".join(f"\n    {line}" for line in lines)
        super().__init__(f"the environment for {what} could not be built: {reason}{':' if told else ''}{told}")


class PythonMismatchError(DistributedError, TypeError):
    """A function or class that only exists in this program goes as bytecode, which another Python cannot run.

    Put it into a module of the workspace, so that it travels by name; or let the worker's owner offer this Python too
    (``dworker --offer --python PATH``).

    Attributes:
        what: the function.
        ours, theirs: the two minor versions.
    """

    def __init__(self, what: str, ours: str, theirs: str, why: str = "it has no name to import it by") -> None:
        self.what = what
        self.ours = ours
        self.theirs = theirs
        self.why = why
        super().__init__(
            f"{what} cannot go from Python {ours} to Python {theirs}: {why}, and bytecode is of one minor version "
            f"only; define it in a module of the workspace, or have Python {ours} offered there "
            "(`dworker --offer --python PATH`)"
        )
