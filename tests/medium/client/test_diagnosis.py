"""why, story, the task stream and warnings of tasks that cannot run, on a cluster in this loop."""

from __future__ import annotations

import io
import logging
import threading
from typing import Any

import pytest

from distributed import Client, progress, wait
from distributed.client.client import Client as ClientClass
from distributed.client.stuck import StuckKeys
from distributed.errors import BadRequestError, UnrunnableTaskWarning
from distributed.messages import KeysStuck
from distributed.scheduler.server import Scheduler
from distributed.testing.clusters import gen_cluster, until
from distributed.testing.functions import inc, throws
from distributed.worker.server import Worker

GATES: dict[str, threading.Event] = {}


def hold(name: str) -> str:
    """Runs until the test opens the gate `name`: the workers are in this process."""
    GATES[name].wait(30)
    return name


@pytest.fixture
def gate() -> Any:
    GATES["gate"] = threading.Event()
    yield GATES["gate"]
    GATES["gate"].set()


@gen_cluster(client=True, ncores=[("127.0.0.1", 1)])
async def test_a_running_task_is_explained_with_its_line(
    client: Client, scheduler: Scheduler, worker: Worker, gate: Any
) -> None:
    running = client.submit(hold, "gate", key="running")
    await until(lambda: worker.executor.running.keys() == ["running"])
    behind = client.submit(inc, 1, key="behind", workers=worker.address)
    answer = await client.why(running)
    assert (answer.state, answer.reason, answer.blockers) == ("processing", "running", [worker.address])
    assert answer.startswith(f"running is with {worker.address} (attempt 1). It runs since 0")
    assert ", now in wait (threading.py:" in answer
    assert (await client.why("behind")).reason == "busy"
    gate.set()
    await wait([running, behind])
    done = await client.why(behind)
    assert (done, done.reason) == ("behind is done; its result is here.", "done")


@gen_cluster(client=True, ncores=[("127.0.0.1", 1)])
async def test_a_task_that_waits_at_its_worker_is_explained(
    client: Client, scheduler: Scheduler, worker: Worker, gate: Any
) -> None:
    GATES["open"] = threading.Event()
    GATES["open"].set()
    await wait(client.map(hold, ["open"] * 5, pure=False))  # it is known to be short, so that more than one are sent
    running = client.submit(hold, "gate", key="running")
    await until(lambda: worker.executor.running.keys() == ["running"])
    queued = client.map(hold, ["open"] * 5, key="queued")
    await until(lambda: "queued-4" in worker.machine.state.tasks)
    answer = await client.why("queued-4")
    assert answer.reason == "queued" and "It has not begun: 5 task(s) run there or come before it." in answer
    gate.set()
    await wait([running, *queued])


@gen_cluster(client=True)
async def test_a_future_is_explained_where_the_scheduler_need_not_be_asked(
    client: Client, scheduler: Scheduler, *workers: Worker
) -> None:
    failed = client.submit(throws, 1)
    await wait(failed)
    assert (await client.why(failed)).startswith(f"{failed.key} failed: RuntimeError: hello")
    waiting = client.submit(inc, 1, workers="nowhere", key="waiting")
    assert (await client.why(waiting)).reason == "no-match"
    await client.cancel(waiting, reason="enough")
    answer = await client.why(waiting)
    assert (answer.state, answer.reason) == ("cancelled", "cancelled") and "enough" in answer
    assert (await client.why("never")).reason == "unknown"


