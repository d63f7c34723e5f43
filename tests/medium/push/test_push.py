"""The push recipe, master and workers: every file is settled, whatever single workers do."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from distributed.push.homes import Homes
from distributed.push.pushing import Master
from distributed.push.worker import NewFileHandler
from distributed.recipes import receiving
from distributed.security.permissions import CLIENT
from distributed.testing.recipes import ODD_NAMES, made_folder, serving
from distributed.web.asking import Answer, Connection
from distributed.web.connecting import headers
from distributed.web.guard import GuardedApplication, GuardedHandler
from distributed.web.multipart import begin_part, content_type, end_parts

CONTENTS = {b"a": b"1", b"sub/b": b"22" * 1000, b"sub/deep/c": b"", b"d": b"4" * 200_000}
DIGESTS = {os.fsdecode(name): hashlib.sha1(content).hexdigest() for name, content in CONTENTS.items()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return made_folder(tmp_path / "tree", CONTENTS)


async def until(condition: Any) -> None:
    """Look again and again; the test's own limit ends it."""
    while not condition():
        await asyncio.sleep(0.01)


async def ask(url: str, method: str, path: str, body: bytes | None = None, **head: str) -> Answer:
    connection = Connection(url)
    try:
        return await connection.ask(method, path, {name.replace("_", "-"): value for name, value in head.items()}, body)
    finally:
        connection.close()


def new_file(*files: tuple[str, bytes]) -> bytes:
    parts = [
        begin_part("B", "file", {"X-DISTRIBUTED-FILE-PATH": path}, number == 0) + content
        for number, (path, content) in enumerate(files)
    ]
    return b"".join(parts) + end_parts("B")


def head(job: str = "j", master: str = "http://127.0.0.1:1") -> dict[str, str]:
    return {"Content-Type": content_type("B"), "X-DISTRIBUTED-JOB": job, "X-DISTRIBUTED-MASTER": master}


async def test_all_files_are_pushed_and_their_digests_told(both: Any, tree: Path) -> None:
    async with both(tree, 2) as (master, _):
        await master.settled.wait()
        assert master.homes.files == DIGESTS
        assert master.home_status() == {"state": {"total": 4, "finished": 4}}


async def test_names_of_any_bytes_go_end_to_end_alone_and_in_batches(both: Any, tmp_path: Path) -> None:
    """H17: through the push recipe."""
    tree = made_folder(tmp_path / "tree", {name: name for name in ODD_NAMES})
    wanted = {os.fsdecode(name): hashlib.sha1(name).hexdigest() for name in ODD_NAMES}
    for files_max in (1, 5):
        async with both(tree, BATCH_MAX_FILES=files_max) as (master, _):
            await master.settled.wait()
            assert master.homes.files == wanted


async def test_small_files_travel_in_batches_and_big_ones_alone(both: Any, tmp_path: Path) -> None:
    """H22: at most BATCH_MAX_FILES files and BATCH_MAX_BYTES bytes in one request."""
    contents = {b"%03d" % number: b"x" * number for number in range(100)} | {b"050-big": b"y" * 5000}
    tree = made_folder(tmp_path / "tree", contents)
    async with both(tree, BATCH_MAX_FILES=30, BATCH_MAX_BYTES=1000) as (master, workers):
        taken: list[tuple[int, list[str]]] = []
        complete = workers[0].complete

        def noting(job: Any) -> None:
            taken.append((len(job.paths), list(job.paths)))
            complete(job)

        workers[0].complete = noting
        await master.settled.wait()
        assert all(master.homes.files.values())
    assert max(count for count, _ in taken) <= 30
    assert len(taken) < 50
    assert (1, ["050-big"]) in taken
    assert all(count == 1 or sum(len(contents[path.encode()]) for path in paths) <= 1000 for count, paths in taken)


