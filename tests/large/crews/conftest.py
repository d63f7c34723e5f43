"""A project in a folder of its own, and Mains for it; the offer of this machine is theirs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from distributed.crews.main import Main
from distributed.crews.options import MainSettings

HELPERS = """
import os
import threading
import time
from pathlib import Path

VERSION = 1


class Wrong(Exception):
    pass


def version():
    return VERSION


def add(a, b=0):
    return a + b


def total(values):
    return sum(values)


def raise_wrong(text):
    raise Wrong(text)


def process():
    return os.getpid()


def wait_for(path, then=None):
    while not os.path.exists(path):
        time.sleep(0.005)
    return then


def touch_and_wait(touched, path):
    Path(touched).touch()
    return wait_for(path)


def append(path, text):
    with open(path, "a") as file:
        file.write(text)


def big(nbytes):
    return bytes(nbytes)


def length(value):
    return len(value)
"""


class Project:
    """A folder with one module, which this process has imported too, so that its functions have names."""

    def __init__(self, root: Path, name: str) -> None:
        self.root = root
        self.name = name
        self.path = root / f"{name}.py"
        self.path.write_text(HELPERS)
        self.module: ModuleType = importlib.import_module(name)

    def edit(self, before: str, after: str) -> None:
        """Replace text of the module, on disk only: what this process has imported stays."""
        text = self.path.read_text()
        assert before in text
        self.path.write_text(text.replace(before, after))


@pytest.fixture(scope="module", autouse=True)
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The stores of offers are nobody else's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def make_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Project]]:
    """Makes projects, each with a module of the given name."""
    folders: list[str] = []
    names: list[str] = []

    def make(name: str) -> Project:
        root = tmp_path_factory.mktemp(name)
        sys.path.insert(0, str(root))
        folders.append(str(root))
        names.append(name)
        return Project(root, name)

    yield make
    for folder in folders:
        sys.path.remove(folder)
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def project(make_project: Callable[[str], Project], request: pytest.FixtureRequest) -> Project:
    """One project for all tests of a file."""
    return make_project(f"helpers_of_{request.module.__name__.rpartition('.')[2]}")


@pytest.fixture(scope="module")
def main(project: Project) -> Iterator[Main]:
    """A Main for it, with an offer of two slots."""
    main = Main(MainSettings(root=str(project.root), threads=2))
    yield main
    main.close()
