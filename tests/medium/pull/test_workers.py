"""What a pull worker does with a master that answers, and with one that does not; in threads instead of processes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distributed import config
from distributed.errors import ConfigError, MasterError
from distributed.pull import asking
from distributed.pull.asking import Master
from distributed.pull.worker import Worker
from distributed.recipes.batches import record_head

FILES = {f"sub{number % 3}/f{number}": os.urandom(number * 50) for number in range(60)}
ODD_NAMES = [
    b"plain", b"with space", b" leading", b"trailing ", b"-dash", b"new\nline", b"back\\slash", b"return\rhere",
    b"not utf-8 \xff\xfe", "ümläut".encode(), b"tab\tand\x01control", b"quote'\"`$(x)", b"100%25", b"%zz", b"a+b&c=d",
    b"#", b"...", "\u202eabc\U0001f600".encode(), b"n" * 255,
]  # fmt: skip


def sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def first_byte(pieces: Iterator[bytes]) -> str:
    """A task that does not need all of a content."""
    return f"first {next(pieces, b'')[:1].hex()}"


def fails_on_x(pieces: Iterator[bytes]) -> str:
    """A task with a fault."""
    if b"".join(pieces) == b"x":
        raise ValueError("no x, please")
    return "fine"


@pytest.mark.parametrize("files_max", [256, 1])
async def test_two_workers_hash_all_files(serve: Any, files_max: int) -> None:
    """H15: workers pull until there are none; H22: in batches or one by one."""
    async with serve(FILES, BATCH_MAX_FILES=files_max) as running:
        async with asyncio.TaskGroup() as group:
            group.create_task(running.work())
            group.create_task(running.work())
        assert running.master.home.files == {name: sha1(content) for name, content in FILES.items()}
        told = sum(lessee.files_total for lessee in running.master.leases.lessees.values())
        assert (told, len(running.master.leases.lessees)) == (len(FILES), 2)
        assert running.master.is_over


@pytest.mark.parametrize("files_max", [256, 1])
async def test_odd_names_go_there_and_back(serve: Any, files_max: int) -> None:
    """H17: names with spaces, line ends, quotes, percent signs, and such that are no text."""
    async with serve({name: name for name in ODD_NAMES}, BATCH_MAX_FILES=files_max) as running:
        await running.work()
        assert running.master.home.files == {os.fsdecode(name): sha1(name) for name in ODD_NAMES}


async def test_files_of_any_size_are_hashed_in_pieces(serve: Any) -> None:
    files = {"empty": b"", "one": b"1", "big": os.urandom(3_000_000), "even": os.urandom(2 * 65536)}
    async with serve(files, BATCH_MAX_BYTES=100_000) as running:
        await running.work(CHUNK_SIZE=65536)
        assert running.master.home.files == {name: sha1(content) for name, content in files.items()}


async def test_an_empty_folder_is_done_at_once(serve: Any) -> None:
    async with serve({}) as running:
        await running.work()


async def test_any_task_that_makes_a_text_of_bytes_will_do(serve: Any) -> None:
    name = f"{__name__}:first_byte"
    async with serve(
        {"a": b"a" * 3_000_000, "b": b"b", "c": b""}, HASH_ALGORITHM=name, BATCH_MAX_BYTES=1000
    ) as running:
        await running.work()
        assert running.master.home.files == {"a": "first 61", "b": "first 62", "c": "first "}


async def test_a_file_on_which_the_task_fails_is_named_and_the_others_are_done(serve: Any) -> None:
    async with serve({"a": b"a", "b": b"x", "c": b"c"}, HASH_ALGORITHM=f"{__name__}:fails_on_x") as running:
        await running.work()
        assert running.master.home.files == {"a": "fine", "b": None, "c": "fine"}
        assert running.master.home.errors == {"b": "ValueError: no x, please; given up after 5 attempts"}


async def test_a_batch_too_big_to_be_read_at_once_is_taken_file_by_file(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A master may have bigger batches than we like; H22."""
    monkeypatch.setattr(asking, "WHOLE_NBYTES_MAX", 100)
    for algorithm in ("sha1", f"{__name__}:first_byte"):
        async with serve(FILES, HASH_ALGORITHM=algorithm) as running:
            await running.work(CHUNK_SIZE=64)
            assert running.master.home.finished and not running.master.home.errors


@pytest.mark.parametrize("name", ["ümläut", "", "a\nb", "x" * 200])
def test_a_name_that_no_header_can_hold_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="printable ASCII"):
        Master(name)


async def test_a_worker_waits_for_the_files_of_one_that_died(serve: Any) -> None:
    """H15: 202, then the file of the other one after its time. H14: it is reassigned."""
    async with serve({"a": b"a", "b": b"b"}, WORKER_PROCESSING_TIMEOUT_SECONDS=0.3) as running:
        await running.register("dead")
        await running.get_file("dead")
        await running.work()
        assert running.master.home.files == {"a": sha1(b"a"), "b": sha1(b"b")}
        assert running.master.leases.lessees["dead"].files_total == 0


async def test_a_name_that_is_taken_is_made_another_one(serve: Any) -> None:
    async with serve({"a": b"a"}) as running:
        await running.register(f"w:{os.getpid()}")
        await running.work()
        (name,) = [name for name in running.master.leases.lessees if name != f"w:{os.getpid()}"]
        assert name.startswith(f"w:{os.getpid()}:")


