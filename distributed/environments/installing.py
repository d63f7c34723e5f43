"""Running the installers: uv where it is on the PATH, else the standard library's venv with pip."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from distributed.environments.interpreters import Interpreter, clean_environment
from distributed.environments.spec import EnvironmentSpec
from distributed.errors import EnvironmentBuildError

__all__ = ["fill", "find_uv", "python_of"]

LINES_KEPT = 30  # of what an installer says, for the error
LINE_LENGTH_MAX = 500

Progress = Callable[[str], object]


def python_of(folder: Path) -> str:
    """The interpreter of the virtual environment in `folder`."""
    return str(folder / "bin" / "python")


def find_uv() -> str | None:
    """Where uv is: on the PATH, or beside this interpreter; None: nowhere."""
    return shutil.which("uv") or shutil.which("uv", path=os.path.dirname(sys.executable))


async def fill(
    folder: Path,
    spec: EnvironmentSpec,
    base: Interpreter,
    uv: str | None,
    options: Sequence[str],
    timeout_s: float,
    progress: Progress,
) -> None:
    """Make a virtual environment of `base` in `folder`, which must not exist, and install what `spec` says.

    Args:
        uv: where uv is; None: pip.
        options: of the installer, by the owner of this machine, such as ``--find-links``; uv and pip share these.
        timeout_s: for everything together.
        progress: called with each line that the installer says.
    Raises:
        EnvironmentBuildError: it failed; the text has the installer's last lines. The caller removes the folder.
    """
    what = in_short(spec)
    run = _Runner(what, progress)
    lists = folder.with_name(folder.name + ".requirements")
    try:
        async with asyncio.timeout(timeout_s):
            if uv is not None:
                await run(base, uv, "venv", "--no-project", "--no-config", "--python", base.python, str(folder))
            else:
                await run(base, base.python, "-m", "venv", "--without-pip", str(folder))
            lists.mkdir()
            wanted, limits = lists / "requirements.txt", lists / "constraints.txt"
            wanted.write_text("".join(f"{line}\n" for line in spec.packages))
            limits.write_text("".join(f"{line}\n" for line in spec.constraints))
            asked = ["-r", str(wanted), *(["-c", str(limits)] if spec.constraints else []), *options]
            asked += _choosing(spec, uv is not None)
            python = python_of(folder)
            if uv is not None:
                await run(base, uv, "pip", "install", "--python", python, *asked)
            else:
                pip = ("-m", "pip", "--python", python, "--disable-pip-version-check", "--no-input")
                await run(base, await _has_pip(run, base, lists / "pip"), *pip, "install", *asked)
    except TimeoutError:
        raise EnvironmentBuildError(what, f"it took longer than {timeout_s:g} s", run.lines) from None
    except OSError as error:
        raise EnvironmentBuildError(what, f"{error.filename or folder}: {error.strerror or error}", run.lines) from None
    finally:
        shutil.rmtree(lists, ignore_errors=True)


async def _has_pip(run: _Runner, base: Interpreter, spare: Path) -> str:
    """An interpreter with pip: the owner's, or one made at `spare` where that has none, as environments of uv."""
    with contextlib.suppress(EnvironmentBuildError):
        await run(base, base.python, "-c", "import pip")
        return base.python
    await run(base, base.python, "-m", "venv", str(spare))
    return python_of(spare)


def _choosing(spec: EnvironmentSpec, is_uv: bool) -> list[str]:
    """The requirements' own options, as the installer spells them."""
    found: list[str] = []
    for name, value in spec.options:
        if is_uv and name in ("--pre", "--prefer-binary"):  # the latter is what uv does anyway
            found += ["--prerelease=allow"] if name == "--pre" else []
        else:
            found += [name, value] if value else [name]
    return found


def in_short(spec: EnvironmentSpec) -> str:
    """The requirements for an error text: the first ones, and how many more."""
    more = f" and {len(spec.packages) - 3} more" if len(spec.packages) > 3 else ""
    return ", ".join(line.split(" --hash")[0][:80] for line in spec.packages[:3]) + more


class _Runner:
    """Runs commands one after the other and keeps the last lines that they say."""

    def __init__(self, what: str, progress: Progress) -> None:
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._what = what
        self._progress = progress

    async def __call__(self, base: Interpreter, *command: str) -> None:
        self.lines.clear()
        environment = clean_environment(base.python)
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            cwd=os.path.dirname(os.path.abspath(base.python)),  # not where a project's settings would be found
            env={**environment, "NO_COLOR": "1", "UV_NO_PROGRESS": "1", "PIP_PROGRESS_BAR": "off"},
            start_new_session=True, limit=2**20,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            while chunk := await process.stdout.read(64 * 1024):
                for line in chunk.decode(errors="replace").splitlines():
                    if text := line.rstrip()[:LINE_LENGTH_MAX]:
                        self.lines.append(text)
                        self._progress(text)
            code = await process.wait()
        finally:
            if process.returncode is None:  # we were cancelled, or time is up
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if code:
            ended = f"exit code {code}" if code > 0 else f"signal {-code}"
            name = " ".join([os.path.basename(command[0]), *command[1:3]])
            raise EnvironmentBuildError(self._what, f"`{name} ...` ended with {ended}", self.lines)