async def test_a_worker_answers_202_and_503_and_tells_how_many_processes_are_idle(serve_worker: Any) -> None:
    """H18: /new_file and /status (total, idle)."""
    async with serve_worker(1, None) as (worker, port):
        url = f"http://127.0.0.1:{port}"
        status = json.loads((await ask(url, "GET", "/status")).text)
        assert status["processes"] == {"total": 1, "idle": 1}
        assert status["jobs"] == []
        assert 0 <= status["cpu_percent"] <= 100
        slot = worker.slots.take()
        refused = await ask(url, "POST", "/new_file", new_file(("a", b"abc")), **head())
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert json.loads((await ask(url, "GET", "/status")).text)["processes"] == {"total": 1, "idle": 0}
        slot.is_idle = True
        assert (await ask(url, "POST", "/new_file", new_file(("a", b"abc")), **head())).status == 202
        status = json.loads((await ask(url, "GET", "/status")).text)
        assert status["jobs"] == ["j"], "it is told to a master that is not there, so it is not told yet"
        assert (await ask(url, "POST", "/new_file", new_file(("a", b"abc")), **head())).status == 409


@pytest.mark.parametrize(
    ("body", "given", "text"),
    [
        (new_file(("a", b"")), {**head(), "X-DISTRIBUTED-JOB": ""}, "X-DISTRIBUTED-JOB"),
        (new_file(("a", b"")), {**head(), "X-DISTRIBUTED-JOB": "j" * 101}, "X-DISTRIBUTED-JOB"),
        (new_file(("a", b"")), head("j", "ftp://127.0.0.1:1"), "write http"),
        (new_file(("a", b"")), head("j", "unix:///tmp/x"), "write http"),
        (new_file(("a", b"")), head("j", "http://192.0.2.1:80"), "must be https"),
        (new_file(("a", b"")), head("j", "http://u@127.0.0.1:80"), "write http"),
        (new_file(), head(), "no part"),
        (new_file(("a", b""), ("a", b"")), head(), "same path"),
        (begin_part("B", "file") + b"x" + end_parts("B"), head(), "has no path"),
        (new_file(("a", b"x"))[:-4], head(), "ends before"),
        (b"--B\r\n", {**head(), "Content-Type": "text/plain"}, "multipart"),
    ],
)
async def test_a_worker_refuses_what_is_no_job_and_is_idle_again(
    serve_worker: Any, body: bytes, given: dict[str, str], text: str
) -> None:
    async with serve_worker(1, None) as (worker, port):
        answer = await ask(f"http://127.0.0.1:{port}", "POST", "/new_file", body, **given)
        assert (answer.status, text in answer.text) == (400, True), answer
        await until(lambda: worker.slots.idle == 1 and not worker.jobs)


async def test_without_the_token_neither_master_nor_worker_lets_anybody_in(both: Any, tree: Path) -> None:
    """H25: of the push recipe."""
    async with both(tree) as (master, _):
        for url, method, path in [
            (master.url, "PUT", "/update_file_hash"), (master.url, "GET", "/home_status"),
            (master.url, "POST", "/new_home"), (master.url, "PUT", "/update_file_hashes"),
            (next(iter(master.roster.workers)), "GET", "/status"),
            (next(iter(master.roster.workers)), "POST", "/new_file"),
        ]:  # fmt: skip
            connection = Connection(url, {})
            assert (await connection.ask(method, path, {}, b"" if method != "GET" else None)).status == 401
            connection.close()


async def test_a_worker_that_stops_answering_loses_its_files_and_is_welcome_again(
    serve_worker: Any, serve_master: Any, tree: Path
) -> None:
    """H19: dead and revived."""
    async with contextlib.AsyncExitStack() as stack:
        _, port = await stack.enter_async_context(serve_worker(1))
        master: Master = await stack.enter_async_context(serve_master(tree, port))
        await master.settled.wait()
        [record] = master.roster.workers.values()
        assert record.state == "alive"
    async with serve_master(tree, port) as master:
        [record] = master.roster.workers.values()
        await until(lambda: record.state == "lost")
        assert "refused" in record.reason
        assert not master.settled.is_set()
        async with serve_worker(1, port=port):
            await master.settled.wait()
            assert master.homes.files == DIGESTS
            assert master.details()["workers"][0]["state"] == "alive"


