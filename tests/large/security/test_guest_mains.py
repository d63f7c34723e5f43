"""A Main of another user at an offer: with a grant it is served, without one refused, and shown out when it ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distributed.calls import rpc
from distributed.process.fresh import import_paths
from distributed.security.grants import Grants
from distributed.security.keys import keyring
from distributed.testing.environments import offer_of
from distributed.testing.processes import wait_until

PROGRAM = """
import os, sys, time
from distributed.crews.main import Main
from distributed.crews.options import MainSettings

def double(x):
    return 2 * x

def keys_here():
    from distributed.security.keys import keyring
    has_owners = os.environ["DISTRIBUTED_KEY_FILE"] == OWNERS or keyring().fingerprint() == PRINT
    return "rooms", "the owner's key" if has_owners else "only the tenants key"

def tell(main, function, *args):
    try:
        print(main.submit(function, args).future(15).result(25), flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)

if __name__ == "__main__":
    credential = sys.argv[2] if len(sys.argv) > 2 else None
    main = Main(MainSettings(workers=(sys.argv[1],), credential=credential))
    tell(main, double, 21)
    tell(main, keys_here)
    tell(main, time.sleep, 1000)  # until the grant is withdrawn
    tell(main, double, 21)
    main.close()
"""


@pytest.fixture(scope="module")
def offer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an offer of the user with the key of these tests."""
    with offer_of(sys.executable, tmp_path_factory.mktemp("offer")) as address:
        yield address


class Guest:
    """The program of another user, with a key of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        (folder / ".distributedignore").touch()
        owners = f"OWNERS = {os.environ['DISTRIBUTED_KEY_FILE']!r}\nPRINT = {keyring().fingerprint()!r}\n"
        (folder / "program.py").write_text(owners + PROGRAM)
        self.said = folder / "said"
        variables = {"DISTRIBUTED_KEY_FILE": str(folder / "other-key"), "PYTHONPATH": import_paths()}
        with self.said.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "program.py", *arguments], cwd=folder, env={**os.environ, **variables},
                stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip

    def wait_lines(self, count: int) -> list[str]:
        wait_until(lambda: self.said.read_text().count("\n") >= count, self.said.read_text)
        return self.said.read_text().splitlines()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def tenants_of(offer: str) -> list[dict[str, Any]]:
    """As its owner sees them."""

    async def ask() -> list[dict[str, Any]]:
        async with rpc(offer) as owner:
            status: dict[str, Any] = await owner.call("offer_status")
            return list(status["tenants"])

    return asyncio.run(ask())


@pytest.fixture
def guests(tmp_path: Path) -> Iterator[list[Guest]]:
    made: list[Guest] = []
    yield made
    for guest in made:
        guest.end()


def test_a_guest_is_served_until_its_grant_is_withdrawn(offer: str, guests: list[Guest], tmp_path: Path) -> None:
    Grants().make("alice").save(tmp_path / "alice.credential")
    guest = Guest(tmp_path, offer, "alice.credential")
    guests.append(guest)
    assert guest.wait_lines(2) == ["42", "('rooms', 'only the tenants key')"]
    assert [tenant["grant"] for tenant in tenants_of(offer)] == ["alice"]
    Grants().withdraw("alice")
    wait_until(lambda: not tenants_of(offer), guest.said.read_text)
    lines = [line for line in guest.wait_lines(5)[2:] if not line.startswith("the offer at")]
    assert [line.partition(" ")[0] for line in lines] == ["AuthenticationError"] * 2
    assert "withdrawn" in lines[0]


def test_another_user_without_a_grant_is_refused_with_a_cure(offer: str, guests: list[Guest], tmp_path: Path) -> None:
    guest = Guest(tmp_path, offer)
    guests.append(guest)
    lines = [line for line in guest.wait_lines(5) if not line.startswith("the offer at")]
    assert [line.partition(" ")[0] for line in lines] == ["AuthenticationError"] * 4
    assert "ask for a grant" in lines[0]
