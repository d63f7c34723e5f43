"""The simple master: every file is settled, whatever single workers do."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tornado.web import stream_request_body

from distributed.recipes.receiving import ReceivingHandler
from distributed.simple import master as module
from distributed.simple.master import Master
from distributed.simple.worker import NewFileHandler, init
from distributed.testing.recipes import ODD_NAMES, made_folder, serving, some_settings
from distributed.web.guard import GuardedApplication, GuardedHandler

CONTENTS = {b"a": b"1", b"sub/b": b"22" * 1000, b"sub/deep/c": b"", b"d": b"4" * 200_000}
DIGESTS = {os.fsdecode(name): hashlib.sha1(content).hexdigest() for name, content in CONTENTS.items()}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.01)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return made_folder(tmp_path / "tree", CONTENTS)


def master_of(tree: Path, *ports: int, **settings: Any) -> Master:
    return Master(tree, some_settings(WORKERS=[("127.0.0.1", port) for port in ports], **settings))


def unused_port() -> int:
    """Of a socket that was closed: nobody listens there."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def lying(*answers: tuple[int, str]) -> GuardedApplication:
    """A worker that says these things, the last one for ever."""
    left = list(answers)

    class Liar(ReceivingHandler):
        async def part_begins(self, path: str | None) -> None:
            """Nothing is done with it."""

        part_goes_on = part_begins

        async def part_ends(self) -> None:
            """Nor with its end."""

        async def complete(self) -> None:
            self.answer(*(left.pop(0) if len(left) > 1 else left[0]))

        def aborted(self) -> None:
            """Nothing is kept."""

    return GuardedApplication([("/new_file", Liar)], {})


async def test_every_worker_has_one_file_at_a_time(tree: Path) -> None:
    """H06: one file per worker at a time."""
    at_once: dict[int, int] = {}
    most: list[int] = []

    class Counting(NewFileHandler):
        def ready(self) -> None:
            super().ready()
            app = id(self.application)
            at_once[app] = at_once.get(app, 0) + 1
            most.append(at_once[app])

        def on_finish(self) -> None:
            super().on_finish()
            at_once[id(self.application)] -= 1

    apps = [GuardedApplication([("/new_file", Counting)], {"config": None}) for _ in range(2)]
    async with serving(apps[0]) as one, serving(apps[1]) as two:
        master = master_of(tree, one, two)
        await master.run()
    assert master.home.files == DIGESTS
    assert len(at_once) == 2
    assert set(most) == {1}


async def test_names_of_any_bytes_go_end_to_end(tmp_path: Path) -> None:
    """H17: through the simple recipe."""
    tree = made_folder(tmp_path / "tree", {name: name for name in ODD_NAMES})
    async with serving(init()) as port:
        master = master_of(tree, port)
        await master.run()
    assert master.home.files == {os.fsdecode(name): hashlib.sha1(name).hexdigest() for name in ODD_NAMES}


async def test_a_worker_out_of_reach_is_left_out_and_the_others_do_its_files(tree: Path) -> None:
    """H07: one unreachable, two good."""
    dead = unused_port()
    async with serving(init()) as one, serving(init()) as two:
        master = master_of(tree, dead, one, two)
        await master.run()
    assert master.home.files == DIGESTS
    assert set(master.reasons) <= {f"http://127.0.0.1:{dead}"}  # the others may have been quicker


async def test_when_all_workers_are_out_of_reach_the_run_ends_without_digests(tree: Path) -> None:
    """H07: all unreachable ends with None."""
    master = master_of(tree, unused_port(), unused_port())
    await master.run()
    assert master.home.files == dict.fromkeys(DIGESTS)
    assert len(master.reasons) == 2
    assert not master.home.errors
    assert "refused" in next(iter(master.reasons.values()))


@pytest.mark.parametrize(
    "answer", [(200, "zzz"), (200, ""), (500, "oops"), (400, "no"), (302, "a" * 40), (204, ""), (202, "b" * 40)]
)
async def test_what_is_no_digest_never_becomes_one(tree: Path, answer: tuple[int, str]) -> None:
    """H07: non-200 is not a hash, nor is everything with 200; another worker does the file."""
    async with serving(lying(answer)) as liar, serving(init()) as good:
        master = master_of(tree, liar, good)
        await master.run()
    assert master.home.files == DIGESTS


