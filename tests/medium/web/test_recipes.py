"""H25: every server of the HTTP recipes under attack: strangers, and requests that no client of ours would send."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distributed import config, constants
from distributed.pull import master as pull_master
from distributed.push import master as push_master
from distributed.push import worker as push_worker
from distributed.security.keys import keyring_from_master
from distributed.security.permissions import CLIENT, READONLY, WORKER
from distributed.simple import worker as simple_worker
from distributed.testing.web import bearer, request, send_raw
from distributed.web.listening import listen, port_of

KINDS = ("simple worker", "pull master", "push worker", "push master")
PATHS = sorted(getattr(constants, name) for name in constants.__all__ if "PATH_" in name and "HEADER" not in name)
FORM = "Content-Type: application/x-www-form-urlencoded"
MULTIPART = "Content-Type: multipart/form-data; boundary=B"
NAME = f"{constants.HTTP_HEADER_X_WORKER_NAME}: w"
JOB = f"{constants.HTTP_HEADER_X_JOB}: job"
MASTER = f"{constants.HTTP_HEADER_X_MASTER}: http://127.0.0.1:1"
FILE = f"{constants.HTTP_HEADER_X_FILE_PATH}: a"
GOOD = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--B--\r\n'


@asynccontextmanager
async def served(kind: str, folder: Path) -> AsyncIterator[int]:
    """The port of a server of this kind."""
    (folder / "f").write_bytes(b"abc")
    settings = SimpleNamespace(**{name: getattr(config, name) for name in dir(config) if name.isupper()})
    settings.NEW_HOME_ROOTS, settings.WORKERS = [str(folder)], []
    made: Any = {
        "simple worker": lambda: simple_worker.init(settings),
        "pull master": lambda: pull_master.init(folder, settings),
        "push worker": lambda: push_worker.init(1, config=settings),
        "push master": lambda: push_master.init(folder, settings),
    }
    app = made[kind]()
    if kind == "push master":
        await app["master"].load()
    server = listen(app, 0)
    try:
        yield port_of(server)
    finally:
        server.stop()
        await server.close_all_connections()
        if kind == "pull master":
            app["threads"].shutdown()
        elif kind.startswith("push"):
            await app[kind.partition(" ")[2]].close()


@pytest.mark.parametrize("kind", KINDS)
async def test_no_recipe_lets_a_stranger_in(kind: str, tmp_path: Path) -> None:
    """H25: without a token, with another key's, from another name, or when a page of others sends it."""
    stranger = bearer(CLIENT, keyring_from_master(b"\7" * 32))
    async with served(kind, tmp_path) as port:
        for path in (*PATHS, "/", "/nowhere"):
            for method in ("GET", "POST", "PUT", "DELETE"):
                body = b"" if method == "GET" else b"x"
                for header in ("X: y", stranger):
                    assert (await request(port, path, header, NAME, method=method, body=body)).status == 401
                answer = await request(port, path, bearer(), NAME, method=method, body=body, host="evil.example")
                assert answer.status == 403
                if method != "GET":
                    answer = await request(
                        port, path, bearer(), "Origin: http://evil.example", method=method, body=body
                    )
                    assert answer.status == 403


@pytest.mark.parametrize("kind", KINDS)
async def test_who_may_only_look_changes_nothing(kind: str, tmp_path: Path) -> None:
    """H25: the token of role readonly; handing out a file changes who has which."""
    async with served(kind, tmp_path) as port:
        for path in PATHS:
            for method in ("POST", "PUT"):
                assert (await request(port, path, bearer(READONLY), NAME, method=method, body=b"x")).status in (
                    403,
                    404,
                )
            looked = await request(port, path, bearer(READONLY), NAME)
            assert looked.status in (200, 400, 403, 404, 405)
            assert b"abc" not in looked.body


async def test_a_worker_does_not_choose_the_files_that_it_is_sent(tmp_path: Path) -> None:
    async with served("push master", tmp_path) as port:
        body = b'{"path": "/etc"}'
        assert (await request(port, "/new_home", bearer(WORKER), method="POST", body=body)).status == 403
        answer = await request(port, "/new_home", bearer(CLIENT), method="POST", body=body)
        assert (answer.status, "NEW_HOME_ROOTS" in answer.text) == (403, True)


