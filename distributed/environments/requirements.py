"""What a user gives as ``requirements=``, as an `EnvironmentSpec`: files are read here, and the files they refer to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from distributed.environments.spec import NBYTES_MAX, EnvironmentSpec, Line, parse
from distributed.errors import RequirementsError

__all__ = ["required"]

NESTED_MAX = 8  # files that refer to files
LOCKS = (".toml", ".lock", ".json", ".yml", ".yaml")
HOW_TO_EXPORT = "it is no requirements file; export one (`uv export`, `pip-compile`, `poetry export`, `pip freeze`)"


def required(requirements: str | PurePath | Sequence[str] = "inherit", python: str = "") -> EnvironmentSpec:
    """The environment that a user wants.

    Args:
        requirements: ``"inherit"``, the path of a file in the format of pip's requirements, or lines of such a one.
        python: see `EnvironmentSpec`.
    Raises:
        RequirementsError: a line, or a file, that cannot be used; it names both and the rule.
    """
    if not isinstance(requirements, (str, PurePath)):
        return EnvironmentSpec.of(requirements, python)
    if str(requirements) == "inherit":
        return EnvironmentSpec(python=python)
    return EnvironmentSpec.gathered(_read(Path(requirements), False, 0), python)


def _read(path: Path, is_constraint: bool, depth: int) -> Iterator[Line]:
    if depth > NESTED_MAX:
        raise RequirementsError(str(path), 0, "", f"files that refer to files more than {NESTED_MAX} deep")
    if path.suffix in LOCKS or path.name == "Pipfile":
        raise RequirementsError(str(path), 0, "", HOW_TO_EXPORT)
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(NBYTES_MAX + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise RequirementsError(str(path), 0, "", f"it cannot be read: {reason}") from None
    if len(text) > NBYTES_MAX:
        raise RequirementsError(str(path), 0, "", f"it is longer than {NBYTES_MAX:,} bytes")

    def follow(name: str, is_nested_constraint: bool) -> Iterator[Line]:
        return _read(path.parent / name, is_nested_constraint, depth + 1)

    yield from parse(text.split("\n"), str(path), is_constraint, follow)
