"""The recipe without HTTP: a master's ops, and `Master`, through which programs call them."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distributed import config
from distributed.client.loop_thread import LoopThread
from distributed.core import rpc
from distributed.errors import (
    AuthenticationError,
    BadRequestError,
    CommClosedError,
    HomeError,
    NoMoreFiles,
    ProtocolError,
    StreamingOpError,
    WaitForTimeoutFile,
)
from distributed.manager.asking import Master
from distributed.manager.master import init
from distributed.manager.server import HomeServer
from distributed.manager.worker import Worker
from distributed.pull import lending
from distributed.recipes import leases
from distributed.security.keys import Keyring, role_key
from distributed.testing.processes import wait_until

BIG = 3_000_000
SETTINGS = {name: getattr(config, name) for name in config.__all__ if name.isupper()}


class Desk:
    """A master on a loop of its own, and connections to it that end with the test."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.home = home
        self.thread = LoopThread("desk")
        self.server = HomeServer.__new__(HomeServer)
        self.masters: list[Master] = []
        self.thread.run(self._start(SimpleNamespace(**{**SETTINGS, **settings})))

    async def _start(self, settings: Any) -> None:
        self.server = init(self.home, settings)
        self.server.listen(0)

    def connect(self, name: str | None = None) -> Master:
        master = Master(self.server.address)
        self.masters.append(master)
        if name is not None:
            assert master.register(name)
        return master

    def close(self) -> None:
        for master in self.masters:
            master.close()
        self.thread.run(self._stop())
        self.thread.stop()
        self.server.threads.shutdown()

    async def _stop(self) -> None:
        self.server.stop()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "small").write_bytes(b"small")
    (tmp_path / "big").write_bytes(bytes(BIG))
    (tmp_path / "empty").write_bytes(b"")
    desk = Desk(tmp_path, BATCH_MAX_BYTES=1_000_000)
    yield desk
    desk.close()


def sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def test_files_are_read_in_pieces_and_their_digests_told(desk: Desk) -> None:
    """H23: multiprocessing-manager recipe without HTTP: register, get_file, update_file_hash, home_status."""
    master = desk.connect("w")
    for _ in range(3):
        path, pieces = master.get_file("w")
        read = list(pieces)
        assert all(0 < len(piece) <= 1_048_576 for piece in read)
        content = b"".join(read)
        assert content == (desk.home / path).read_bytes()
        assert master.update_file_hash("w", path, sha1(content)) == "ok"
    with pytest.raises(NoMoreFiles):
        master.get_file("w")
    assert master.home_status() == {"state": {"total": 3, "finished": 3}}
    assert master.home_status(include_files=True)["files"]["big"] == sha1(bytes(BIG))


def test_small_files_come_together_and_big_ones_alone(desk: Desk) -> None:
    """H23: files in batch."""
    for number in range(40):
        (desk.home / f"s{number}").write_bytes(b"%d" % number)
    odd = os.fsdecode(b"o\xff\n\\d")
    (desk.home / odd).write_bytes(b"odd")
    other = Desk(desk.home, BATCH_MAX_BYTES=1_000_000)
    try:
        master = other.connect("w")
        seen: dict[str, str] = {}
        batches = []
        while len(seen) < 44:
            batch = {path: sha1(b"".join(pieces)) for path, pieces in master.get_files("w", 16)}
            batches.append(len(batch))
            assert master.update_file_hashes("w", batch) == {}
            seen |= batch
        assert seen[odd] == sha1(b"odd")
        assert max(batches) == 16
        assert seen == master.home_status(include_files=True)["files"]
    finally:
        other.close()


def test_a_name_is_held_by_one_worker(desk: Desk) -> None:
    master = desk.connect("w")
    assert [desk.connect().register("w"), desk.connect().register("v")] == [False, True]
    for name in ("", "x" * 201, "a\nb", 5):
        with pytest.raises(BadRequestError, match="printable"):
            master.register(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("wait_s", [float("nan"), -1, "1", None])
def test_what_is_no_time_to_wait_is_refused(desk: Desk, wait_s: Any) -> None:
    """A timer that is due at nan is neither before nor after any other: the loop's timers would stop."""
    with pytest.raises(BadRequestError, match="wait_s"):
        desk.connect("w").get_file("w", wait_s)


def test_names_of_workers_that_left_do_not_pile_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lending, "LESSEES_MAX", 3)
    monkeypatch.setattr(leases, "LESSEES_MAX", 3)
    for number in range(8):
        master = desk.connect(f"w{number}")
        master.close()
        wait_until(lambda name=f"w{number}": name in desk.server.master.dismissed, "its leaving is seen")  # type: ignore[misc]
    assert len(desk.server.master.dismissed) <= 4


def test_who_is_not_registered_gets_and_tells_nothing(desk: Desk) -> None:
    master = desk.connect()
    for call in (
        lambda: master.get_file("w"),
        lambda: master.get_files("w"),
        lambda: master.update_file_hash("w", "big", sha1(b"")),
        lambda: master.update_file_hashes("w", {}),
    ):
        with pytest.raises(BadRequestError, match="not registered"):
            call()


