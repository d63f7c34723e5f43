"""Offers with real rooms: two Mains at one, what a killed one leaves, what an owner takes back, and memory."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from distributed.calls import rpc
from distributed.errors import AuthenticationError, LeaseOverError, OfferWithdrawnError
from distributed.offers.local import LocalOffer
from distributed.process.folders import PREFIX
from distributed.security.keys import Keyring, keyring_from_master
from distributed.testing.mains import PlainMain
from distributed.testing.processes import Processes, wait_until
from distributed.units import MiB
from distributed.workspace.scanning import Workspace
from distributed.workspace.shipping import ship

TEST_S_MAX = 40.0
KEYS = keyring_from_master(bytes(range(32)))


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an ``async def`` test."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(TEST_S_MAX):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


class Lent:
    """An offer of this machine, in a process of its own, and the folders that it uses."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.rooms = folder / "rooms"
        self.store = folder / "store"
        self.rooms.mkdir(parents=True)
        given = {"cores": 2, "folder": str(self.rooms), "store": str(self.store), **options}
        self.offer = LocalOffer(KEYS, **given)
        self.address = self.offer.address()

    def main(self, name: str = "main", **options: Any) -> PlainMain:
        return PlainMain(self.address, KEYS, name, **options)

    async def status(self) -> dict[str, Any]:
        async with rpc(self.address, keys=KEYS) as offer:
            return dict(await offer.call("offer_status"))

    async def wait_status(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first status for which `condition` holds."""
        while not condition(status := await self.status()):
            await asyncio.sleep(0.02)
        return status

    def folders(self) -> list[str]:
        return [name for name in os.listdir(self.rooms) if name.startswith(PREFIX)]


@pytest.fixture(scope="module")
def lent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lent]:
    lent = Lent(tmp_path_factory.mktemp("offer"))
    yield lent
    lent.offer.close()
    assert lent.folders() == []


def write_project(folder: Path, text: str) -> Workspace:
    folder.mkdir()
    (folder / "helper.py").write_text(f"def answer():\n    return {text!r}\n")
    return Workspace(folder)


async def shipped_to(main: PlainMain, workspace: Workspace) -> str:
    """The id of a workspace that the offer has now."""
    manifest = workspace.scan()
    await ship(main.call, workspace, manifest)
    return str(manifest.id)


def tasks() -> Any:
    """What runs in rooms; made here, so that it travels by value and no room has to import this file (0.7 s)."""

    def ask_helper() -> Any:
        import helper  # type: ignore[import-not-found]

        return helper.answer()

    def wait_in_room(seconds: float) -> int:
        time.sleep(seconds)
        return os.getpid()

    def sleep_the_first_time(path: str) -> str:
        """For ever, unless it was tried before."""
        if not os.path.exists(path):
            Path(path).touch()
            time.sleep(1000)
        return "done"

    return ask_helper, wait_in_room, sleep_the_first_time


ask_helper, wait_in_room, sleep_the_first_time = tasks()


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


@on_a_loop
async def test_two_mains_use_one_offer_and_see_only_their_own(lent: Lent) -> None:
    """D14: two Mains share an offer; neither reaches the other's rooms, tasks or data."""
    async with lent.main("alice") as alice, lent.main("bob") as bob:
        rooms = await asyncio.gather(alice.open_room(name="here"), bob.open_room(name="here"))
        async with alice.client() as hers, bob.client() as his:
            asked = hers.map(wait_in_room, [0.1] * 4, pure=False), his.map(wait_in_room, [0.1] * 4, pure=False)
            pids = await asyncio.gather(*map(hers.gather, asked[:1]), *map(his.gather, asked[1:]))
            assert [set(each) for each in pids] == [{room["pid"]} for room in rooms]
            assert len(await hers.who_has()) == 4
            status = await lent.status()
            assert sorted(tenant["name"] for tenant in status["tenants"]) == ["alice", "bob"]
            assert alice.tenant not in str(status)
        assert await bob.call("close_room", room=rooms[0]["room"]) == {"closed": False}
        async with rpc(rooms[0]["worker"], keys=bob.keys) as worker:
            with pytest.raises(AuthenticationError):
                await worker.identity()
        async with rpc(rooms[0]["worker"], keys=KEYS) as worker:
            with pytest.raises(AuthenticationError):  # nor does the owner's key open it
                await worker.identity()
    wait_until(lambda: all(is_gone(room["pid"]) for room in rooms), "the rooms are gone")


@on_a_loop
async def test_two_versions_of_a_workspace_are_two_rooms_and_the_same_is_one(lent: Lent, tmp_path: Path) -> None:
    async with lent.main() as main:
        answers = []
        for text in ("old", "new"):
            workspace = await shipped_to(main, write_project(tmp_path / text, text))
            room = await main.open_room(workspace=workspace, name=text)
            assert await main.open_room(workspace=workspace) == room
            async with main.client() as client:
                answers.append(await client.submit(ask_helper, workers=text, pure=False))
        assert answers == ["old", "new"]


MAIN = """
import asyncio, os, sys
from distributed.testing.mains import PlainMain
from distributed.security.keys import keyring_from_master
from distributed.workspace.scanning import Workspace
from distributed.workspace.shipping import ship

async def main():
    async with PlainMain(sys.argv[1], keyring_from_master(bytes(range(32))), "killed", lease_s=1.0) as main:
        workspace = Workspace(sys.argv[2])
        manifest = workspace.scan()
        await ship(main.call, workspace, manifest)
        room = await main.open_room(workspace=manifest.id)
        print("room", room["pid"], flush=True)
        await asyncio.sleep(1000)

asyncio.run(main())
"""


@on_a_loop
async def test_a_killed_main_leaves_nothing_after_its_lease(lent: Lent, processes: Processes, tmp_path: Path) -> None:
    """D14: kill -9 of a Main: after its lease no process, folder, tenant or pinned blob of it is left."""
    write_project(tmp_path / "project", "x")
    main = processes.start(sys.executable, "-c", MAIN, lent.address, str(tmp_path / "project"))
    pid = int(await asyncio.to_thread(lambda: main.wait_said(r"room (\d+)")[1]))
    assert lent.folders()
    main.end(signal.SIGKILL)
    await asyncio.to_thread(wait_until, lambda: is_gone(pid), "its room is gone")
    await asyncio.to_thread(wait_until, lambda: not lent.folders(), "its folder is gone")
    await lent.wait_status(lambda status: status["tenants"] == status["rooms"] == [])


@on_a_loop
async def test_a_main_that_comes_again_finds_its_room_at_work(lent: Lent) -> None:
    """D14: a connection that breaks does not end the lease, nor what runs meanwhile."""
    async with lent.main() as main:
        room = await main.open_room()
        async with main.client() as client:
            future = client.submit(wait_in_room, 0.3)
            main.drop()
            joined = await main.join()
            assert joined["is_again"] and joined["rooms"] == [room]
            assert await future == room["pid"]


@on_a_loop
async def test_the_owner_takes_an_offer_back_in_the_middle_and_nothing_is_lost(lent: Lent, tmp_path: Path) -> None:
    """D15: one of two offers is withdrawn while tasks run; the Main puts them back, and it returns at will."""
    other = Lent(tmp_path / "other", cores=1)
    try:
        async with lent.main() as main, PlainMain(other.address, KEYS) as there:
            wish = {"scheduler": main.scheduler.address, "name": "leaves"}
            there.keys = main.keys
            await there.join()  # with the keys of the Main whose scheduler it shall use
            await main.open_room(name="stays", threads=1)
            await there.open_room(**wish)
            async with main.client() as client:
                marker = str(tmp_path / "tried")
                stuck = client.submit(sleep_the_first_time, marker, workers="leaves", allow_other_workers=True)
                await asyncio.to_thread(wait_until, lambda: os.path.exists(marker), "it runs")
                futures = client.map(wait_in_room, [0.05] * 20, pure=False)
                left = await there.offer.call("withdraw_offer", grace_s=0.2)
                assert left["cores"] == 0 and left["is_withdrawn"]
                ended = await there.wait_notice("room-ended")
                assert "withdrawn" in ended["cause"]
                assert len(await client.gather(futures)) == 20
                assert await stuck == "done"
                with pytest.raises(OfferWithdrawnError):
                    await there.open_room(**wish)
                assert (await there.offer.call("return_offer"))["cores"] == 1
                await there.wait_notice("returned")
                back = await there.open_room(**wish)
                assert await client.submit(wait_in_room, 0, workers="leaves", pure=False) == back["pid"]
    finally:
        other.offer.close()


@on_a_loop
async def test_sixteen_workspaces_in_turn_stay_within_the_memory_of_an_offer(tmp_path: Path) -> None:
    """D14: idle rooms are retired for new ones, least recently used first, so that memory suffices."""
    limit = 240 * MiB  # eight rooms or so; sixteen take some 350 MiB
    lent = Lent(tmp_path / "offer", memory_nbytes=limit, cores=1)
    peak, seen = 0, set()
    try:
        async with lent.main() as main:
            for number in range(16):
                workspace = await shipped_to(main, write_project(tmp_path / f"p{number}", str(number)))
                room = await main.open_room(workspace=workspace, name=f"w{number}", threads=1)
                async with main.client() as client:
                    assert await client.submit(ask_helper, workers=f"w{number}", pure=False) == str(number)
                status = await lent.status()
                peak = max(peak, status["taken_nbytes"])
                seen.add(room["pid"])
            retired = [notice for notice in main.notices if notice["notice"] == "room-ended"]
            assert len(seen) == 16 and len(retired) >= 4
            assert all(notice["is_expected"] for notice in retired)
            assert peak <= limit
    finally:
        lent.offer.close()


@on_a_loop
async def test_a_room_works_for_a_scheduler_that_it_cannot_reach(lent: Lent) -> None:
    """D15: the offer listens and Mains connect: a Main that nobody can reach dials the rooms that are made for it."""
    async with lent.main() as main:
        room = await main.open_room(scheduler=main.scheduler.dialled_address)
        main.scheduler.dial(room["nanny"])
        async with main.client() as client:
            assert await client.submit(wait_in_room, 0) == room["pid"]


@on_a_loop
async def test_a_lease_is_over_for_who_does_not_beat(lent: Lent) -> None:
    async with lent.main(lease_s=0.5) as main:
        room = await main.open_room()
        main.drop()
        await asyncio.to_thread(wait_until, lambda: is_gone(room["pid"]), "its room is gone")
        with pytest.raises(LeaseOverError):
            await main.open_room()


PARENT = """
import sys, time
from distributed.offers.local import LocalOffer
from distributed.security.keys import keyring_from_master

offer = LocalOffer(keyring_from_master(bytes(range(32))), cores=1, folder=sys.argv[1], store=sys.argv[1] + "/store")
print("offer", offer.pid, offer.address(), flush=True)
time.sleep(1000)
"""


@on_a_loop
async def test_a_local_offer_ends_with_a_main_that_is_killed(processes: Processes, tmp_path: Path) -> None:
    parent = processes.start(sys.executable, "-c", PARENT, str(tmp_path))
    said = await asyncio.to_thread(parent.wait_said, r"offer (\d+) (\S+)\n")
    async with PlainMain(said[2], KEYS) as main:
        room = await main.open_room()
        parent.end(signal.SIGKILL)
        pids = [int(said[1]), room["pid"]]
        await asyncio.to_thread(wait_until, lambda: all(map(is_gone, pids)), "the offer and its room are gone")
        assert not [name for name in os.listdir(tmp_path) if name.startswith(PREFIX)]


def test_an_offer_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    offer = LocalOffer(Keyring(KEYS.key_by_role), cores=1, store=str(tmp_path / "file"))
    with pytest.raises(Exception, match=r"the offer of this machine did not start: .*file"):
        offer.address()
    offer.close()
