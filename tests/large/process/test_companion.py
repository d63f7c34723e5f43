"""`Companion`: a process of ours beside a program, whatever the program's user calls their modules."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distributed.crews.schedulers import SchedulerProcess
from distributed.offers.local import LocalOffer
from distributed.security.keys import KEY_NBYTES, shared_keyring

SHADOWS = ("json", "re", "asyncio", "dataclasses", "psutil", "msgpack", "tornado")


def test_modules_of_the_project_shadow_nothing_that_companions_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(f"raise AssertionError('this is the {name} of the project')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    keys = shared_keyring(os.urandom(KEY_NBYTES))
    schedulers, offer = SchedulerProcess(keys), LocalOffer(keys, cores=1)
    try:
        assert all(schedulers.hello())
        assert offer.address()
    finally:
        schedulers.close()
        offer.close()
