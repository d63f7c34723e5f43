"""What packages a workspace needs: nothing of its own, or lines of requirements. Pure; files: `requirements`. Not pip.

The text travels, never the file: each worker builds the environment for itself, from the indexes that its owner uses.
So a line may name a package, not a place on the Main's disk, and only options that choose among packages are let
through. References to other files (``-r``, ``-c``) are followed where the Main is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from distributed.dataclass import dataclass, replace
from distributed.errors import ProtocolError, RequirementsError

__all__ = ["INHERIT", "NBYTES_MAX", "EnvironmentSpec", "Line", "parse"]

LINES_MAX = 5_000
LINE_NBYTES_MAX = 32 * 1024  # a package with the hashes of all its files
NBYTES_MAX = 2 * 1024 * 1024  # of all lines; a lock file of 300 packages with hashes has 0.4 MB
OWN_NAMES = ("distributed",)  # is there already, and the index has another package of that name

Line = tuple[str, bool]  # text; whether it is a constraint
Follow = Callable[[str, bool], Iterator[Line]]

OPTIONS = ("--pre", "--prefer-binary", "--require-hashes", "--only-binary", "--no-binary")
OPTIONS_TEXT = f"-r, -c, --hash, {', '.join(OPTIONS)}"
_OPTION = re.compile(r"(--pre|--prefer-binary|--require-hashes)|(--only-binary|--no-binary)[= ]([A-Za-z0-9._,:-]+)")
_REFERENCE = re.compile(r"(-r|--requirement|-c|--constraint)[= ]?\s*(\S.*)")
_NAME = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[A-Za-z0-9._,\s-]*\])?\s*(.*)")
_VERSIONS = re.compile(r"\(?[<>=!~][A-Za-z0-9<>=!~.,*+_\s-]*\)?\s*(;.*)?|;.*|")
_URL = re.compile(r"@\s*(?:git\+)?https://[^\s@/]+(?:/\S*)?(\s+;.*)?")
_HASHES = re.compile(r"(?:\s+--hash[= ]sha(?:256|384|512):[0-9a-f]+)+$")


@dataclass(slots=True, frozen=True)
class EnvironmentSpec:
    """Requirements, one text for one meaning. Make it with `of`.

    Attributes:
        lines: requirements and options, sorted; none: what the worker's owner has installed, as it is.
        constraints: versions that must be kept to if the packages are installed.
        python: minor version that suits best, such as ``"3.11"``; empty: any. A worker that does not have it uses its
            own.
    """

    lines: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    python: str = ""

    @staticmethod
    def of(lines: Iterable[str], python: str = "") -> EnvironmentSpec:
        """The environment of these lines.

        Raises:
            RequirementsError: a line that cannot be used, or too many; it names the line and the rule.
        """
        return EnvironmentSpec.gathered(parse(lines, "requirements"), python)

    @staticmethod
    def gathered(lines: Iterable[Line], python: str) -> EnvironmentSpec:
        """The environment of what `parse` made of some lines. RequirementsError: too many."""
        found = list(lines)
        kept = tuple(sorted({line for line, is_constraint in found if not is_constraint}))
        constraints = tuple(sorted({line for line, is_constraint in found if is_constraint}))
        return _bounded(EnvironmentSpec(kept, constraints if kept else (), python))

    @property
    def is_inherited(self) -> bool:
        """Whether nothing has to be built."""
        return not self.packages

    @property
    def digest(self) -> str:
        """64 hex digits that are the same for the same text and minor version; ``"inherit"`` begins no digest."""
        parts = ["distributed/environment/1", self.python, *self.lines, "-c", *self.constraints]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def for_python(self, python: str) -> EnvironmentSpec:
        """The same for another minor version."""
        return replace(self, python=python)

    @property
    def packages(self) -> tuple[str, ...]:
        """The lines that name packages."""
        return tuple(line for line in self.lines if not line.startswith("-"))

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        """The other ones: option and its value, which may be empty."""
        found = (line.replace("=", " ", 1).partition(" ") for line in self.lines if line.startswith("-"))
        return tuple((name, value) for name, _, value in found)

    def to_wire(self) -> list[Any]:
        """What `from_wire` takes."""
        return [list(self.lines), list(self.constraints), self.python]

    @staticmethod
    def from_wire(value: Any) -> EnvironmentSpec:
        """What a peer sent, checked as if it were a user's.

        Raises:
            ProtocolError: not the shape that `to_wire` makes, or too much.
            RequirementsError: a line that a worker must not take.
        """
        if type(value) is not list or len(value) != 3 or type(value[2]) is not str or len(value[2]) > 8:
            raise ProtocolError("an environment is a list [lines, constraints, python]")
        for lines in value[:2]:
            if type(lines) is not list or len(lines) > LINES_MAX or not all(type(line) is str for line in lines):
                raise ProtocolError(f"the lines of an environment are at most {LINES_MAX} texts")
            if sum(map(len, lines)) > NBYTES_MAX:  # before anything is looked for in them
                raise ProtocolError(f"the lines of an environment are at most {NBYTES_MAX:,} bytes")
        if value[2] and not re.fullmatch(r"3\.[0-9]{1,2}", value[2]):
            raise ProtocolError("the python of an environment is a minor version, such as '3.11'")
        parsed = [tuple(line for line, _ in parse(lines, "requirements")) for lines in value[:2]]
        return _bounded(EnvironmentSpec(parsed[0], parsed[1], value[2]))


INHERIT = EnvironmentSpec()


def _bounded(spec: EnvironmentSpec) -> EnvironmentSpec:
    everything = (*spec.lines, *spec.constraints)
    nbytes = sum(len(line.encode()) for line in everything)
    if len(everything) > LINES_MAX or nbytes > NBYTES_MAX:
        rule = f"at most {LINES_MAX:,} lines and {NBYTES_MAX:,} bytes"
        raise RequirementsError("requirements", 0, "", f"there are {len(everything):,} lines, {nbytes:,} bytes; {rule}")
    return spec


def parse(
    lines: Iterable[str], source: str, is_constraint: bool = False, follow: Follow | None = None
) -> Iterator[Line]:
    """The lines that count, normalised.

    Args:
        lines: of `source`, for people.
        is_constraint: whether they only choose among versions.
        follow: the lines of a file that one of these refers to, by its name; None: there are no files here.
    Raises:
        RequirementsError: a line that a worker must not take.
    """
    for number, line in _joined(lines):
        reference = _REFERENCE.fullmatch(line)
        if reference is not None and follow is not None:
            yield from follow(reference[2].strip(), is_constraint or reference[1] in ("-c", "--constraint"))
            continue
        if (reason := _fault(line)) is not None:
            raise RequirementsError(source, number, line[:200], reason)
        name = _NAME.match(line)
        if name is None or re.sub(r"[-_.]+", "-", name[1]).lower() not in OWN_NAMES:
            yield line, is_constraint


def _joined(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Number of the first, and text, of each line that says something; comments gone, continuations joined."""
    start, parts = 0, ""
    for number, raw in enumerate(lines, 1):
        line = re.sub(r"(^|\s)#.*", "", raw.rstrip("\r\n"))
        start = start if parts else number
        parts += line.removesuffix("\\")
        if line.endswith("\\"):
            continue
        if text := " ".join(parts.split()):
            yield start, text
        parts = ""
    if text := " ".join(parts.split()):
        yield start, text