async def test_a_file_that_a_failing_peer_gives_back_late_is_still_done(tree: Path) -> None:
    """H07: requeue never lost: the good worker has nothing left to do and waits."""
    release = asyncio.Event()

    class Late(NewFileHandler):
        async def complete(self) -> None:
            await release.wait()
            self.refuse(500, "after all, no")

    class Good(NewFileHandler):
        done: ClassVar[int] = 0

        async def complete(self) -> None:
            await super().complete()
            Good.done += 1
            if Good.done == len(DIGESTS) - 1:
                release.set()

    late = GuardedApplication([("/new_file", Late)], {"config": None})
    good = GuardedApplication([("/new_file", Good)], {"config": None})
    async with serving(late) as one, serving(good) as two:
        master = master_of(tree, one, two)
        await master.run()
    assert master.home.files == DIGESTS


async def test_a_worker_that_hangs_up_in_the_middle_costs_no_file(tree: Path) -> None:
    @stream_request_body
    class Vanishing(GuardedHandler):
        def data_received(self, chunk: bytes) -> None:
            self.detach().close()

        def post(self) -> None:
            self.detach().close()

    async with serving(GuardedApplication([("/new_file", Vanishing)], {})) as bad, serving(init()) as good:
        master = master_of(tree, bad, good)
        await master.run()
    assert master.home.files == DIGESTS


async def test_a_worker_of_another_key_is_left_out_at_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stranger(GuardedHandler):
        def post(self) -> None:
            self.answer(401, "no token, or one of another key")

    async with serving(GuardedApplication([("/new_file", Stranger)], {})) as stranger, serving(init()) as good:
        master = master_of(tree, stranger, good)
        await master.run()
    assert master.home.files == DIGESTS
    assert set(master.reasons.values()) <= {"401 no token, or one of another key"}


def refuse_b(pieces: Iterator[bytes]) -> str:
    content = b"".join(pieces)
    if content == CONTENTS[b"sub/b"]:
        raise ValueError("this one is bad")
    return str(len(content))


async def test_a_task_that_fails_on_one_file_leaves_the_others(tree: Path) -> None:
    settings = some_settings(HASH_ALGORITHM=f"{__name__}:refuse_b")
    async with serving(init(settings)) as port:
        master = master_of(tree, port, HASH_ALGORITHM=f"{__name__}:refuse_b")
        await master.run()
    assert master.home.files == {"a": "1", "sub/b": None, "sub/deep/c": "0", "d": "200000"}
    assert "this one is bad" in master.home.errors["sub/b"]
    assert "last of 3 attempts" in master.home.errors["sub/b"]
    assert not master.reasons


async def test_files_that_vanish_or_lead_out_get_a_reason_and_the_others_are_done(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"not yours")
    (tree / "link").symlink_to(tmp_path / "secret")
    (tree / "vanishing").write_bytes(b"x")
    async with serving(init()) as port:
        master = master_of(tree, port)
        master.home.load_files()
        (tree / "vanishing").unlink()
        await master.run()
    assert master.home.files == {**DIGESTS, "link": None, "vanishing": None}
    assert "leads out" in master.home.errors["link"]
    assert "No such file" in master.home.errors["vanishing"]


async def test_a_file_that_changes_while_it_is_read_is_no_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was sent is a mixture; it is read again, and after a few attempts it has a reason."""
    tree = made_folder(tmp_path / "tree", {b"log": b"x" * 300_000, b"other": b"y"})

    class Growing(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            with open(tree / "log", "ab") as file:
                file.write(b"more")
            return super().read(size) or b""

    async with serving(init()) as port:
        master = master_of(tree, port, BATCH_MAX_BYTES=1000, CHUNK_SIZE=65536)
        real = master.home.open
        monkeypatch.setattr(master.home, "open", lambda path: Growing(tree / path) if path == "log" else real(path))
        await master.run()
    assert master.home.files["other"] == hashlib.sha1(b"y").hexdigest()
    assert master.home.files["log"] is None
    assert "changes while it is read" in master.home.errors["log"]


async def test_workers_may_be_reached_by_unix_sockets(tree: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with serving(init(), port=None, path=path):
        master = Master(tree, some_settings(WORKERS=[f"unix://{path}"]))
        await master.run()
    assert master.home.files == DIGESTS


async def test_an_empty_folder_is_done_at_once(tmp_path: Path) -> None:
    master = master_of(made_folder(tmp_path / "tree", {b"a": b""}).parent / "tree", unused_port())
    (tmp_path / "tree" / "a").unlink()
    await master.run()
    assert master.home.state == {"total": 0, "finished": 0}