def hostile_to_masters() -> list[tuple[str, str, tuple[str, ...], bytes]]:
    digest = b"0" * 40
    forms = [
        b"", b"file_path", b"file_path=f", b"file_path=f&file_hash=", b"file_path=f&file_hash=zz", b"\xff\xfe" * 100,
        b"file_path=%ff%fe&file_hash=" + digest, b"file_path=../../etc/passwd&file_hash=" + digest,
        b"file_path=f&file_hash=%00", b"a=b&" * 10_000, b"file_path=f&file_error=%00%0a%1b[31m" + b"\xff" * 10,
        b"file_path=f&file_hash=" + b"A" * 40,
    ]  # fmt: skip
    texts = [
        b"", b"{", b"[]", b"null", b"1", b"[" * 100_000, b'{"a":' * 50_000, b'{"f":1}', b'{"f":{"error":1}}', b"\xff",
        b'{"f":"\\ud800"}', b'{"\\ud800":"x"}', b'{"%":"x"}', b'{"%zz":"x"}', b'{"%00":"x"}', b'{"":"x"}',
        b'{"f":NaN}', b'{"f":"\xd9\xa0"}', b'{"..%2f..%2fetc%2fpasswd":"' + digest + b'"}', b"1" * 900_000,
        b'{"f":"' + b"9" * 900_000 + b'"}', b'{"f":' + b"9" * 5000 + b"}", b'{"path":"\\u0000"}', b'{"path":"/etc"}',
        b'{"path":"\\ud800"}', b'{"path":["/"]}', b'{"path":"' + b"a/" * 5000 + b'"}',
    ]  # fmt: skip
    requests = [("PUT", "/update_file_hash", (FORM, NAME, JOB), body) for body in forms]
    requests += [("PUT", "/update_file_hashes", (NAME, JOB), body) for body in texts]
    requests += [("POST", "/new_home", (), body) for body in texts]
    kinds = ("", "multipart/form-data", "multipart/form-data; boundary=", "x" * 5000, f"{FORM[14:]}; charset=utf-99")
    requests += [("PUT", "/update_file_hash", (f"Content-Type: {kind}", NAME), forms[4]) for kind in kinds]
    names = ("", "\xe9", "a" * 300, "a\tb", "  ")
    requests += [
        ("POST", "/worker_register", (f"{constants.HTTP_HEADER_X_WORKER_NAME}: {name}",), b"x") for name in names
    ]
    waits = ("wait=\xb2", "wait=-1", "wait=1e5", "wait", "=", ", ,;,wait=0")
    requests += [("GET", "/get_file", (NAME, f"Prefer: {wait}"), b"") for wait in waits]
    queries = ("0", "-1", "1e3", "%C2%B2", "%00", "%ff", "")
    requests += [("GET", f"/get_files?max={query}", (NAME,), b"") for query in queries]
    flags = ("include_files=x", "include_files=%ff", "details=%00", "details=\xff")
    requests += [("GET", f"/home_status?{flag}", ("Accept: text/html",), b"") for flag in flags]
    ways = ("/../etc/passwd", "//get_file", "/get_file%00", "/%2e%2e/", "/home_status/..%2f")
    return requests + [("GET", path, (NAME,), b"") for path in ways]


def hostile_to_workers() -> list[tuple[str, str, tuple[str, ...], bytes]]:
    part = b'--B\r\nContent-Disposition: form-data; name="file"\r\n'
    bodies = [
        b"--B", b"--B--", b"--B\r\n\r\n", b"--B\r\nX\r\n\r\nabc\r\n--B--", b"--Bx\r\n", b"x" * 5000, GOOD[:-6],
        GOOD.replace(b'"file"', b'"other"'), b"--B\r\nA: " + b"y" * 40_000 + b"\r\n\r\n", b"--B\r\n" * 20_000,
        GOOD.replace(b"Content-Disposition", b"Content-\xff"),
        part + b"X-DISTRIBUTED-FILE-PATH: %zz\r\n\r\nabc\r\n--B--\r\n",
        GOOD.replace(b'name="file"', b'name="' + b"\\" * 20_000 + b'"'),
    ]  # fmt: skip
    requests = [("POST", "/new_file", (MULTIPART, FILE, JOB, MASTER), body) for body in bodies]
    kinds = (
        "", "multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary=""', "text/plain",
        "multipart/mixed; boundary=B", f"multipart/form-data; boundary={'x' * 100}",
        "multipart/form-data; boundary=\xe9",
    )  # fmt: skip
    requests += [("POST", "/new_file", (f"Content-Type: {kind}", FILE, JOB, MASTER), GOOD) for kind in kinds]
    places = ("", "ftp://a:1", "http://evil.example:80", "unix:///tmp/x", "http://[::1", "http://127.0.0.1:1@evil:2")
    return requests + [
        ("POST", "/new_file", (MULTIPART, FILE, JOB, f"{constants.HTTP_HEADER_X_MASTER}: {place}"), GOOD[:-3])
        for place in places
    ]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_no_client_of_ours_sends_is_refused_and_is_no_fault_of_ours(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Bad input of section 2.9: a clear refusal, nothing in the log, and the next request is answered."""
    async with served(kind, tmp_path) as port:
        if kind == "pull master":
            assert (await request(port, "/worker_register", bearer(), NAME, method="POST", body=b"x")).status == 200
        requests = hostile_to_masters() if kind.endswith("master") else hostile_to_workers()
        for method, path, headers, body in requests:
            answer = await request(port, path, bearer(), *headers, method=method, body=body)
            told = (method, path, headers, body[:60], answer)
            assert answer.status in (200, 202, 204, 400, 403, 404, 405, 409, 422, 503), told
            assert answer.status >= 400 or method == "GET" or b"accepted" in answer.body or b"error" in body, told
        for raw in (b"zz\r\n", b"-1\r\n", b"fffffffffffffffff\r\n", b"5\r\nabcdeXX"):
            lines = ("POST /new_file HTTP/1.1", "Host: 127.0.0.1", bearer(), MULTIPART, FILE, JOB, MASTER)
            head = "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode()
            assert (await send_raw(port, head + raw)).status in (400, 404, 409, 503)
        assert (await request(port, "/", bearer())).status in (302, 404)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