@pytest.mark.parametrize("keywords", [{"files_max": 0}, {"files_max": "x"}, {"wait_s": -1}, {"wait_s": None}])
def test_nonsense_is_refused(desk: Desk, keywords: dict[str, Any]) -> None:
    with pytest.raises(BadRequestError):
        desk.connect("w").get_files("w", **keywords)


def test_only_digests_of_files_that_a_worker_has_are_believed(desk: Desk) -> None:
    """H23: hashes validated, leases checked."""
    honest, liar = desk.connect("h"), desk.connect("l")
    path, pieces = honest.get_file("h")
    digest = sha1(b"".join(pieces))
    assert liar.update_file_hash("l", path, digest) == "this worker was not given the file"
    assert honest.update_file_hash("h", "../etc/passwd", digest) == "file not found"
    assert honest.update_file_hash("h", path, "zzz") == "file_hash is no digest of this master's algorithm"
    refused = honest.update_file_hashes("h", {path: 5, "none": digest})
    assert sorted(refused) == sorted([path, "none"])
    assert honest.update_file_hash("h", path, digest) == "ok"


def test_what_a_worker_had_waits_again_when_it_is_gone(desk: Desk) -> None:
    """H23: a worker that dies loses its lease."""
    first, second = desk.connect("a"), desk.connect("b")
    files = [first.get_file("a") for _ in range(3)]
    with pytest.raises(WaitForTimeoutFile):
        second.get_file("b")
    first.close()
    again = [second.get_file("b", wait_s=20)[0] for _ in range(3)]
    assert sorted(again) == sorted(path for path, _ in files)


def test_a_worker_that_waits_is_told_as_soon_as_there_is_something(desk: Desk) -> None:
    first, second = desk.connect("a"), desk.connect("b")
    taken = dict([(path, b"".join(pieces)) for path, pieces in (first.get_file("a") for _ in range(3))])
    for path, content in taken.items():
        first.update_file_hash("a", path, sha1(content))
    with pytest.raises(NoMoreFiles):
        second.get_file("b", wait_s=20)


def test_a_file_that_vanished_is_settled_and_the_others_come(desk: Desk) -> None:
    """H23: per-file errors."""
    (desk.home / "big").unlink()
    master = desk.connect("w")
    batch = {path: sha1(b"".join(pieces)) for _ in range(2) for path, pieces in master.get_files("w", 1)}
    assert sorted(batch) == ["below/small", "empty"]
    master.update_file_hashes("w", batch)
    with pytest.raises(NoMoreFiles):
        master.get_files("w")
    assert "big" in master.home_status(include_files=True)["errors"]


def test_a_file_that_changes_while_it_is_read_is_no_file(desk: Desk) -> None:
    big = desk.home / "huge"
    big.touch()
    os.truncate(big, 64_000_000)
    other = Desk(desk.home)
    try:
        master = other.connect("w")
        path, pieces = next(
            (path, pieces) for path, pieces in (master.get_file("w") for _ in range(4)) if path == "huge"
        )
        next(pieces)
        os.truncate(big, 10)
        with pytest.raises(ProtocolError, match="it changes while it is read"):
            list(pieces)
        assert isinstance(pieces.trouble, ProtocolError)
        assert master.home_status()["state"]["finished"] == 0  # and the connection is as good as before
        assert path not in other.server.master.home.errors
    finally:
        other.close()


def test_a_master_that_goes_is_told_as_such(desk: Desk) -> None:
    master = desk.connect("w")
    desk.thread.run(desk._stop())
    with pytest.raises(CommClosedError):
        master.get_file("w")


def test_a_master_lets_nobody_in_with_another_key(desk: Desk, tmp_path: Path) -> None:
    """H23: the same secret as everywhere."""

    async def start() -> HomeServer:
        server = init(desk.home, keys=Keyring({"worker": role_key(b"another", "worker")}))
        server.listen(0)
        return server

    server = desk.thread.run(start())
    with pytest.raises(AuthenticationError):
        Master(server.address)
    desk.thread.loop.call_soon_threadsafe(server.stop)
    server.threads.shutdown()
    with pytest.raises(HomeError, match="no folder"):
        init(tmp_path / "nowhere")


def test_a_file_that_was_asked_for_by_rpc_waits_again(desk: Desk) -> None:
    async def ask() -> None:
        async with rpc(desk.server.address) as server:
            assert await server.register(name="r")
            with pytest.raises(StreamingOpError):
                await server.get_file(name="r")
            assert not desk.server.master.has_processing_files()
            assert (await server.home_status())["state"]["total"] == 3

    asyncio.run(ask())


def test_a_worker_works_until_nothing_is_left(desk: Desk) -> None:
    """H23: multiprocessing-manager recipe without HTTP."""
    settings = SimpleNamespace(**SETTINGS)
    Worker("w", settings, desk.server.address).work()
    wait_until(lambda: desk.server.master.is_over, "that it left")
    assert desk.server.master.home.state == {"total": 3, "finished": 3}


def test_a_task_that_fails_is_an_error_of_its_file(desk: Desk) -> None:
    settings = SimpleNamespace(**{**SETTINGS, "HASH_ALGORITHM": f"{__name__}:nothing"})
    with pytest.raises(ValueError, match="HASH_ALGORITHM"):
        Worker("w", settings, desk.server.address).work()
