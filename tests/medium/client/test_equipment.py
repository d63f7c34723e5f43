"""What reaches every worker: functions that run there, files, plugins; and beginning anew."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from distributed import Client, SchedulerPlugin, WorkerPlugin, wait
from distributed.errors import BadRequestError, DistributedError, EquipmentError, UserCodeRefusedError
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, until
from distributed.testing.functions import inc
from distributed.worker import equipment
from distributed.worker.context import get_worker
from distributed.worker.server import Worker

CALLS: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


# ---------------------------------------------------------------- run


@gen_cluster(client=True)
async def test_a_function_runs_once_on_every_worker(client: Client, scheduler: Scheduler, a: Worker, b: Worker) -> None:
    assert await client.run(lambda x, y: (x, y, get_worker().name), 1, y=2) == {
        a.address: (1, 2, "0"),
        b.address: (1, 2, "1"),
    }


@gen_cluster(client=True)
async def test_a_function_runs_on_the_workers_named(client: Client, s: Scheduler, a: Worker, b: Worker) -> None:
    assert await client.run(inc, 1, workers="1") == {b.address: 2}
    assert await client.run(inc, 1, workers=[a.address, "0"]) == {a.address: 2}
    with pytest.raises(BadRequestError, match="no worker 'nobody'; there are: 0, 1"):
        await client.run(inc, 1, workers=["nobody"])


@gen_cluster(client=True, ncores=[("127.0.0.1", 1)])
async def test_a_function_runs_beside_tasks(client: Client, scheduler: Scheduler, a: Worker) -> None:
    GATE["go"] = threading.Event()
    busy = client.submit(wait_for_gate)
    try:
        await until(lambda: a.executor.running.keys())
        assert (await client.run(threading.active_count))[a.address] >= 2
    finally:
        GATE["go"].set()
    assert await busy is True


GATE: dict[str, threading.Event] = {}


def wait_for_gate() -> bool:
    return GATE["go"].wait(10)


def spin() -> None:
    GATE["begun"].set()
    try:
        while not GATE["go"].is_set():
            len(GATE)
    except BaseException as error:
        CALLS.append(type(error).__name__)
        raise


@gen_cluster(client=True, ncores=[("127.0.0.1", 1)])
async def test_a_function_that_nobody_waits_for_any_more_is_interrupted(
    client: Client, scheduler: Scheduler, a: Worker
) -> None:
    GATE.update(begun=threading.Event(), go=threading.Event())
    running = asyncio.ensure_future(client.run(spin))
    await asyncio.to_thread(GATE["begun"].wait, 10)
    running.cancel()
    await until(lambda: CALLS == ["TaskInterrupted"])
    assert (await client.run(inc, 1))[a.address] == 2


@gen_cluster(client=True, ncores=[("127.0.0.1", 1)])
async def test_a_function_of_a_client_that_has_left_is_interrupted(
    client: Client, scheduler: Scheduler, a: Worker
) -> None:
    GATE.update(begun=threading.Event(), go=threading.Event())
    other = await Client(scheduler.address, asynchronous=True)
    running = asyncio.ensure_future(other.run(spin))
    await asyncio.to_thread(GATE["begun"].wait, 10)
    await other.close()
    await until(lambda: CALLS == ["TaskInterrupted"])
    with pytest.raises((DistributedError, asyncio.CancelledError)):
        await running


async def slow_answer() -> str:
    await asyncio.sleep(0)
    return get_worker().name


@gen_cluster(client=True)
async def test_a_coroutine_is_run_to_its_end(client: Client, scheduler: Scheduler, a: Worker, b: Worker) -> None:
    assert await client.run(slow_answer) == {a.address: "0", b.address: "1"}


def raise_on(name: str) -> str:
    if get_worker().name == name:
        raise ZeroDivisionError(f"on {name}")
    return "well"


@gen_cluster(client=True)
async def test_errors_are_raised_returned_or_left_out(client: Client, s: Scheduler, a: Worker, b: Worker) -> None:
    with pytest.raises(ZeroDivisionError, match="on 1") as caught:
        await client.run(raise_on, "1")
    assert "raise_on" in str(caught.value.__cause__)
    answer = await client.run(raise_on, "1", on_error="return")
    assert answer[a.address] == "well"
    assert isinstance(answer[b.address], ZeroDivisionError)
    assert await client.run(raise_on, "1", on_error="ignore") == {a.address: "well"}
    with pytest.raises(ValueError, match="on_error='hide'"):
        client.run(raise_on, "1", on_error="hide")


@gen_cluster(client=True)
async def test_a_function_that_exits_ends_nothing(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    answer = await client.run(sys.exit, 3, on_error="return")
    assert all("SystemExit" in str(error) for error in answer.values())
    assert await client.submit(inc, 1) == 2


@gen_cluster(client=True)
async def test_nobody_has_to_wait(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    assert await client.run(CALLS_APPEND, "called", wait=False) is None
    await until(lambda: CALLS == ["called", "called"])


def CALLS_APPEND(what: Any) -> None:
    CALLS.append(what)


@gen_cluster(client=True)
async def test_code_for_scheduler_and_nannies_is_refused_with_a_cure(client: Client, *servers: Any) -> None:
    for refused in (
        lambda: client.run_on_scheduler(inc, 1),
        lambda: client.run(inc, 1, nanny=True),
        lambda: client.register_plugin(SchedulerPlugin()),
    ):
        with pytest.raises(UserCodeRefusedError, match="--preload"):
            refused()


# ---------------------------------------------------------------- plugins


class Recorder(WorkerPlugin):
    """Tells what is done with it."""

    def __init__(self, tag: str, fails_on: str = "") -> None:
        self.tag = tag
        self.fails_on = fails_on

    def setup(self, worker: Any) -> None:
        if worker.name == self.fails_on:
            raise ZeroDivisionError(f"on {worker.name}")
        assert get_worker() is worker
        worker.tag = self.tag
        CALLS.append(("setup", self.tag, worker.name))

    async def teardown(self, worker: Any) -> None:
        await asyncio.sleep(0)
        CALLS.append(("teardown", self.tag, worker.name))


def tag_here(number: int) -> str:
    return str(get_worker().tag)


@gen_cluster(client=True)
async def test_a_plugin_is_set_up_on_every_worker_and_taken_away(client: Client, *servers: Any) -> None:
    assert await client.register_plugin(Recorder("x"), name="p") == "p"
    assert sorted(CALLS) == [("setup", "x", "0"), ("setup", "x", "1")]
    assert await client.gather(client.map(tag_here, range(4))) == ["x"] * 4
    CALLS.clear()
    await client.unregister_plugin("p")
    assert sorted(CALLS) == [("teardown", "x", "0"), ("teardown", "x", "1")]
    with pytest.raises(BadRequestError, match="no plugin 'p'"):
        await client.unregister_plugin("p")


@gen_cluster(client=True)
async def test_a_plugin_takes_the_place_of_one_of_its_name(client: Client, *servers: Any) -> None:
    await client.register_plugin(Recorder("x"), name="p")
    CALLS.clear()
    await client.register_plugin(Recorder("x"), name="p")  # equal, so nothing happens
    assert CALLS == []
    await client.register_plugin(Recorder("y"), name="p")
    assert sorted(CALLS) == [(verb, tag, n) for verb, tag in (("setup", "y"), ("teardown", "x")) for n in "01"]


@gen_cluster(client=True)
async def test_a_name_is_made_from_class_and_content(client: Client, *servers: Any) -> None:
    one = await client.register_plugin(Recorder("x"))
    assert one.startswith("Recorder-")
    assert await client.register_plugin(Recorder("x")) == one
    assert await client.register_plugin(Recorder("y")) != one


@gen_cluster(client=True)
async def test_failures_come_back_by_worker_and_the_others_go_on(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    with pytest.raises(EquipmentError, match=r"1 workers go on without p: .*ZeroDivisionError: on 1") as caught:
        await client.register_plugin(Recorder("x", fails_on="1"), name="p")
    assert list(caught.value.failures) == [b.address]
    assert isinstance(caught.value.failures[b.address], ZeroDivisionError)
    assert await client.submit(tag_here, 1, workers=a.address) == "x"
    assert await client.submit(inc, 1, workers=b.address) == 2


@gen_cluster(client=True)
async def test_a_worker_that_joins_later_has_it_before_its_first_task(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    await client.register_plugin(Recorder("x"), name="p")
    futures = client.map(tag_here, range(20), workers="later")
    later = Worker(scheduler.address, nthreads=2, name="later")
    await later.start()
    assert await client.gather(futures) == ["x"] * 20
    await later.close()


@gen_cluster(client=True)
async def test_who_fails_to_set_up_later_is_told_to_clients(
    another: Client, scheduler: Scheduler, *workers: Worker
) -> None:
    heard: list[tuple[str, str, str]] = []
    async with Client(scheduler.address, asynchronous=True, output=lambda *entry: heard.append(entry)) as client:
        await client.register_plugin(Recorder("x", fails_on="later"), name="p")
        later = Worker(scheduler.address, nthreads=1, name="later")
        await later.start()
        await until(lambda: heard)
        assert heard[0][:2] == (later.address, "stderr")
        await later.close()
    assert "this worker goes on without plugin p: ZeroDivisionError: on later" in heard[0][2]


class Slow(WorkerPlugin):
    """Its setup takes until the gate opens."""

    def setup(self, worker: Any) -> None:
        GATE["go"].wait(10)


@gen_cluster(client=True)
async def test_a_setup_without_end_does_not_hold_tasks_for_ever(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    GATE["go"] = threading.Event()
    before, equipment.TAKE_IN_S = equipment.TAKE_IN_S, 0.05
    try:
        with pytest.raises(EquipmentError, match=r"TimeoutError: plugin p was not ready within 0\.05 s"):
            await client.register_plugin(Slow(), name="p")
        assert await client.submit(inc, 1) == 2
    finally:
        equipment.TAKE_IN_S = before
        GATE["go"].set()


class Watcher:
    """A plugin without a base, that looks at transitions."""

    def transition(self, key: str, start: str, finish: str) -> None:
        CALLS.append((key, start, finish))
        if key == "bad":
            raise ValueError("a plugin's fault")


@gen_cluster(client=True)
async def test_a_plugin_may_look_at_transitions(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    await client.register_plugin(Watcher())
    await wait([client.submit(inc, 1, key="bad"), client.submit(inc, "x", key="b")])
    await until(lambda: len(CALLS) == 4)
    assert sorted(CALLS) == [
        ("b", "ready", "error"),
        ("b", "waiting", "ready"),
        ("bad", "ready", "memory"),
        ("bad", "waiting", "ready"),
    ]


@gen_cluster(client=True)
async def test_what_has_none_of_the_methods_is_no_plugin(client: Client, *servers: Any) -> None:
    with pytest.raises(BadRequestError, match="it is no plugin"):
        client.register_plugin(object())


@gen_cluster(client=True)
async def test_plugins_end_with_their_scheduler_and_begin_with_the_next(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    await client.register_plugin(Recorder("x"), name="p")
    CALLS.clear()
    assert a._scheduler is not None
    a._scheduler.close()
    await until(lambda: sorted(CALLS) == [("setup", "x", "0"), ("teardown", "x", "0")])
    assert await client.submit(tag_here, 1, workers="0") == "x"


# ---------------------------------------------------------------- files


def read_module(name: str) -> Any:
    return importlib.import_module(name).VALUE


def read_upload(name: str) -> str:
    return Path(get_worker().equipment.path_of(name)).read_text()


@pytest.fixture
def module_name() -> Any:
    """Of a module that only workers have; it is forgotten in the end."""
    name = "uploaded_module_for_a_test"
    yield name
    for known in [known for known in sys.modules if known.startswith(name)]:
        del sys.modules[known]
    importlib.invalidate_caches()


def test_a_module_is_uploaded_and_again_when_it_has_changed(tmp_path: Path, module_name: str) -> None:
    path = tmp_path / f"{module_name}.py"
    before = list(sys.path)

    @gen_cluster(client=True)
    async def body(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
        for value in ("1", "2"):
            path.write_text(f"VALUE = {value}")
            await client.upload_file(path)
            assert await client.submit(read_module, module_name, pure=False) == int(value)

    body()
    assert sys.path == before


def test_an_archive_is_uploaded_with_its_packages(tmp_path: Path, module_name: str) -> None:
    path = tmp_path / "bundle.zip"

    @gen_cluster(client=True)
    async def body(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
        for value in ("1", "2"):
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr(f"{module_name}/__init__.py", f"from {module_name}.part import VALUE")
                archive.writestr(f"{module_name}/part.py", f"VALUE = {value}")
            await client.upload_file(path)
            assert await client.submit(read_module, module_name, pure=False) == int(value)

    body()


def test_data_files_are_found_by_name(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"

    @gen_cluster(client=True)
    async def body(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
        path.write_text("a,b")
        await client.upload_file(path)
        path.write_text("c,d" * 100_000)
        await client.upload_file(str(path))
        assert await client.submit(read_upload, "table.csv") == "c,d" * 100_000
        with pytest.raises(FileNotFoundError, match=r"'other.csv' was not uploaded.*'table.csv'"):
            await client.submit(read_upload, "other.csv")

    body()


def test_a_module_with_a_mistake_is_told_by_worker(tmp_path: Path, module_name: str) -> None:
    path = tmp_path / f"{module_name}.py"
    path.write_text("VALUE = 1 / 0")

    @gen_cluster(client=True)
    async def body(client: Client, scheduler: Scheduler, a: Worker, b: Worker) -> None:
        with pytest.raises(EquipmentError, match="ZeroDivisionError") as caught:
            await client.upload_file(path)
        assert set(caught.value.failures) <= {a.address, b.address}
        await client.upload_file(path, load=False)

    body()


@gen_cluster(client=True)
async def test_names_and_files_that_cannot_be_are_refused_here(client: Client, *servers: Any) -> None:
    with pytest.raises(BadRequestError, match="take the place of the module json"):
        client.upload_file("/tmp/json.py")
    with pytest.raises(FileNotFoundError):
        client.upload_file("/tmp/no_such_file_anywhere.py")


# ---------------------------------------------------------------- restart


@gen_cluster(client=True)
async def test_restart_cancels_everything_for_everybody_and_keeps_workers_without_a_nanny(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    async with Client(scheduler.address, asynchronous=True) as other:
        done, theirs = client.submit(inc, 1), other.submit(inc, 2)
        data = await client.scatter([1, 2])
        await wait([done, theirs])
        assert await client.restart(timeout="5s") == {"restarted": [], "kept": [a.address, b.address]}
        assert [future.status for future in (done, *data)] == ["cancelled"] * 3
        await until(lambda: theirs.status == "cancelled")
        assert not scheduler.machine.state.tasks
        await until(lambda: not len(a.store) and not len(b.store))
        assert await client.submit(inc, 1) == 2


@gen_cluster(client=True, worker_options={"nanny": "tcp://127.0.0.1:9"})
async def test_workers_that_do_not_come_back_are_named(
    client: Client, scheduler: Scheduler, a: Worker, b: Worker
) -> None:
    with pytest.raises(TimeoutError, match=r"1 workers are not back after 0\.3 s: tcp://\S+: .*refused"):
        await client.restart(timeout=0.3)
    assert await client.submit(inc, 1) == 2


@gen_cluster(client=True)
async def test_a_restart_asks_for_a_time_that_makes_sense(client: Client, *servers: Any) -> None:
    with pytest.raises(BadRequestError, match="timeout_s=0"):
        await client.restart(timeout=0)
