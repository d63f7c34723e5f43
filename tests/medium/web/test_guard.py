"""H25: who is let in over HTTP: the token, the name we are called by, where a change comes from."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import pytest

from distributed.security.keys import Keyring, keyring, keyring_from_master
from distributed.security.permissions import CLIENT, READONLY, ROLES, WORKER
from distributed.testing.web import bearer, request, send_raw
from distributed.web.guard import COOKIE, Guard
from distributed.web.listening import port_of
from distributed.web.tokens import token_of

STRANGER = keyring_from_master(b"\7" * 32)


async def test_nobody_without_a_token_learns_anything(serve: Any) -> None:
    """H25: every path, known or not, and every method is closed, and the refusal says how to get in."""
    async with serve() as server:
        for path in ("/look", "/change", "/nowhere", "/", "/look?token=", "/favicon.ico", "*"):
            for method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS"):
                answer = await request(port_of(server), path, method=method, body=b"x" if method == "POST" else b"")
                assert answer.status == 401, (method, path)
                assert answer.headers["www-authenticate"] == "Bearer"
                if method != "HEAD":
                    assert "python -m distributed key --http" in answer.text
                assert "the shared one" not in answer.text


@pytest.mark.parametrize(
    "header",
    [
        "Authorization: Bearer",
        "Authorization: Bearer ",
        "Authorization: Bearer " + "0" * 64,
        "Authorization: Bearer \xe9\xff",
        "Authorization: Basic " + "0" * 64,
        "Authorization: " + "0" * 64,
        bearer(CLIENT, STRANGER),
        f"Cookie: {COOKIE}=" + "0" * 64,
        f"Cookie: {COOKIE}",
        "Cookie: ;;;=;" + "=" * 100,
    ],
)
async def test_a_wrong_token_is_refused(serve: Any, header: str) -> None:
    async with serve() as server:
        assert (await request(port_of(server), "/look", header)).status == 401


async def test_a_good_cookie_does_not_help_a_wrong_header(serve: Any) -> None:
    async with serve() as server:
        answer = await request(port_of(server), "/look", bearer(CLIENT, STRANGER), f"Cookie: {COOKIE}={token(CLIENT)}")
        assert answer.status == 401


async def taken(server: Any) -> int:
    """How many bodies the handler of ``/take`` has begun to take, beside the one that asks."""
    answer = await request(port_of(server), "/take", bearer(), method="POST", body=b"abc")
    return int(answer.text.split()[-1]) - 1


def token(role: str) -> str:
    return token_of(keyring(), role)


async def test_each_role_may_do_what_its_row_says_and_no_more(serve: Any) -> None:
    async with serve() as server:
        seen = {
            (role, method): (await request(port_of(server), "/change", bearer(role), method=method)).status
            for role in ROLES
            for method in ("POST", "DELETE")
        }
    assert seen == {
        (CLIENT, "POST"): 200,
        (CLIENT, "DELETE"): 200,
        (WORKER, "POST"): 200,
        (WORKER, "DELETE"): 403,
        (READONLY, "POST"): 403,
        (READONLY, "DELETE"): 403,
    }


async def test_who_is_let_in_gets_the_answer_and_what_handlers_share(serve: Any) -> None:
    async with serve() as server:
        for header in (
            bearer(READONLY),
            bearer().replace("Bearer", "bEARER"),
            f"Cookie: a=b; {COOKIE}={token(CLIENT)}",
        ):
            answer = await request(port_of(server), "/look?name=%C3%A9", header)
            assert (answer.status, answer.json) == (200, {"seen": "the shared one", "names": ["é"]})
        assert (await request(port_of(server), f"/look?token={token(READONLY)}")).json["seen"] == "the shared one"
        unknown = await request(port_of(server), "/nowhere", bearer())
        assert (unknown.status, unknown.text) == (404, "there is nothing at /nowhere")
        wrong = await request(port_of(server), "/look", bearer(), method="POST")
        assert (wrong.status, wrong.text) == (405, "405 Method Not Allowed")


async def test_a_token_in_the_address_changes_nothing(serve: Any) -> None:
    async with serve() as server:
        answer = await request(port_of(server), f"/change?token={token(CLIENT)}", method="POST")
        assert answer.status == 401


async def test_a_page_of_another_name_that_leads_here_is_refused_even_with_the_token(serve: Any) -> None:
    """H25: DNS rebinding, a name of a stranger that suddenly means 127.0.0.1."""
    async with serve() as server:
        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "evil@x"):
            answer = await request(port_of(server), "/look", bearer(), host=host)
            assert answer.status in (400, 403), host
        answer = await request(port_of(server), "/look", bearer(), host="evil.example")
        assert "is not called 'evil.example'" in answer.text


async def test_names_that_are_ours_are_let_in(serve: Any) -> None:
    async with serve(Guard(hosts=["Box.Example.org"])) as server:
        own = socket.gethostname()
        names = (
            "127.0.0.1",
            "127.0.0.1:99",
            "LOCALHOST",
            "[::1]",
            "[::1]:8000",
            "192.0.2.7:80",
            "box.example.org",
            own,
        )
        for host in names:
            assert (await request(port_of(server), "/look", bearer(), host=host)).status == 200, host


async def test_two_names_at_once_are_refused(serve: Any) -> None:
    async with serve() as server:
        head = f"GET /look HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n{bearer()}\r\n\r\n"
        assert (await send_raw(port_of(server), head.encode())).status == 400


@pytest.mark.parametrize(
    ("origin", "by_header", "by_cookie"),
    [
        (None, 200, 403),
        ("http://127.0.0.1", 200, 200),
        ("HTTP://127.0.0.1", 200, 200),
        ("http://evil.example", 403, 403),
        ("http://127.0.0.1.evil.example", 403, 403),
        ("http://127.0.0.1:1", 403, 403),
        ("null", 403, 403),
        ("", 403, 403),
        ("http://[::1", 403, 403),
        ("127.0.0.1", 403, 403),
    ],
)
async def test_a_change_comes_from_our_own_page_or_from_a_program(
    serve: Any, origin: str | None, by_header: int, by_cookie: int
) -> None:
    """H25: with the token in a cookie, a browser would send it along for any page."""
    async with serve() as server:
        lines = [] if origin is None else [f"Origin: {origin}"]
        cookie = f"Cookie: {COOKIE}={token(CLIENT)}"
        for header, expected in ((bearer(), by_header), (cookie, by_cookie)):
            answer = await request(port_of(server), "/change", header, *lines, method="POST", body=b"abc")
            assert answer.status == expected, header.partition(":")[0]


async def test_two_origins_are_none_of_ours(serve: Any) -> None:
    async with serve() as server:
        lines = ("Origin: http://evil.example", "Origin: http://127.0.0.1")
        for pair in (lines, lines[::-1]):
            assert (await request(port_of(server), "/change", bearer(), *pair, method="POST", body=b"a")).status in (
                400,
                403,
            )


async def test_a_browser_keeps_a_token_that_only_reads_and_its_address_has_none(serve: Any) -> None:
    async with serve() as server:
        answer = await request(port_of(server), f"/look?name=%26x&token={token(CLIENT)}", "Accept: text/html,*/*")
        assert (answer.status, answer.headers["location"]) == (302, "/look?name=%26x")
        cookie = answer.headers["set-cookie"]
        value, *rules = cookie.split("; ")
        assert value == f"{COOKIE}={token(READONLY)}", "every port of this host will be shown it"
        assert sorted(rules) == ["HttpOnly", "Path=/", "SameSite=Strict"]
        again = await request(port_of(server), answer.headers["location"], f"Cookie: {value}", "Accept: text/html")
        assert again.json["names"] == ["&x"]
        changed = await request(
            port_of(server), "/change", f"Cookie: {value}", "Origin: http://127.0.0.1", method="POST", body=b"a"
        )
        assert changed.status == 403


async def test_the_way_without_the_token_leads_to_no_other_host(serve: Any) -> None:
    async with serve() as server:
        for path in ("//evil.example/", "/\\evil.example", "///evil.example"):
            answer = await request(port_of(server), f"{path}?token={token(CLIENT)}", "Accept: text/html")
            location = answer.headers.get("location", "/")
            assert location.startswith("/"), path
            assert location[1:2] not in ("/", "\\"), path


async def test_a_stranger_cannot_make_us_keep_a_body(serve: Any) -> None:
    """H25: the answer comes at the header, to a body that would never end."""
    async with serve() as server:
        from_us = [f"Content-Length: {10**12}", "Transfer-Encoding: chunked", "Content-Length: 1000000"]
        for path in ("/change", "/take", "/nowhere"):
            for line in from_us:
                answer = await request(port_of(server), path, line, method="POST", body=b"5\r\nabcde\r\n")
                assert (answer.status, answer.headers["connection"]) == (401, "close"), (path, line)
        assert await taken(server) == 0


async def test_who_is_refused_while_it_sends_can_read_why(serve: Any) -> None:
    async with serve() as server:
        body = bytes(4 * 2**20)
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        writer.write(f"POST /take HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()  # all of it, before we look
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 401 ")
        writer.close()


async def test_a_body_that_is_let_in_is_bounded_unless_the_handler_streams(serve: Any) -> None:
    async with serve() as server:
        answer = await request(port_of(server), "/change", bearer(), method="POST", body=b"abc")
        assert answer.text == "3 bytes"
        answer = await request(port_of(server), "/take", bearer(), method="POST", body=b"abc")
        assert answer.text == "3 bytes of body 1"
        answer = await request(
            port_of(server), "/change", bearer(), f"Content-Length: {2 * 2**20}", method="POST", body=b"a"
        )
        assert answer.status == 400


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /look HTTP/9.9\r\n\r\n",
        b"GET /look HTTP/1.1\r\n\r\n",  # without a Host
        b"GET /look HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /look HTTP/1.1\r\nHost\r\n\r\n",
        b"GET /look HTTP/1.1\r\nHost: 127.0.0.1\r\nX: \x00\r\n\r\n",
        b"GET /look HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"POST /take HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /take HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"BREW /look HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS to a server without
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused_and_others_go_on(serve: Any, data: bytes) -> None:
    async with serve() as server:
        answer = await send_raw(port_of(server), data)
        assert answer.status in (0, 400, 401, 405)
        assert (await request(port_of(server), "/look", bearer())).status == 200


async def test_no_token_is_logged(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    secret = token(CLIENT)
    with caplog.at_level(logging.DEBUG):
        async with serve() as server:
            port = port_of(server)
            statuses = [
                (await request(port, f"/{path}?token={secret}", *headers)).status
                for path in ("look", "fail", "nowhere", "change")
                for headers in ((), ("Accept: text/html",))
            ]
            assert statuses == [200, 302, 500, 302, 404, 404, 405, 302]
            await send_raw(port, f"GET /look?token={secret} HTTP/1.1 extra\r\nHost: 127.0.0.1\r\n\r\n".encode())
            await send_raw(port, f"GET /look?token={secret}\x00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            await send_raw(port, f"GET /look HTTP/1.1\r\nHost: 127.0.0.1\r\n{bearer()}\x00\r\n\r\n".encode())
            await send_raw(port, f"GET /look HTTP/1.1\r\nHost: x y\r\nCookie: {COOKIE}={secret}\r\n\r\n".encode())
    assert "GET /fail could not be answered" in caplog.text
    assert "a fault of ours" in caplog.text
    assert secret not in caplog.text


async def test_our_own_faults_are_a_line_without_their_cause(serve: Any) -> None:
    async with serve() as server:
        answer = await request(port_of(server), "/fail", bearer())
        assert (answer.status, answer.text) == (500, "500 Internal Server Error")


async def test_every_answer_forbids_caches_frames_and_guesses(serve: Any) -> None:
    async with serve() as server:
        for path, header in (("/look", bearer()), ("/look", "X: y"), ("/nowhere", bearer()), ("/fail", bearer())):
            headers = (await request(port_of(server), path, header)).headers
            assert headers["cache-control"] == "no-store"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["content-security-policy"].startswith("default-src 'self'")
            assert "access-control-allow-origin" not in headers
            assert "tornado" not in headers["server"].lower()


async def test_a_server_lets_in_whom_its_keys_say(serve: Any) -> None:
    async with serve(Guard(keys=STRANGER)) as server:
        assert (await request(port_of(server), "/look", bearer(CLIENT, STRANGER))).status == 200
        assert (await request(port_of(server), "/look", bearer())).status == 401
    only_worker = Keyring({WORKER: keyring().key_by_role[WORKER]})
    async with serve(Guard(keys=only_worker)) as server:
        assert (await request(port_of(server), "/look", bearer(WORKER))).status == 200
        assert (await request(port_of(server), "/look", bearer(CLIENT))).status == 401
