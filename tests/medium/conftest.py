"""What tests on loopback share: a key of their own, and for ``async def`` a loop that forgives nothing."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
from pathlib import Path
from typing import Any

import pytest

from distributed import config

TEST_S_MAX = 20


@pytest.fixture(scope="session", autouse=True)
def frozen(private_key: Path) -> None:
    """No test goes without the key of the tests; what is in memory already need not be looked at after each."""
    gc.freeze()


@pytest.fixture
def change_settings(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``change_settings(handshake_timeout_s="50ms")``: other settings for one test."""

    def change(**values: object) -> None:
        variables = {f"DISTRIBUTED_{name.upper()}": str(value) for name, value in values.items()}
        monkeypatch.setattr(config, "_settings", config.from_environment({**os.environ, **variables}))

    return change


@pytest.fixture
def forwarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of this test may be reached through a proxy."""
    monkeypatch.setenv("DISTRIBUTED_ALLOW_FORWARDING", "1")
    monkeypatch.setattr(config, "_settings", config.from_environment(os.environ))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an ``async def`` test on a fresh loop; what is logged by the loop, or left running on it, fails the test."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or pyfuncitem.get_closest_marker("gen_test"):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    faults: list[str] = []

    async def body() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, context: faults.append(f"{context['message']}: {context.get('exception')!r}")
        )
        async with asyncio.timeout(TEST_S_MAX):
            await pyfuncitem.obj(**arguments)
        for _ in range(5):  # what was closed may end
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks still run: {left}"
        gc.collect()  # tells of exceptions that nobody retrieved, and of sockets that nobody closed
        await asyncio.sleep(0)

    asyncio.run(body())
    assert not faults, faults
    return True
