"""What every test shares: its size mark, which follows from its folder, and Hypothesis without wall-clock deadlines."""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from distributed import config

pytest_plugins = ["distributed.testing.plugin", "pytester"]

SIZES = ("small", "medium", "large")
HERE = Path(__file__).parent
HANG_S = 90.0  # the limit of pytest-timeout (60 s) raises in the main thread, where a loop's callback may swallow it

# A slow machine is no fault of the code; the time limit of a whole test (pyproject.toml) still holds.
set_hypothesis_home_dir(HERE.parent / "build" / "hypothesis")
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


_stderr: list[int] = []  # a copy from before output is captured


def pytest_configure() -> None:
    """Keep the real stderr for the stacks of a test that hangs; hear Ctrl-C, as do the processes that tests start.

    A shell without job control has what it starts in the background ignore SIGINT, and that is inherited.
    """
    _stderr.append(os.dup(2))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def private_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test may touch the key and the caches of the user who runs it; children inherit these."""
    path = tmp_path_factory.mktemp("key") / "key"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTRIBUTED_KEY_FILE", str(path))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))
        patch.setattr(config, "_settings", None)
        yield path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Show all stacks and end the whole run when a test hangs in spite of its time limit."""
    faulthandler.dump_traceback_later(HANG_S, exit=True, file=_stderr[0])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the folder it lies in; a test elsewhere is an error, because nobody would know its size."""
    for item in items:
        folder = item.path.relative_to(HERE).parts[0]
        if folder not in SIZES:
            raise pytest.UsageError(f"{item.nodeid}: tests lie in tests/{{{','.join(SIZES)}}}/")
        item.add_marker(getattr(pytest.mark, folder))