async def test_what_a_worker_had_when_it_was_started_anew_is_done_again(
    serve_worker: Any, serve_master: Any, tree: Path
) -> None:
    """H19: files of a dead worker are pushed again; nothing is lost."""
    async with contextlib.AsyncExitStack() as stack:
        async with serve_worker(1) as (worker, port):
            worker.complete = lambda job: None  # it takes a file and tells nothing
            master = await stack.enter_async_context(
                serve_master(tree, port, WORKER_HEARTBEAT_SECONDS=0.3, WORKER_PROCESSING_TIMEOUT_SECONDS=1000)
            )
            await until(lambda: worker.jobs)
        async with serve_worker(1, port=port):
            await master.settled.wait()
            assert master.homes.files == DIGESTS


async def test_a_worker_with_another_key_gets_nothing_and_the_page_says_why(serve_master: Any, tree: Path) -> None:
    class Stranger(GuardedHandler):
        def get(self) -> None:
            self.answer(401, "no token")

    async with serving(GuardedApplication([("/status", Stranger)], {})) as port, serve_master(tree, port) as master:
        await until(lambda: "401" in master.details()["workers"][0]["state"])
        assert master.details()["waiting"] == 4


async def test_the_master_judges_what_workers_tell(serve_worker: Any, serve_master: Any, tree: Path) -> None:
    """H20: /update_file_hash: 200, 400, 404, 409; a wrong job, no digest, no file."""
    async with serve_worker(1) as (worker, port), serve_master(tree, port, BATCH_MAX_FILES=1) as master:
        worker.complete = lambda job: None
        await until(lambda: any(job.paths for job in worker.jobs.values()))
        [(job_id, job)] = worker.jobs.items()
        [path] = job.paths

        async def tell(job_id: str, **fields: str) -> tuple[int, str]:
            kind = "application/x-www-form-urlencoded"
            body = urlencode(fields).encode()
            answer = await ask(
                master.url, "PUT", "/update_file_hash", body, Content_Type=kind, X_DISTRIBUTED_JOB=job_id
            )
            return answer.status, answer.text

        assert await tell(job_id, file_hash="a" * 40) == (400, "missing file_path parameter")
        assert await tell(job_id, file_path=path) == (400, "missing file_hash parameter")
        assert await tell(job_id, file_path="none", file_hash="a" * 40) == (404, "file not found")
        assert (await tell("job-other", file_path=path, file_hash="a" * 40))[0] == 409
        assert (await tell(job_id, file_path=path, file_hash=DIGESTS[path]))[0] == 200
        assert (await tell(job_id, file_path=path, file_hash=DIGESTS[path]))[0] == 200, "it may be told twice"
        assert (await tell(job_id, file_path=path, file_hash="b" * 40))[0] == 409
        assert master.home_status(True)["files"][path] == DIGESTS[path]


@pytest.mark.parametrize("told", ["A" * 40, None])
async def test_a_worker_that_tells_no_digests_ends_as_a_reason_per_file(
    serve_worker: Any, serve_master: Any, tree: Path, told: str | None
) -> None:
    """H20: the hash is validated; a liar costs attempts, and does not keep the master from its end."""
    async with serve_worker(1) as (worker, port):
        finish = worker.slots._slots[0].finish

        async def lie() -> list[dict[str, str]]:
            return [{} if told is None else {"digest": told} for _ in await finish()]

        worker.slots._slots[0].finish = lie
        async with serve_master(tree, port) as master:
            await master.settled.wait()
            assert set(master.homes.files.values()) == {None}
            assert all("3 attempts" in reason for reason in master.homes.errors.values()), master.homes.errors


