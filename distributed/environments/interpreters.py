"""Interpreters of Python: what one is, and what another one must find there to run our processes.

An environment of its own has only what its requirements name. What our processes need besides (this package and what
it imports) is not installed again: a folder *behind* its packages links to where an interpreter has them, one top-level
name each, so that nothing else of the owner's shows through and whatever the requirements name comes first.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distributed.dataclass import dataclass
from distributed.errors import ConfigError
from distributed.versions import VERSION

__all__ = ["Interpreter", "clean_environment", "link_behind", "look_at", "own_interpreter"]

LOOK_TIMEOUT_S = 30.0  # for an interpreter to start and to say what it has; half a second mostly
REQUIRED = ("tornado", "msgpack", "cloudpickle", "psutil", "click", "tqdm", "prometheus-client")
USEFUL = ("uvloop", "pathspec")
PATH_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONSAFEPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")

# Run by the other interpreter: what it is, and the top-level names of what our processes import, with their places.
PROGRAM = """
import importlib.metadata as metadata, json, os, platform, re, sys
wanted, found, seen = json.loads(sys.argv[1]), {}, set()
def normal(name): return re.sub("[-_.]+", "-", name).lower()
while wanted:
    name = normal(wanted.pop())
    if name in seen:
        continue
    seen.add(name)
    try:
        package = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        continue
    for file in package.files or ():
        top = file.parts[0]
        place = str(package.locate_file(top))
        is_module = top.isidentifier() and os.path.isdir(place) or top.endswith((".so", ".py", ".dist-info"))
        if is_module and top not in ("setup.py", "__pycache__") and not top.startswith("__editable__"):
            found[top] = place
    for line in package.requires or ():
        if "extra ==" not in line and "extra==" not in line:
            wanted.append(re.match("[A-Za-z0-9._-]+", line)[0])
fault = version = None
try:
    import distributed
    import distributed.versions
    found["distributed"] = os.path.abspath(list(distributed.__path__)[0])
    version = distributed.versions.VERSION
    import distributed.worker.server
except (ImportError, AttributeError) as error:  # none, or the other package of this name, or not what it imports
    fault = f"{type(error).__name__}: {error}"[:500]
print(json.dumps({"version": platform.python_version(), "implementation": sys.implementation.name,
                  "prefix": sys.prefix, "places": found, "distributed": version, "fault": fault}))
"""


@dataclass(slots=True, frozen=True)
class Interpreter:
    """One that has this package.

    Attributes:
        python: its path.
        version: such as ``"3.11.7"``.
        places: what our processes import there: top-level name and path.
    """

    python: str
    version: str
    places: tuple[tuple[str, str], ...] = ()

    @property
    def minor(self) -> str:
        """Such as ``"3.11"``."""
        return ".".join(self.version.split(".")[:2])


def own_interpreter() -> Interpreter:
    """The one that runs this process, without its places, which cost a start to find out: see `look_at`."""
    return Interpreter(sys.executable, ".".join(map(str, sys.version_info[:3])))


def clean_environment(python: str, import_paths: str | None = None) -> dict[str, str]:
    """Environment variables for a process of the interpreter at `python`: nothing that leads it to packages of ours.

    Args:
        import_paths: its ``PYTHONPATH``; None: it has none.
    """
    found = {name: value for name, value in os.environ.items() if name not in PATH_VARIABLES}
    folder = os.path.dirname(python)
    if os.path.exists(os.path.join(os.path.dirname(folder), "pyvenv.cfg")):
        found["VIRTUAL_ENV"] = os.path.dirname(folder)
        found["PATH"] = os.pathsep.join([folder, found.get("PATH", os.defpath)])
    if import_paths is not None:
        found["PYTHONPATH"] = import_paths
    return found


async def look_at(python: str, import_paths: str | None = None) -> Interpreter:
    """What an interpreter is, and where it has what our processes import. Costs a start of it.

    Args:
        python: its path.
        import_paths: its ``PYTHONPATH``.
    Raises:
        ConfigError: it cannot be started, or has not this very version of this package; the text says what to do.
    """
    command = (python, "-P", "-c", PROGRAM, json.dumps(["distributed", *REQUIRED, *USEFUL]))
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=clean_environment(python, import_paths),
        )  # fmt: skip
    except OSError as error:
        raise ConfigError("--python", python, f"it cannot be started: {error.strerror or error}") from None
    try:
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            out, err = await process.communicate()
    except TimeoutError:
        raise ConfigError("--python", python, f"it said nothing within {LOOK_TIMEOUT_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        told: dict[str, Any] = json.loads(out)
    except ValueError:
        last = err.decode(errors="replace").strip().split("\n")[-1][:500]
        raise ConfigError("--python", python, f"it is no Python from 3.11 on: {last or 'it said nothing'}") from None
    if told["fault"] and "No module named 'distributed'" not in told["fault"]:
        raise ConfigError("--python", python, f"distributed cannot be imported there: {told['fault']}")
    if told["distributed"] != VERSION:
        has = f"distributed {told['distributed']}" if told["distributed"] else "no distributed"
        cure = f"install version {VERSION} for it: `{python} -m pip install ...`"
        raise ConfigError("--python", python, f"it has {has}, but must run what this process runs; {cure}")
    return Interpreter(python, told["version"], tuple(sorted(told["places"].items())))


def link_behind(folder: Path, places: Sequence[tuple[str, str]]) -> None:
    """Make `folder`, with a link to each of `places` by its name. OSError: it cannot be made."""
    folder.mkdir()
    for name, place in places:
        (folder / name).symlink_to(place)
