"""What the pull master answers, request by request."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from distributed.pull.handing import PIECE_NBYTES
from distributed.pull.handlers import WAIT
from distributed.pull.lending import TELL_S, Master
from distributed.recipes import reading
from distributed.recipes.batches import records
from distributed.testing.recipes import some_settings
from distributed.testing.web import bearer, request

HASHES = "/update_file_hashes"
SHA1_A = hashlib.sha1(b"a").hexdigest()
SHA1_B = hashlib.sha1(b"b").hexdigest()


async def test_a_worker_registers_once(serve: Any) -> None:
    """H09: /worker_register answers 200, 400 and 409."""
    async with serve({}) as running:
        answers = [
            await running.ask("/worker_register", method="POST", worker=name) for name in ("w", "w", None, "x" * 201)
        ]
        assert [answer.status for answer in answers] == [200, 409, 400, 400]
        assert answers[1].text == "worker has already registered"
        assert answers[2].text == "missing worker name header"
        assert running.master.worker_registered("w")


async def test_a_file_comes_with_its_path_its_length_and_its_bytes(serve: Any) -> None:
    """H10: /get_file answers 200 with the file."""
    async with serve({"sub/a": b"content"}) as running:
        await running.register("w")
        answer = await running.ask("/get_file")
        assert (answer.status, answer.body) == (200, b"content")
        assert answer.headers["x-distributed-file-path"] == "sub/a"
        assert answer.headers["content-length"] == "7"


async def test_who_is_not_registered_gets_no_file(serve: Any) -> None:
    """H10: 400 without a name, and before it has registered."""
    async with serve({"a": b"a"}) as running:
        nameless, unknown = await running.ask("/get_file", worker=None), await running.ask("/get_file")
        assert (nameless.status, nameless.text) == (400, "missing worker name header")
        assert (unknown.status, unknown.text) == (400, "worker not registered yet")


async def test_a_worker_waits_while_others_are_busy_and_ends_when_nothing_is_left(serve: Any) -> None:
    """H10: 202 while others have what is left, 204 when nothing is."""
    async with serve({"a": b"a"}) as running:
        await running.register("w", "x")
        assert await running.get_file("w") == "a"
        waiting = await running.ask("/get_file", worker="x")
        assert (waiting.status, waiting.text) == (202, WAIT)
        assert (await running.put(f"file_path=a&file_hash={SHA1_A}")).status == 200
        assert await running.get_file("x") == 204


async def test_a_worker_that_prefers_to_wait_is_answered_as_soon_as_there_is_something_to_say(serve: Any) -> None:
    async with serve({"a": b"a"}) as running:
        await running.register("w", "x")
        await running.get_file("w")
        waiting = asyncio.create_task(running.ask("/get_file", "Prefer: wait=15", worker="x"))
        while running.master.leases.lessees["x"].seen == running.master.leases.lessees["w"].seen:
            await asyncio.sleep(0.01)
        await running.put(f"file_path=a&file_hash={SHA1_A}")
        answer = await waiting
        assert (answer.status, answer.headers["preference-applied"]) == (204, "wait=15")


@pytest.mark.parametrize("preference", ["wait", "wait=0", "wait=-1", "wait=\xb2", "wait=1e9", "respond-async", ","])
async def test_a_preference_that_says_no_time_is_none(serve: Any, preference: str) -> None:
    async with serve({"a": b"a"}) as running:
        await running.register("w", "x")
        await running.get_file("w")
        answer = await running.ask("/get_file", f"Prefer: {preference}", worker="x")
        assert (answer.status, "preference-applied" in answer.headers) == (202, False)


async def test_a_worker_that_hangs_up_while_it_waits_gets_no_file(serve: Any) -> None:
    async with serve({"a": b"a"}, WORKER_PROCESSING_TIMEOUT_SECONDS=1000) as running:
        await running.register("w", "x")
        await running.get_file("w")
        head = f"GET /get_file HTTP/1.1\r\nHost: localhost\r\n{bearer()}\r\nX-DISTRIBUTED-WORKER-NAME: x\r\n"
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        seen = running.master.leases.lessees["x"].seen
        writer.write(f"{head}Prefer: wait=60\r\n\r\n".encode())
        while running.master.leases.lessees["x"].seen == seen:
            await asyncio.sleep(0.01)
        writer.close()
        await writer.wait_closed()
        assert running.master.leases.lease_of("a").lessee.name == "w"


@pytest.mark.parametrize("body", ["", "file_hash=x", "file_path=&file_hash=x"])
async def test_a_report_names_its_file(serve: Any, body: str) -> None:
    """H11: 400 missing file_path parameter."""
    async with serve({"a": b"a"}) as running:
        await running.register("w")
        answer = await running.put(body)
        assert (answer.status, answer.text) == (400, "missing file_path parameter")


async def test_a_report_is_judged(serve: Any) -> None:
    """H11: 200, 400 and 404; the digest is validated, and so is who tells it."""
    async with serve({"a": b"a"}) as running:
        nameless = await running.ask("/update_file_hash", method="PUT", worker=None)
        early = await running.put("file_path=a")
        assert (nameless.text, early.text) == ("missing worker name header", "worker not registered yet")
        await running.register("w", "liar")
        without = await running.put("file_path=a")
        assert (without.status, without.text) == (400, "missing file_hash parameter")
        unknown = await running.put(f"file_path=b&file_hash={SHA1_A}")
        assert (unknown.status, unknown.text) == (404, "file not found")
        await running.get_file("w")
        for nonsense in ("zzz", SHA1_A.upper(), SHA1_A + "0", "%E2%82%AC" * 40):
            assert (await running.put(f"file_path=a&file_hash={nonsense}")).status == 400
        assert (await running.put(f"file_path=a&file_hash={SHA1_B}", "liar")).status == 400
        assert running.master.home.files == {"a": None}
        for _ in range(2):  # the answer to the first may have been lost
            assert (await running.put(f"file_path=a&file_hash={SHA1_A}")).status == 200
        assert running.master.home.files == {"a": SHA1_A}


async def test_the_path_of_a_report_is_the_one_of_the_header_or_decoded(serve: Any) -> None:
    async with serve({"a b": b"a", "a%20b": b"b"}) as running:
        await running.register("w")
        assert [await running.get_file(), await running.get_file()] == ["a%20b", "a%2520b"]
        assert (await running.put(f"file_path=a%2520b&file_hash={SHA1_A}")).status == 200  # the form's own encoding
        assert (await running.put(f"file_path=a%2525 20b&file_hash={SHA1_B}")).status == 404
        assert (await running.put(f"file_path=a%252520b&file_hash={SHA1_B}")).status == 200
        assert running.master.home.files == {"a b": SHA1_A, "a%20b": SHA1_B}


async def test_another_digest_of_the_same_file_is_shown_to_people(serve: Any) -> None:
    """H11: workers that disagree: the first result stays, and the page tells."""
    async with serve({"a": b"a"}) as running:
        running.stop_the_clock()
        await running.register("w", "x")
        assert await running.get_file("w") == "a"
        running.now += 60
        assert await running.get_file("x") == "a"
        assert (await running.put(f"file_path=a&file_hash={SHA1_A}", "x")).status == 200
        assert (await running.put(f"file_path=a&file_hash={SHA1_B}", "w")).status == 409
        assert running.master.home.files == {"a": SHA1_A}
        assert running.master.details()["failed"] == [("a", f"w told another digest: {SHA1_B}")]


@pytest.mark.parametrize(
    ("query", "has_files"),
    [("", False), ("?include_files=1", True), ("?include_files=0", False), ("?include_files=true", True),
     ("?include_files=no", False), ("?include_files=", False)],
)  # fmt: skip
async def test_the_status_has_the_files_if_they_are_asked_for(serve: Any, query: str, has_files: bool) -> None:
    """H12: /home_status with and without include_files, which is a real boolean."""
    async with serve({"a": b"a", "b": b"b"}) as running:
        await running.register("w")
        await running.get_file()
        await running.put(f"file_path=a&file_hash={SHA1_A}")
        status = (await running.ask(f"/home_status{query}", worker=None)).json
        assert status["state"] == {"total": 2, "finished": 1}
        assert status.get("files") == ({"a": SHA1_A, "b": None} if has_files else None)
        assert has_files or set(status) == {"state"}


async def test_a_flag_that_is_neither_yes_nor_no_is_refused(serve: Any) -> None:
    async with serve({}) as running:
        assert (await running.ask("/home_status?include_files=perhaps")).status == 400


async def test_a_timed_out_file_goes_to_the_next_who_asks(serve: Any) -> None:
    """H14: the earliest first; nothing is left in an error; a late result is accepted."""
    async with serve({"a": b"a", "b": b"b"}) as running:
        running.stop_the_clock()
        await running.register("w", "x", "y")
        assert await running.get_file("w") == "a"
        running.now += 1
        assert [await running.get_file("x"), await running.get_file("y")] == ["b", 202]
        assert not running.master.timeout_files
        running.now += 3.5
        assert running.master.get_earlist_timeout_file() == running.master.get_one_timeout_file() == ("w", "a")
        running.now += 10
        assert running.master.timeout_files == [("w", "a"), ("x", "b")]
        assert [await running.get_file("y"), await running.get_file("y")] == ["a", "b"]
        assert (await running.put(f"file_path=a&file_hash={SHA1_A}", "w")).status == 200
        assert (await running.put(f"file_path=b&file_hash={SHA1_B}", "y")).status == 200
        assert running.master.home.finished and not running.master.has_processing_files()


async def test_small_files_come_in_batches(serve: Any) -> None:
    """H22: /get_files and /update_file_hashes."""
    async with serve({f"ä{number}": b"x" * number for number in range(12)}) as running:
        await running.register("w")
        answer = await running.ask("/get_files?max=4")
        batch = {name: bytes(content) for name, content in records(answer.body)}
        assert batch == {f"%C3%A4{number}": b"x" * number for number in (0, 1, 10, 11)}
        results = {name: hashlib.sha1(content).hexdigest() for name, content in batch.items()}
        answer = await running.put(json.dumps({**results, "%C3%A42": SHA1_A, "../up": SHA1_A}), path=HASHES)
        assert answer.json == {
            "accepted": 4,
            "refused": {"%C3%A42": "this worker was not given the file", "../up": "file not found"},
        }
        assert running.master.home.state == {"total": 12, "finished": 4}


@pytest.mark.parametrize("body", ["", "[]", '"a"', '{"a": 1}', '{"a": {}}', "{", "[" * 100_000])
async def test_a_body_that_is_no_report_is_refused(serve: Any, body: str) -> None:
    async with serve({"a": b"a"}) as running:
        await running.register("w")
        assert (await running.put(body, path=HASHES)).status == 400


@pytest.mark.parametrize("count", ["0", "-1", "x", "1.5", "²"])
async def test_a_number_of_files_is_a_number(serve: Any, count: str) -> None:
    async with serve({"a": b"a"}) as running:
        await running.register("w")
        assert (await running.ask(f"/get_files?max={quote(count)}")).status == 400


async def test_a_batch_is_bounded_by_bytes_and_a_big_file_comes_alone(serve: Any) -> None:
    """H22: BATCH_MAX_BYTES; a bigger file travels alone, in pieces."""
    big = bytes(range(256)) * (PIECE_NBYTES // 100)
    files = {"a": b"a" * 10, "b": big, "c": b"c" * 10, "d": b"d"}
    async with serve({**files, **{f"z{number}": b"" for number in range(20)}}, BATCH_MAX_BYTES=15) as running:
        await running.register("w")
        bodies = [(await running.ask("/get_files?max=3")).body for _ in range(3)]
        found = [[(name, bytes(content)) for name, content in records(body)] for body in bodies]
        assert found == [[("a", b"a" * 10)], [("b", big)], [("c", b"c" * 10), ("d", b"d"), ("z0", b"")]]


async def test_a_file_that_vanished_is_named_and_the_others_are_handed_out(serve: Any, tmp_path: Path) -> None:
    async with serve({"a": b"a", "b": b"b", "c": b"c"}) as running:
        (tmp_path / "home" / "a").unlink()
        (tmp_path / "home" / "b").unlink()
        (tmp_path / "home" / "b").mkdir()
        await running.register("w")
        assert [await running.get_file(), await running.get_file()] == ["c", 202]
        assert running.master.home.state == {"total": 3, "finished": 0, "failed": 2}
        assert running.master.home.errors["a"] == "No such file or directory"


async def test_a_file_that_grows_beyond_a_batch_comes_alone(serve: Any, tmp_path: Path) -> None:
    async with serve({name: b"a" for name in "abcdefgh"}, BATCH_MAX_BYTES=1000) as running:
        (tmp_path / "home" / "b").write_bytes(b"b" * 5000)
        await running.register("w")
        first, second, third = [(await running.ask("/get_files")).body for _ in range(3)]
        assert [name for name, _ in records(first)] == ["a", "c", "d"]
        assert [(name, bytes(content)) for name, content in records(second)] == [("b", b"b" * 5000)]
        assert third


async def test_a_file_that_changes_while_it_is_sent_breaks_the_answer_and_waits_again(
    serve: Any, tmp_path: Path
) -> None:
    content = b"x" * (4 * PIECE_NBYTES)
    async with serve({"big": content, "other": b"o"}) as running:
        await running.register("w")
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1024)
        name = "X-DISTRIBUTED-WORKER-NAME: w"
        writer.write(f"GET /get_file HTTP/1.1\r\nHost: localhost\r\n{bearer()}\r\n{name}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        with open(tmp_path / "home" / "big", "ab") as file:
            file.write(b"more")
        received = await reader.read(-1)
        assert len(received) < len(content)
        writer.close()
        assert [await running.get_file(), await running.get_file()] == ["other", "big"]


async def test_a_file_that_always_changes_is_given_up(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(10**9))
    monkeypatch.setattr(reading, "_identity", lambda file: (1, next(moments)))
    async with serve({"a": b"a"}) as running:
        await running.register("w")
        assert await running.get_file() == 204
        assert running.master.home.errors == {"a": "it changes while it is read; given up after 5 attempts"}


async def test_a_worker_that_breaks_off_gives_its_file_back_at_once(serve: Any) -> None:
    async with serve({"big": bytes(64 * PIECE_NBYTES)}) as running:
        await running.register("w", "x")
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1024)
        name = "X-DISTRIBUTED-WORKER-NAME: w"
        writer.write(f"GET /get_file HTTP/1.1\r\nHost: localhost\r\n{bearer()}\r\n{name}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        assert running.master.has_processing_files()
        writer.close()
        while running.master.has_processing_files():
            await asyncio.sleep(0.01)
        assert await running.get_file("x") == "big"


async def test_without_the_token_there_is_nothing(serve: Any) -> None:
    async with serve({"a": b"a"}) as running:
        name = "X-DISTRIBUTED-WORKER-NAME: w"
        for method, path in (("POST", "/worker_register"), ("GET", "/get_file"), ("PUT", "/update_file_hash")):
            assert (await request(running.port, path, name, method=method)).status == 401
        assert not running.master.worker_registered("w")


async def test_who_may_only_read_sees_the_status_and_takes_no_file(serve: Any) -> None:
    async with serve({"a": b"a"}) as running:
        await running.register("w")
        reader = bearer("readonly")
        assert (await request(running.port, "/home_status", reader)).status == 200
        name = "X-DISTRIBUTED-WORKER-NAME: w"
        for path in ("/get_file", "/get_files"):
            assert (await request(running.port, path, reader, name)).status == 403


async def test_a_worker_waits_for_a_file_that_is_left_to_others(serve: Any) -> None:
    """It failed on it, and another one asks for files: there is something left, but not for this one."""
    async with serve({"a": b"a"}) as running:
        for name in ("w", "bad"):
            await running.register(name)
        assert (await running.ask("/get_file", worker="w")).status == 200
        running.master.remove_current_processing_file("w", "a")
        assert (await running.ask("/get_file", worker="bad")).status == 200
        running.master.file_processing_failed("bad", "a", "no")
        assert (await running.ask("/get_file", worker="bad")).status == 202
        assert (await running.ask("/get_file", worker="w")).status == 200


def test_a_worker_that_never_asks_again_does_not_keep_a_master_from_its_end(tmp_path: Path) -> None:
    """With --once the master tells those around that nothing is left; one registers again and again instead."""
    now = 0.0
    master = Master(tmp_path, some_settings(WORKER_WAIT_FOR_TIMEOUT_FILE_SECONDS=4), lambda: now)
    master.load()
    master.worker_register("w")
    for second in range(int(TELL_S) + 5):
        now = float(second)
        master.worker_register("w")
        assert not master.is_over
    now += 3
    assert master.is_over