async def test_one_liar_among_good_workers_costs_no_file(serve_worker: Any, serve_master: Any, tree: Path) -> None:
    async with serve_worker(1) as (liar, port), serve_worker(1) as (_, other):
        finish = liar.slots._slots[0].finish

        async def lie() -> list[dict[str, str]]:
            return [{"digest": "zzz"} for _ in await finish()]

        liar.slots._slots[0].finish = lie
        async with serve_master(tree, port, other) as master:
            await master.settled.wait()
            assert master.homes.files == DIGESTS


async def test_home_status_is_json_for_programs_and_a_page_for_people(both: Any, tree: Path) -> None:
    """H20: /home_status, include_files as a real boolean."""
    async with both(tree) as (master, _):
        await master.settled.wait()
        plain = await ask(master.url, "GET", "/home_status")
        assert json.loads(plain.text) == {"state": {"total": 4, "finished": 4}}
        for text, wanted in (("1", True), ("0", False), ("false", False)):
            answer = json.loads((await ask(master.url, "GET", f"/home_status?include_files={text}")).text)
            assert ("files" in answer) is wanted
        assert json.loads((await ask(master.url, "GET", "/home_status?include_files=1")).text)["files"] == DIGESTS
        details = json.loads((await ask(master.url, "GET", "/home_status?details=1")).text)
        assert [worker["state"] for worker in details["workers"]] == ["alive"]
        nbytes = sum(map(len, CONTENTS.values()))
        assert details["bytes"] == {"finished": nbytes, "total": nbytes}
        assert "<html" in (await ask(master.url, "GET", "/home_status", Accept="text/html")).text


async def test_further_folders_may_be_added_below_the_roots_of_the_settings(both: Any, tmp_path: Path) -> None:
    """H20: /new_home: allowed roots alone."""
    tree = made_folder(tmp_path / "tree", {b"a": b"1"})
    more = made_folder(tmp_path / "allowed" / "more", {b"b": b"2", b"c": b"3"})
    (tmp_path / "allowed" / "out").symlink_to("/etc")
    async with both(tree, NEW_HOME_ROOTS=[str(tmp_path / "allowed")]) as (master, _):

        async def add(body: object) -> tuple[int, str]:
            answer = await ask(master.url, "POST", "/new_home", json.dumps(body).encode(), **headers(None, CLIENT))
            return answer.status, answer.text

        assert (await add({"path": str(tmp_path / "tree")}))[0] == 403
        assert (await add({"path": str(tmp_path / "allowed" / "out")}))[0] == 403
        assert (await add({"path": str(tmp_path / "allowed" / ".." / "tree")}))[0] == 403
        assert (await add({"path": "allowed/more"}))[0] == 403
        assert (await add({"path": str(tmp_path / "allowed" / "none")}))[0] == 404
        for nonsense in ({}, [], 5, {"path": 5}, {"path": "/a\0b"}):
            assert (await add(nonsense))[0] == 400
        await master.settled.wait()
        assert await add({"path": str(more)}) == (200, '{"files": 2}')
        await master.settled.wait()
        assert (await add({"path": str(more)}))[0] == 409
        one, two, three = (hashlib.sha1(text).hexdigest() for text in (b"1", b"2", b"3"))
        assert master.homes.files == {"a": one, str(more / "b"): two, str(more / "c"): three}


async def test_without_roots_no_folder_can_be_added(both: Any, tree: Path) -> None:
    async with both(tree) as (master, _):
        answer = await ask(
            master.url, "POST", "/new_home", json.dumps({"path": str(tree)}).encode(), **headers(None, CLIENT)
        )
        assert (answer.status, "NEW_HOME_ROOTS" in answer.text) == (403, True)


