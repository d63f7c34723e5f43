"""Environments are built once, shared, kept, removed; what fails leaves nothing but its reason. No index is asked."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from distributed.environments import builder
from distributed.environments.builder import Environment, Environments
from distributed.environments.installing import fill, find_uv
from distributed.environments.interpreters import look_at
from distributed.environments.spec import INHERIT, EnvironmentSpec
from distributed.environments.zygotes import Zygotes
from distributed.errors import ConfigError, EnvironmentBuildError
from distributed.process.fresh import import_paths
from distributed.testing.environments import write_wheel

MINOR = ".".join(map(str, sys.version_info[:2]))

MAIN = """
import os, sys

def main(options, status, life):
    os.write(status, sys.prefix.encode())
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands for an index."""
    folder = tmp_path_factory.mktemp("wheels")
    for size in (1, 2):
        write_wheel(folder, "pebble", f"{size}.0", {"pebble.py": f"SIZE = {size}\n{MAIN}"})
    write_wheel(folder, "msgpack", "9.0", {"msgpack/__init__.py": "raise ImportError('of another time')\n"})
    write_wheel(folder, "distributed", "1.0", {"distributed/__init__.py": "", "distributed/versions.py": ""})
    write_wheel(folder, "dasklike", "1.0", {"dasklike.py": ""}, "Requires-Dist: distributed\n")
    return folder


@pytest.fixture
def options(wheels: Path) -> tuple[str, ...]:
    return ("--no-index", "--find-links", str(wheels))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which tests find what others have built."""
    return tmp_path_factory.mktemp("environments")


def answer_of(environment: Environment, program: str) -> str:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [environment.python, "-P", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=variables).stdout.strip()


async def prefix_of_a_child(environment: Environment) -> str:
    """Where what a zygote of the environment forks has its packages."""
    zygotes = Zygotes({"pebble": "pebble:main"})
    said, status = os.pipe()
    child = await zygotes.get(environment).spawn("pebble", {}, 2, status)
    os.close(status)
    assert (await child.ended).exitcode == 0
    zygotes.close()
    with open(said) as pipe:
        return pipe.read()


def built_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


async def test_what_is_inherited_is_the_interpreter_of_this_process(tmp_path: Path) -> None:
    environment = await Environments(tmp_path / "none").get(INHERIT)
    assert environment == Environment(sys.executable, ".".join(map(str, sys.version_info[:3])), "inherit", False)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "uses_uv", [pytest.param(True, marks=pytest.mark.skipif(not find_uv(), reason="no uv")), False]
)
async def test_an_environment_has_its_packages_and_behind_them_ours_and_nothing_else(
    uses_uv: bool, options: tuple[str, ...], shared: Path, tmp_path: Path
) -> None:
    folder = shared if uses_uv else tmp_path
    told: list[str] = []
    environments = Environments(folder, options=options, uses_uv=uses_uv)
    environment = await environments.get(EnvironmentSpec.of(["pebble<2"]), told.append)
    assert environment.is_built and environment.minor == MINOR
    assert any("pebble" in line for line in told)
    program = (
        "import pebble, msgpack, distributed.worker.server, importlib.util as u;"
        "print(pebble.SIZE, u.find_spec('pytest'), u.find_spec('hypothesis'), u.find_spec('pip'))"
    )
    assert answer_of(environment, program) == "1 None None None"
    assert await prefix_of_a_child(environment) == str(folder / environment.digest)
    environments.close()


