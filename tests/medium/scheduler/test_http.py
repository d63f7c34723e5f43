"""F26: JSON routes of scheduler and worker: what they show, whom they let in, and that the proxy is no open one."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest

from distributed import Client, Scheduler, Worker
from distributed.calls import rpc
from distributed.errors import BadRequestError, ConfigError, PortTakenError
from distributed.http import HTTPScheduler, HTTPWorker
from distributed.scheduler import http as scheduler_http
from distributed.scheduler import http_views
from distributed.scheduler.checking import services_of
from distributed.security.keys import keyring, keyring_from_master
from distributed.security.permissions import CLIENT, READONLY, ROLES
from distributed.testing.web import bearer, request
from distributed.web.guard import GuardedHandler
from distributed.web.service import HTTPService
from distributed.web.tokens import token_of

SCHEDULER_ROUTES = ("info", "tasks", "processing", "resources", "workers", "memory-load", "memory-load-by-key")
WORKER_ROUTES = ("info", "processing", "resources", "files")

GATE: dict[str, threading.Event] = {}  # tasks run in threads of this process


def wait_for_gate() -> bool:
    return GATE["go"].wait(10)


@asynccontextmanager
async def servers(count: int = 2, **options: Any) -> AsyncIterator[tuple[Scheduler, list[Worker]]]:
    scheduler = Scheduler(services={("http", 0): HTTPScheduler})
    scheduler.listen(0)
    workers = [
        await Worker(scheduler.address, nthreads=number + 1, name=f"w{number}", http_port=0, **options).start()
        for number in range(count)
    ]
    try:
        yield scheduler, workers
    finally:
        await asyncio.gather(*(worker.close() for worker in workers))
        await scheduler.close()


async def get(server: Scheduler | Worker, path: str, role: str = READONLY) -> Any:
    answer = await request(server.services.running["http"].port, path, bearer(role))
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json


async def test_every_route_of_the_scheduler_shows_the_state() -> None:
    """F26: info, tasks, processing, resources, workers, memory-load, memory-load-by-key."""
    async with servers() as (scheduler, (a, b)), Client(scheduler.address, asynchronous=True) as client:
        blobs = client.map(bytes, [1000, 1001], workers=["w1"], key=["blob-1", "blob-2"])
        failing = client.submit(int, "x", key="failing")
        after = client.submit(len, failing)
        await asyncio.wait([asyncio.ensure_future(f.exception()) for f in [*blobs, failing, after]])
        info = await get(scheduler, "/info.json")
        assert (info["type"], info["status"]) == ("Scheduler", "running")
        assert info["ncores"] == {a.address: 1, b.address: 2}
        assert (info["workers"], info["clients"], info["nthreads"], info["id"]) == (2, 1, 3, scheduler.id)
        assert info["services"] == {"http": scheduler.services.ports()["http"]}
        tasks = await get(scheduler, "/tasks.json")
        assert (tasks["in-memory"], tasks["failed"], tasks["total"]) == (2, 2, 4)
        assert (tasks["processing"], tasks["ready"], tasks["waiting"], tasks["released"]) == (0, 0, 0, 0)
        load = await get(scheduler, "/memory-load.json")
        assert load[a.address] == 0
        assert load[b.address] >= 2001
        assert await get(scheduler, "/memory-load-by-key.json") == {a.address: {}, b.address: {"blob": load[b.address]}}
        assert await get(scheduler, "/processing.json") == {a.address: [], b.address: []}
        resources = await get(scheduler, "/resources.json")
        assert set(resources) == {a.address, b.address}
        assert resources[b.address]["nthreads"] == 2
        hosts = await get(scheduler, "/workers.json")
        assert set(hosts) == {"127.0.0.1"}
        host = hosts["127.0.0.1"]
        assert (host["ncores"], host["processing"], host["in-memory"]) == (3, 0, 2)
        assert [worker["name"] for worker in host["workers"].values()] == ["w0", "w1"]


async def test_what_runs_is_shown_by_scheduler_and_worker() -> None:
    """F26: /processing.json of both."""
    async with servers(1) as (scheduler, (worker,)), Client(scheduler.address, asynchronous=True) as client:
        GATE["go"] = threading.Event()
        running = client.submit(wait_for_gate, key="running")
        while not (await get(worker, "/processing.json"))["processing"]:
            await asyncio.sleep(0.001)
        assert await get(scheduler, "/processing.json") == {worker.address: ["running"]}
        assert (await get(scheduler, "/tasks.json"))["processing"] == 1
        assert await get(worker, "/processing.json") == {"processing": ["running"], "queued": 0, "in-memory": []}
        GATE["go"].set()
        await running


async def test_every_route_of_a_worker_shows_it() -> None:
    """F26: info, processing, resources, files."""
    async with (
        servers(1, resources={"GPU": 2}, memory_limit_nbytes=10**10) as (scheduler, (worker,)),
        Client(scheduler.address, asynchronous=True) as client,
    ):
        await client.upload_file(__file__, load=False)
        kept = client.submit(bytes, 10, key="kept")
        await kept
        info = await get(worker, "/info.json")
        assert (info["type"], info["name"], info["status"]) == ("Worker", "w0", "running")
        assert (info["ncores"], info["nkeys"], info["address"]) == (1, 1, worker.address)
        assert info["scheduler"] == scheduler.address
        assert (await get(worker, "/processing.json"))["in-memory"] == ["kept"]
        resources = await get(worker, "/resources.json")
        assert resources["memory_nbytes"] > 10**6
        assert (resources["memory_limit_nbytes"], resources["resources"]) == (10**10, {"GPU": 2})
        assert await get(worker, "/files.json") == {"files": ["test_http.py"]}


async def test_all_routes_are_for_every_role_and_for_nobody_else() -> None:
    """F26, H25: behind the token."""
    stranger = bearer(CLIENT, keyring_from_master(b"\7" * 32))
    async with servers(1) as (scheduler, (worker,)):
        places = [(scheduler, route) for route in SCHEDULER_ROUTES] + [(worker, route) for route in WORKER_ROUTES]
        places += [(scheduler, f"broadcast/{route}") for route in WORKER_ROUTES]
        places += [(scheduler, f"proxy/{worker.address.removeprefix('tcp://')}/{route}") for route in WORKER_ROUTES]
        for server, route in places:
            port = server.services.ports()["http"]
            for role in ROLES:
                assert await get(server, f"/{route}.json", role) is not None
            assert (await request(port, f"/{route}.json")).status == 401
            assert (await request(port, f"/{route}.json", stranger)).status == 401
            assert (await request(port, f"/{route}.json", bearer(), host="evil.example")).status == 403
            assert (await request(port, f"/{route}.json", bearer(), method="POST", body=b"x")).status == 405


async def test_a_worker_is_asked_through_the_scheduler_by_either_of_its_addresses() -> None:
    """F26: /proxy/IP:PORT/ROUTE.json."""
    async with servers() as (scheduler, (a, b)):
        for worker in (a, b):
            for place in (worker.address.removeprefix("tcp://"), f"127.0.0.1:{worker.services.ports()['http']}"):
                assert (await get(scheduler, f"/proxy/{place}/info.json"))["address"] == worker.address
        answers = await get(scheduler, "/broadcast/info.json")
        assert {address: answer["address"] for address, answer in answers.items()} == {
            a.address: a.address,
            b.address: b.address,
        }


async def test_the_proxy_leads_to_registered_workers_and_their_routes_alone() -> None:
    """F26: no open proxy, whatever the address looks like; nothing is even connected to."""
    connected: list[Any] = []
    bait = await asyncio.start_server(lambda reader, writer: connected.append(writer.close()), "127.0.0.1", 0)
    port = bait.sockets[0].getsockname()[1]
    async with servers(1) as (scheduler, (worker,)):
        http = f"127.0.0.1:{worker.services.ports()['http']}"
        own = scheduler.services.ports()["http"]
        for path in (
            f"/proxy/127.0.0.1:{port}/info.json",
            f"/proxy/localhost:{worker.services.ports()['http']}/info.json",
            f"/proxy/{http}@127.0.0.1:{port}/info.json",
            f"/proxy/127.0.0.1:{port}%2F@{http}/info.json",
            f"/proxy/{http}/../info.json",
            f"/proxy/{http}/info.json/../../x",
            f"/proxy/{http}/info.json%3Fa",
            f"/proxy/{http}/",
            f"/proxy/{http}/secret.json",
            f"/proxy/127.0.0.1:{own}/info.json",
            f"/proxy/http://127.0.0.1:{port}/info.json",
            "/proxy/169.254.169.254:80/info.json",
            "/proxy/[::1]:80/info.json",
            "/proxy/:80/info.json",
            "/broadcast/secret.json",
            "/broadcast/../info.json",
        ):
            answer = await request(own, path, bearer())
            assert answer.status == 404, path
    assert connected == []
    bait.close()
    await bait.wait_closed()


class Liar(HTTPService):
    """What a worker that lies may answer."""

    asked: list[str]
    body = b"{}"
    status = 200
    location = ""

    def listen(self, *args: Any, **keywords: Any) -> None:
        self.asked = []

        def answer(request: HTTPServerRequest) -> None:
            self.asked.append(request.headers.get("Authorization", ""))
            head = f"HTTP/1.1 {self.status} Well\r\nContent-Length: {len(self.body)}\r\n"
            head += f"Location: {self.location}\r\n" if self.location else ""
            connection: Any = request.connection
            connection.stream.write(head.encode() + b"\r\n" + self.body)
            connection.finish()

        self._listening = HTTPServer(answer)
        self._listening.listen(0, "127.0.0.1")


@pytest.mark.parametrize(
    ("status", "body", "location"),
    [
        (200, b"<html>", ""),
        (200, b"\xff\xfe", ""),
        (200, b"[" * 100_000, ""),
        (200, b"[" * 500 + b"]" * 500, ""),
        (200, b'{"cpu_percent": [NaN]}', ""),
        (200, b'{"cpu_percent": 1e999}', ""),
        (302, b"{}", "http://127.0.0.1:1/x"),
        (401, b"{}", ""),
        (500, b"{}", ""),
        (200, b" " * (scheduler_http.ANSWER_NBYTES_MAX + 1) + b"1", ""),
    ],
)
async def test_a_worker_that_lies_gets_no_token_of_use_and_leads_us_nowhere(
    status: int, body: bytes, location: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with servers(0) as (scheduler, _):
        liar = Worker(scheduler.address, nthreads=1, services={"http": Liar})
        await liar.start()
        service = liar.services.running["http"]
        service.status, service.body, service.location = status, body, location
        with caplog.at_level(logging.CRITICAL):
            port = scheduler.services.ports()["http"]
            answer = await request(port, f"/proxy/127.0.0.1:{service.port}/info.json", bearer(CLIENT))
            assert answer.status == 502
            assert "does not answer as it should" in answer.text
            all_of_them = await get(scheduler, "/broadcast/info.json", CLIENT)
        assert list(all_of_them[liar.address]) == ["error"]
        assert service.asked
        assert set(service.asked) == {f"Bearer {token_of(keyring(), READONLY)}"}
        await liar.close()


async def test_a_worker_that_does_not_answer_is_told_and_the_others_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_http, "ANSWER_S", 0.05)
    async with servers() as (scheduler, (a, b)):
        await a.services.running["http"].stop()
        answers = await get(scheduler, "/broadcast/info.json")
        assert "error" in answers[a.address]
        assert answers[b.address]["address"] == b.address


async def test_answers_that_are_too_much_together_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_http, "ANSWERS_NBYTES_MAX", 10)
    monkeypatch.setattr(scheduler_http, "ASKED_AT_ONCE", 1)
    async with servers() as (scheduler, (a, b)):
        answers = await get(scheduler, "/broadcast/info.json")
        assert answers[a.address]["address"] == a.address
        assert answers[b.address]["error"].startswith("left out")


async def test_what_is_too_much_for_one_answer_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """F26: bounded, invariant 7."""
    async with servers() as (scheduler, (a, b)), Client(scheduler.address, asynchronous=True) as client:
        futures = client.map(bytes, range(10), key=[f"k{n}-x" for n in range(10)], workers=["w0"])
        await client.gather(futures)
        monkeypatch.setattr(http_views, "KEYS_MAX", 4)
        monkeypatch.setattr(http_views, "WORKERS_MAX", 1)
        port = scheduler.services.ports()["http"]
        for route, left_out in (("memory-load", "6"), ("memory-load-by-key", "6"), ("workers", "1"), ("info", "1")):
            answer = await request(port, f"/{route}.json", bearer())
            assert answer.headers["x-distributed-left-out"] == left_out, route
        assert set((await request(port, "/resources.json", bearer())).json) == {a.address}
        assert b.address in scheduler.worker_services()
        del futures


async def test_people_find_links_to_all_routes() -> None:
    async with servers(1) as (scheduler, (worker,)):
        for server, routes in ((scheduler, SCHEDULER_ROUTES), (worker, WORKER_ROUTES)):
            page = await request(server.services.ports()["http"], "/", bearer(READONLY))
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            assert server.address in page.text
            for route in routes:
                assert f'<a href="/{route}.json">' in page.text
            assert "http://" not in page.text, "nothing is loaded from elsewhere"


async def test_ports_are_told_wherever_people_ask() -> None:
    """F26: "ports reported in worker_info"."""
    async with servers(1) as (scheduler, (worker,)), rpc(scheduler.address) as server:
        info = await server.scheduler_info()
        assert info["services"] == scheduler.services.ports() == (await server.identity())["services"]
        assert (
            info["workers"][worker.address]["services"]
            == worker.services.ports()
            == {"http": worker.services.running["http"].port}
        )


async def test_without_being_asked_for_there_is_no_http() -> None:
    scheduler = Scheduler()
    scheduler.listen(0)
    worker = await Worker(scheduler.address, nthreads=1).start()
    assert scheduler.services.running == worker.services.running == {}
    assert scheduler.services.url() is None
    assert scheduler.worker_services() == {worker.address: {}}
    await worker.close()
    await scheduler.close()


async def test_services_of_ones_own_are_started_told_and_stopped() -> None:
    """F26: the shape ``services={(name, port): class}``."""

    class Hello(GuardedHandler):
        def get(self) -> None:
            self.answer(200, f"hello from {self.application['server'].name}")

    class Mine(HTTPService):
        routes = (("/hello", Hello),)

    scheduler = Scheduler(http_port=0)
    scheduler.listen(0)
    worker = Worker(scheduler.address, nthreads=1, name="w", services={("http", 0): HTTPWorker, "mine": Mine})
    await worker.start()
    ports = scheduler.worker_services()[worker.address]
    assert list(ports) == ["http", "mine"]
    assert (await request(ports["mine"], "/hello", bearer())).text == "hello from w"
    assert (await request(ports["mine"], "/hello")).status == 401
    await worker.close()
    await scheduler.close()
    for port in (*ports.values(), scheduler.services.ports().get("http", ports["mine"])):
        with pytest.raises(OSError):
            await request(port, "/hello", bearer())


@pytest.mark.parametrize(
    "services", [{("http", "0"): HTTPWorker}, {5: HTTPWorker}, {"http": None}, {("a", 1, 2): HTTPWorker}]
)
async def test_services_that_are_none_are_named(services: Any) -> None:
    with pytest.raises(ConfigError, match="services"):
        Scheduler(services=services)


async def test_a_port_that_is_taken_is_told() -> None:
    async with servers(0) as (scheduler, _):
        taken = scheduler.services.ports()["http"]
        other = Scheduler(http_port=taken)
        with pytest.raises(PortTakenError, match=str(taken)):
            other.listen(0)
        await other.close()
        worker = Worker(scheduler.address, nthreads=1, http_port=taken)
        with pytest.raises(PortTakenError, match=str(taken)):
            await worker.start()


@pytest.mark.parametrize(
    "services", [[], "http", {"http": "1"}, {"http": -1}, {"http": 65_536}, {"http": True}, {5: 5}, {"x" * 101: 1}]
)
def test_a_worker_that_tells_nonsense_of_its_services_is_refused(services: Any) -> None:
    with pytest.raises(BadRequestError, match="services"):
        services_of(services)