@pytest.mark.parametrize(
    ("name", "reason"), [("die_on_4", "died (signal 9)"), ("refuse_4", "ValueError: this one is bad")]
)
async def test_a_file_on_which_the_task_fails_or_dies_leaves_the_others(
    both: Any, tree: Path, name: str, reason: str
) -> None:
    async with both(tree, HASH_ALGORITHM=f"distributed.testing.recipes:{name}") as (master, _):
        await master.settled.wait()
        assert {path for path, digest in master.homes.files.items() if digest is None} == {"d"}
        assert reason in master.homes.errors["d"]


async def test_files_that_vanish_or_lead_out_have_a_reason_and_the_others_are_done(
    serve_worker: Any, serve_master: Any, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"not yours")
    (tree / "link").symlink_to(tmp_path / "secret")
    (tree / "vanishing").write_bytes(b"x")
    async with contextlib.AsyncExitStack() as stack:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        master = await stack.enter_async_context(serve_master(tree, port))
        (tree / "vanishing").unlink()
        await stack.enter_async_context(serve_worker(1, port=port))
        await master.settled.wait()
        assert master.homes.files == {**DIGESTS, "link": None, "vanishing": None}
        assert "leads out" in master.homes.errors["link"]
        assert "No such file" in master.homes.errors["vanishing"]
        assert master.homes.state == {"total": 6, "finished": 4, "failed": 2}


@pytest.mark.parametrize("way", ["vanishes", "stands still"])
async def test_a_sender_that_stops_in_the_middle_frees_the_process(
    serve_worker: Any, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    async with serve_worker(1) as (worker, port):
        await worker.slots.start()
        if way == "stands still":
            monkeypatch.setattr(receiving, "SILENCE_S", 0.1)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        given = {**headers(), **head(), "Content-Length": "999"}
        lines = [f"{name}: {value}" for name, value in given.items()]
        writer.write("\r\n".join(["POST /new_file HTTP/1.1", "Host: localhost", *lines, "", ""]).encode())
        writer.write(new_file(("a", b"abc"))[:-10])
        await until(lambda: worker.jobs)
        if way == "vanishes":
            writer.close()
        await until(lambda: worker.slots.idle == 1 and not worker.jobs)
        writer.close()
        answer = await ask(f"http://127.0.0.1:{port}", "POST", "/new_file", new_file(("a", b"abc")), **head())
        assert answer.status == 202


async def test_a_file_that_changes_is_tried_again_and_holds_nobody_up(
    serve_worker: Any, serve_master: Any, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a heartbeat of an hour whatever has to wait for it would not end."""

    class Growing(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            with open(tree / "d", "ab") as file:
                file.write(b"more")
            return super().read(size) or b""

    async with serve_worker(1) as (_, port):
        settings = {"BATCH_MAX_BYTES": 1000, "CHUNK_SIZE": 65536, "WORKER_HEARTBEAT_SECONDS": 3600}
        real = Homes.open
        monkeypatch.setattr(Homes, "open", lambda self, name: Growing(tree / "d") if name == "d" else real(self, name))
        async with serve_master(tree, port, **settings) as master:
            await master.settled.wait()
            assert {name for name, digest in master.homes.files.items() if digest is None} == {"d"}
            assert "changes while it is read" in master.homes.errors["d"]


async def test_a_worker_that_hangs_up_is_asked_at_once_whether_it_is_there(
    serve_worker: Any, serve_master: Any, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve_worker(1) as (_, port):
        ready = NewFileHandler.ready
        hung_up: list[NewFileHandler] = []

        def hang_up_once(handler: NewFileHandler) -> None:
            if hung_up:
                ready(handler)
            else:
                hung_up.append(handler)
                handler.detach().close()
                handler._finished = True

        monkeypatch.setattr(NewFileHandler, "ready", hang_up_once)
        async with serve_master(tree, port, WORKER_HEARTBEAT_SECONDS=3600) as master:
            await master.settled.wait()
            assert master.homes.files == DIGESTS