@gen_cluster(client=True)
async def test_a_closed_client_says_so(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    await client.close()
    assert (await client.why("x")).reason == "closed"


@gen_cluster(client=True)
async def test_a_story_is_told_with_times(client: Client, scheduler: Scheduler, a: Worker, b: Worker) -> None:
    future = client.submit(inc, 1, key="x", workers=a.address)
    await future
    story = await client.story(future)
    assert [(step.start, step.finish) for step in story] == [
        ("released", "ready"),
        ("ready", "processing"),
        ("processing", "memory"),
    ]
    assert [(step.worker, step.attempt) for step in story[1:]] == [(a.address, 1)] * 2
    assert sorted(step.time for step in story) == [step.time for step in story]
    assert abs(story[0].time - __import__("time").time()) < 60
    assert f"processing -> memory (attempt 1): {a.address}" in str(story)
    assert "&gt;" in story._repr_html_()
    assert str(await client.story("nothing")) == "nothing is remembered"
    with pytest.raises(BadRequestError, match="at most 100 keys"):
        await client.story([f"k{number}" for number in range(101)], *[str(number) for number in range(101)])


@gen_cluster(client=True)
async def test_the_task_stream_has_what_ran_inside(client: Client, scheduler: Scheduler, *workers: Worker) -> None:
    await client.submit(inc, 0)
    async with client.get_task_stream() as runs:
        done = client.map(inc, range(100), key="inc")
        failed = client.submit(throws, 1, key="bad")
        await wait([*done, failed])
    assert len(runs) == 101 and {run.status for run in runs} == {"finished", "error"}
    assert {run.worker for run in runs} <= {worker.address for worker in workers}
    assert all(run.start <= run.stop for run in runs) and runs.missed == 0
    assert {run.key for run in runs if run.status == "error"} == {"bad"}
    assert len(await client.get_task_stream()) == 102
    assert await client.get_task_stream(since=0) == []


@gen_cluster(client=True)
async def test_a_task_that_cannot_run_is_warned_of(
    client: Client, scheduler: Scheduler, *workers: Worker, caplog: Any = None
) -> None:
    told: list[KeysStuck] = []
    session = client._session
    assert session is not None
    handlers = session.link._handlers
    real = handlers[KeysStuck]
    handlers[KeysStuck] = lambda message: (told.append(message), real(message))
    logger, lines = logging.getLogger("distributed.client.stuck"), io.StringIO()
    handler = logging.StreamHandler(lines)
    logger.addHandler(handler)
    try:
        futures = client.map(inc, range(3), workers="nowhere", key="far")
        await until(lambda: bool(told))  # 1.5 s; in tests warnings are errors, which are logged instead
    finally:
        logger.removeHandler(handler)
    assert told[0].waiting == [["far-0", "far-1", "far-2"]] and told[0].counts == [3]
    assert "3 tasks cannot run, first far-0: far-0 may only run on nowhere; none of the 2 workers" in lines.getvalue()
    assert len(futures) == 3


def test_a_reason_is_warned_of_once() -> None:
    stuck = StuckKeys()
    message = KeysStuck([["b"]], [1], ["a"], ["may only run on w7."])
    with pytest.warns(UnrunnableTaskWarning, match=r"^b cannot run: a may only run on w7\.$") as caught:
        stuck.on_stuck(message)
        stuck.on_stuck(message)
    assert len(caught) == 1
    warning = caught[0].message
    assert isinstance(warning, UnrunnableTaskWarning) and (warning.keys, warning.blocked) == (["b"], "a")


@gen_cluster(client=True)
async def test_progress_of_an_asynchronous_client_can_be_awaited(
    client: Client, scheduler: Scheduler, *workers: Worker
) -> None:
    futures = [*client.map(inc, range(20)), client.submit(throws, 1)]
    file = io.StringIO()
    await progress(futures, notebook=False, file=file)
    last = file.getvalue().splitlines()[-3:]
    assert last[0].startswith("inc     ##############################  20/20  100%")
    assert last[1] == "throws  ##############################  1/1  100%  (1 failed)"


@gen_cluster(client=True)
async def test_an_overview_has_everything_for_one_screen(
    client: Client, scheduler: Scheduler, *workers: Worker
) -> None:
    await wait(client.map(inc, range(10)))
    kept = client.map(inc, range(5), workers="nowhere")
    await until(lambda: bool(scheduler.machine.state.stuck))
    overview = await client._live().ask("overview")
    assert overview["workers_count"] == len(overview["workers"]) == 2
    assert overview["tasks"]["ready"] == 5
    assert overview["stuck"] == [[kept[0].key, 5, "may only run on nowhere; none of the 2 workers is such a one."]]
    assert overview["functions"][0]["name"] == "inc" and overview["functions"][0]["tasks"]["ready"] == 5


def test_what_notebooks_show_is_escaped(background: Any) -> None:
    with ClientClass(background.address, name="<b>me</b>") as client:
        shown = client._repr_html_()
        assert "&lt;b&gt;me" in shown and "<b>me" not in shown and background.address in shown and "workers" in shown
        future = client.submit(inc, 1, key="<script>")
        assert future.result() == 2
        assert "&lt;script&gt;" in future._repr_html_() and "<script>" not in future._repr_html_()
        assert "finished" in future._repr_html_()


def test_a_blocking_client_asks_too(background: Any) -> None:
    with ClientClass(background.address) as client:
        with client.get_task_stream() as runs:
            future = client.submit(inc, 1, key="x")
            assert future.result() == 2
        assert [run.key for run in runs] == ["x"]
        assert [run.key for run in client.get_task_stream(since="1h")] == ["x"]
        assert client.why("x").reason == "done" and client.story(future)[-1].finish == "memory"
        file = io.StringIO()
        assert client.progress([future], notebook=False) is None
        assert progress(future, notebook=False, file=file) is None
        assert file.getvalue().startswith("x  ####")
