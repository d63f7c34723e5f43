"""Offers on other machines: their rooms cannot reach the Main's scheduler, which dials them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distributed.crews.links import must_dial
from distributed.crews.main import Main
from distributed.crews.options import MainSettings
from distributed.offers.local import LocalOffer
from distributed.security.keys import keyring

TIMEOUT_S = 20


@pytest.fixture
def main(project: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Main]:
    """A Main with an offer that it takes for one of another machine."""
    monkeypatch.setattr("distributed.crews.base.must_dial", lambda offer: True)
    offer = LocalOffer(keyring(), cores=1)
    main = Main(MainSettings(root=str(project.root), workers=(offer.address(),)))
    yield main
    main.close()
    offer.close()


def test_d15_rooms_work_for_a_main_that_has_dialled_them(main: Main, project: Any, tmp_path: Path) -> None:
    """D15: worker leaves/returns at will, Main requeues: the worker listens and Mains connect"""
    helpers = project.module
    assert [call.result(TIMEOUT_S) for call in [main.submit(helpers.add, (n, 1)) for n in range(20)]] == [*range(1, 21)]
    (crew,) = main._crews
    (room,) = crew.staffing.rooms.values()
    assert room.scheduler.startswith("dialled://")
    pid = main.submit(helpers.process).result(TIMEOUT_S)
    started, gate = tmp_path / "started", tmp_path / "gate"
    call = main.submit(helpers.touch_and_wait, (str(started), str(gate)))
    while not started.exists():
        pass
    os.kill(pid, signal.SIGKILL)
    gate.touch()
    assert call.result(TIMEOUT_S) is None
    assert main.submit(helpers.process).result(TIMEOUT_S) != pid


@pytest.mark.parametrize(
    ("address", "is_far"),
    [("tcp://127.0.0.1:8788", False), ("tls://192.0.2.1:8788", True), ("unix:///tmp/offer", False),
     ("tcp://machine:8788", True), ("tcp://localhost:8788", False)],
)  # fmt: skip
def test_only_offers_of_other_machines_are_dialled(address: str, is_far: bool) -> None:
    assert must_dial(address) is is_far