async def test_a_master_that_was_started_anew_gets_its_worker_back(serve: Any) -> None:
    async with serve({"a": b"a"}) as running:
        master = Master("w", running.settings, ("127.0.0.1", running.port))

        def work() -> list[tuple[str, bytes]]:
            files = []
            while not files:
                files = [(path, b"".join(pieces)) for path, pieces in master.get_files()]
            assert master.report({"a": sha1(b"a")}) == {}
            master.close()
            return files

        assert await asyncio.to_thread(work) == [("a", b"a")]  # it had not registered with this one
        assert running.master.home.finished


async def test_what_a_master_refuses_is_told(serve: Any) -> None:
    async with serve({"a": b"a", "b": b"b"}) as running:
        for files_max in (256, 1):
            running.settings.BATCH_MAX_FILES = files_max
            master = Master("liar", running.settings, ("127.0.0.1", running.port))
            running.master.leases.register(master.name, 0.0)
            refused = await asyncio.to_thread(master.report, {"a": sha1(b"a"), "b": "nonsense"})
            master.close()
            assert refused == {
                "a": "this worker was not given the file",
                "b": "file_hash is no digest of this master's algorithm",
            }


async def test_results_of_any_number_are_told_in_bodies_that_a_master_takes(serve: Any) -> None:
    async with serve({}) as running:
        master = Master("w", running.settings, ("127.0.0.1", running.port))
        names = [f"{number:05}" + "%00" * 200 for number in range(2000)]
        refused = await asyncio.to_thread(master.report, dict.fromkeys(names, sha1(b"")))
        master.close()
        assert refused == dict.fromkeys(names, "file not found")


async def test_a_worker_that_nobody_answers_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(asking, "PATIENCE_S", 0.2)
    monkeypatch.setattr(asking, "TELL_S", 0.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        worker = Worker("w", None, taken.getsockname())
        with pytest.raises(MasterError, match=r"for 0 s, Connection refused; start it, or name it with --master"):
            await asyncio.to_thread(worker.work)
    assert capsys.readouterr().err.count("Connection refused; trying again") == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "it answered 403: no"),
        (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops", "it answered 500 oops"),
        (b"HTTP/1.1 409 Conflict\r\nConnection: close\r\nContent-Length: 5\r\n\r\ntaken", "it answered 409: taken"),
        (b"no HTTP at all\r\n\r\n", "BadStatusLine"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort", "IncompleteRead"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n", "it answered 302"),
    ],
)
async def test_a_master_that_talks_nonsense_is_given_up(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, error: str
) -> None:
    monkeypatch.setattr(asking, "PATIENCE_S", 0.2)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        with pytest.raises(MasterError, match=error):
            await asyncio.to_thread(Worker("w", None, server.sockets[0].getsockname()).work)


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ({"/get_files": b"400 Bad\r\nContent-Length: 14\r\n\r\nnot registered"}, "it answered 200: ok"),
        ({"/update_file_hashes": b"200 OK\r\nContent-Length: 2\r\n\r\n{}"}, "it answered 200: {}"),
        ({"/update_file_hashes": b"200 OK\r\nContent-Length: 1\r\n\r\n5"}, "it answered 200: 5"),
    ],
)
async def test_a_master_that_keeps_a_worker_busy_with_nothing_is_given_up(
    answers: dict[str, bytes], error: str
) -> None:
    body = record_head("a", 1) + b"a"
    usual = {
        "/worker_register": b"200 OK\r\nContent-Length: 2\r\n\r\nok",
        "/get_files": b"200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body),
    }

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        status, rest = {**usual, **answers}[path].split(b"\r\n", 1)
        writer.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n" + rest)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        with pytest.raises(MasterError, match=error):
            await asyncio.to_thread(Worker("w", None, server.sockets[0].getsockname()).work)


async def test_a_content_that_is_cut_off_has_no_digest(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file changes while its first answer is read; the second one is whole."""
    content = os.urandom(5_000_000)
    async with serve({"big": content}, BATCH_MAX_BYTES=1000) as running:
        path = Path(running.master.home.get_full_path("big"))
        whole = asking.Pieces.__next__
        touched: list[int] = []

        def touch_once(pieces: asking.Pieces) -> bytes:
            if not touched:
                touched.append(1)
                path.write_bytes(content)
            return whole(pieces)

        monkeypatch.setattr(asking.Pieces, "__next__", touch_once)
        await running.work()
        assert running.master.home.files == {"big": sha1(content)}


async def test_a_master_of_the_first_kind_has_no_batches(serve: Any) -> None:
    """A master with the seven endpoints of the seed alone would do."""
    async with serve({"a": b"a"}) as running:
        running.app.wildcard_router.rules = [
            rule for rule in running.app.wildcard_router.rules if "files" not in str(rule.matcher.regex.pattern)
        ]
        master = Master("w", running.settings, ("127.0.0.1", running.port))
        assert await asyncio.to_thread(lambda: list(master.get_files())) == []
        assert not master._has_batches
        master.close()


def test_settings_may_come_from_any_object() -> None:
    settings = SimpleNamespace(**{**{n: getattr(config, n) for n in config.__all__}, "MASTER": ("127.0.0.1", 9)})
    assert Master("w", settings).url == "http://127.0.0.1:9"