async def test_an_interpreter_that_has_no_pip_gets_packages_too(options: tuple[str, ...], tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    own = await look_at(sys.executable, import_paths())
    bare = replace(own, python=str(tmp_path / "bare" / "bin" / "python"))
    await fill(tmp_path / "made", EnvironmentSpec.of(["pebble<2"]), bare, None, options, 60.0, [].append)
    packages = {path.name.partition("-")[0] for path in (tmp_path / "made").glob("lib/python*/site-packages/*")}
    assert packages == {"pebble", "pebble.py", "__pycache__"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare", "made"]


async def test_an_environment_is_built_once_for_all_who_ask_and_kept(options: tuple[str, ...], tmp_path: Path) -> None:
    spec = EnvironmentSpec.of(["pebble==2.0"])
    one, two = Environments(tmp_path, options=options), Environments(tmp_path, options=options)
    told: list[list[str]] = [[], [], []]
    found = await asyncio.gather(one.get(spec, told[0].append), one.get(spec, told[1].append),
                                 two.get(spec, told[2].append))  # fmt: skip
    assert len(set(found)) == 1
    assert told[0] == told[1]
    assert sorted(map(bool, (told[0], told[2]))) == [False, True]  # one of two processes, as it were, has built it
    one.close()
    two.close()
    again: list[str] = []
    later = Environments(tmp_path, options=options)
    assert await later.get(spec, again.append) == found[0]
    assert again == []
    later.close()


async def test_a_package_that_comes_before_ours_and_does_not_fit_is_refused(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    environments = Environments(tmp_path, options=options)
    with pytest.raises(EnvironmentBuildError, match=r"keeps distributed from running: .*of another time"):
        await environments.get(EnvironmentSpec.of(["msgpack==9.0"]))
    assert built_below(tmp_path) == []
    environments.close()


async def test_a_package_that_brings_another_distributed_is_refused(options: tuple[str, ...], tmp_path: Path) -> None:
    environments = Environments(tmp_path, options=options)
    with pytest.raises(
        EnvironmentBuildError, match=r"distributed cannot be imported there|another one called distributed"
    ):
        await environments.get(EnvironmentSpec.of(["dasklike"]))
    environments.close()


@pytest.mark.parametrize(
    "uses_uv", [pytest.param(True, marks=pytest.mark.skipif(not find_uv(), reason="no uv")), False]
)
async def test_a_failure_tells_what_the_installer_said_and_keeps_nothing(
    uses_uv: bool, options: tuple[str, ...], tmp_path: Path
) -> None:
    environments = Environments(tmp_path, options=options, uses_uv=uses_uv)
    with pytest.raises(EnvironmentBuildError, match=r"granite>=1.*could not be built.*ended with exit code") as caught:
        await environments.get(EnvironmentSpec.of(["granite>=1"]))
    assert any("granite" in line for line in caught.value.lines)
    assert built_below(tmp_path) == []
    environments.close()


async def test_what_a_killed_builder_left_is_built_anew(options: tuple[str, ...], shared: Path) -> None:
    environments = Environments(shared, options=options)
    spec = EnvironmentSpec.of(["pebble<2"])
    environment = await environments.get(spec)
    mark = shared / environment.digest / builder.MARK
    environments.release(environment)
    mark.unlink()
    assert await environments.get(spec) == environment
    assert mark.exists()
    environments.close()


async def test_the_longest_unused_goes_first_and_what_is_in_use_stays(options: tuple[str, ...], tmp_path: Path) -> None:
    environments = Environments(tmp_path, options=options, count_max=1)
    first = await environments.get(EnvironmentSpec.of(["pebble==1.0"]))
    second = await environments.get(EnvironmentSpec.of(["pebble==2.0"]))
    assert built_below(tmp_path) == sorted([first.digest, second.digest])  # both are in use
    environments.release(first)
    third = await environments.get(EnvironmentSpec.of(["pebble"]))
    assert built_below(tmp_path) == sorted([second.digest, third.digest])
    assert answer_of(second, "import pebble; print(pebble.SIZE)") == "2"
    environments.close()


async def test_a_build_that_takes_too_long_is_ended(options: tuple[str, ...], tmp_path: Path) -> None:
    environments = Environments(tmp_path, options=options, timeout_s=0.001)
    with pytest.raises(EnvironmentBuildError, match=r"took longer than 0.001 s"):
        await environments.get(EnvironmentSpec.of(["pebble"]))
    assert built_below(tmp_path) == []
    environments.close()


async def test_who_waits_alone_and_leaves_ends_the_build(options: tuple[str, ...], tmp_path: Path) -> None:
    environments = Environments(tmp_path, options=options)
    begun = asyncio.Event()
    getting = asyncio.ensure_future(environments.get(EnvironmentSpec.of(["pebble"]), lambda line: begun.set()))
    await begun.wait()
    getting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await getting
    while environments._builds:
        await asyncio.sleep(0.01)
    assert built_below(tmp_path) == []
    assert not environments._locks


@pytest.mark.parametrize(
    ("python", "rule"), [("/nowhere/python", "cannot be started"), ("/bin/true", "it is no Python from 3.11 on")]
)
async def test_an_interpreter_that_cannot_be_used_is_named(python: str, rule: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rule):
        await Environments(tmp_path, pythons=[python]).minors()


async def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match="must belong to this user"):
        await Environments(tmp_path).get(EnvironmentSpec.of(["pebble"]))