def _fault(line: str) -> str | None:
    """Why a worker must not take this line; None: it may."""
    if len(line.encode()) > LINE_NBYTES_MAX:
        return f"it is longer than {LINE_NBYTES_MAX:,} bytes"
    if "${" in line or not line.isprintable():
        return "variables are not filled in, and there are printable characters only"
    if line.startswith("-"):
        if line.startswith(("-e", "--editable")):
            return "an editable package lies on this machine only: its code belongs into the workspace"
        if line.startswith(("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--trusted-host")):
            return "the owner of the worker chooses where packages come from (pip.conf, UV_INDEX_URL there)"
        return None if _OPTION.fullmatch(line) else f"this option is not for others; those that are: {OPTIONS_TEXT}"
    bare = _HASHES.sub("", line)
    found = _NAME.fullmatch(bare)
    rest = found[3] if found else ""
    if found is None or rest.startswith(("/", ":", "\\")) or (bare.endswith((".whl", ".tar.gz", ".zip")) and not rest):
        return "a file of this machine is not there: name a package, or put the code into the workspace"
    if rest.startswith("@"):
        return None if _URL.fullmatch(rest) else "packages come by name, or from https:// without a password in it"
    return None if _VERSIONS.fullmatch(rest) else "it is no requirement, such as numpy>=2,<3"
