"""Calls of a Main, from the first one to an edit of the workspace, with the offer of this machine."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from distributed.crews.links import OfferLink
from distributed.crews.main import Main
from distributed.crews.options import CallOptions, MainSettings
from distributed.errors import CancelledError, NoMatchError, WorkspaceChangedError
from distributed.testing.processes import wait_until

TIMEOUT_S = 25


def test_calls_made_before_the_crew_is_open_run_when_it_is(main: Main, project, tmp_path: Path) -> None:
    helpers, log = project.module, tmp_path / "log"
    calls = [main.submit(helpers.append, (str(log), f"{number} ")) for number in range(5)]
    for call in calls:
        call.result(TIMEOUT_S)
    assert sorted(log.read_text().split()) == ["0", "1", "2", "3", "4"]


def test_an_offer_has_rooms_for_python_code_on_all_of_its_cores(main: Main, project, tmp_path: Path) -> None:
    helpers, files = project.module, [str(tmp_path / "one"), str(tmp_path / "two")]
    calls = [main.submit(helpers.touch_and_wait, pair) for pair in (files, files[::-1])]
    assert [call.result(TIMEOUT_S) for call in calls] == [None, None]
    rooms = calls[0].crew.staffing.rooms
    wait_until(lambda: len(rooms) == 2, "a second room, which is asked for when the first is open")


def test_an_argument_may_be_another_call_at_any_depth(main: Main, project) -> None:
    helpers = project.module
    one, two = main.submit(helpers.add, (1,)), main.submit(helpers.add, (1, 1))
    assert main.submit(helpers.total, ([one, two, 3],)).result(TIMEOUT_S) == 6


def test_a_handle_that_is_dropped_does_not_take_its_call_back(main: Main, project, tmp_path: Path) -> None:
    log = tmp_path / "log"
    main.submit(project.module.append, (str(log), "done"))
    assert main.submit(project.module.wait_for, (str(log), "seen")).result(TIMEOUT_S) == "seen"


def test_what_a_call_raises_has_its_own_type(main: Main, project) -> None:
    call = main.submit(project.module.raise_wrong, ("no luck",))
    with pytest.raises(project.module.Wrong, match="no luck"):
        call.result(TIMEOUT_S)
    assert isinstance(call.exception(), project.module.Wrong)


def test_lambdas_travel_by_value(main: Main) -> None:
    factor = 3
    assert main.submit(lambda x: factor * x, (2,)).result(TIMEOUT_S) == 6


def test_a_call_can_be_awaited_on_any_loop(main: Main, project) -> None:
    async def wait() -> int:
        return await main.submit(project.module.add, (1, 2))

    assert asyncio.run(wait()) == 3


def test_a_call_that_waits_is_cancelled(main: Main, project, tmp_path: Path) -> None:
    call = main.submit(project.module.wait_for, (str(tmp_path / "never"),))
    call.cancel()
    with pytest.raises(CancelledError):
        call.result(TIMEOUT_S)


def test_callbacks_hear_of_calls_that_are_decided(main: Main, project) -> None:
    decided = threading.Event()
    call = main.submit(project.module.add, (1, 2))
    call.add_done_callback(lambda done: decided.set())
    assert decided.wait(TIMEOUT_S)
    assert call.done()


def test_a_call_after_an_edit_runs_the_new_code_and_one_before_it_the_old(main: Main, project, tmp_path: Path) -> None:
    helpers, gate = project.module, tmp_path / "gate"
    before = main.submit(helpers.version)
    waiting = main.submit(helpers.wait_for, (str(gate), "old"))
    big = main.submit(helpers.big, (300_000,))
    assert before.result(TIMEOUT_S) == 1
    project.edit("VERSION = 1", "VERSION = 2")
    after = main.submit(helpers.version)
    length = main.submit(helpers.length, (big,))  # whose value lies in a room of the older version
    gate.touch()
    assert after.result(TIMEOUT_S) == 2
    assert waiting.result(TIMEOUT_S) == "old"
    assert length.result(TIMEOUT_S) == 300_000
    project.edit("VERSION = 2", "VERSION = 1")
    assert main.submit(helpers.version).result(TIMEOUT_S) == 1


def test_a_call_that_no_worker_can_run_fails_if_it_is_strict(main: Main, project) -> None:
    """D13: matching by platform glob, threads and memory; strict calls name what was asked and what there is."""
    helpers = project.module
    for options in (
        CallOptions(platform=("amiga-*",), strict=True),
        CallOptions(threads=99, strict=True),
    ):
        with pytest.raises(NoMatchError, match=r"amiga|99 threads"):
            main.submit(helpers.add, (1,), options=options).result(TIMEOUT_S)
    possible = CallOptions(platform=("amiga", "linux*"), threads=2, memory_nbytes=1000, strict=True)
    assert main.submit(helpers.add, (1,), options=possible).result(TIMEOUT_S) == 1


def test_calls_that_ask_for_memory_share_one_promise_of_it(main: Main, project) -> None:
    """D13: what calls ask for together is never more than the offer has."""
    most = CallOptions(memory_nbytes=3 * 2**60)  # of 2**62, without a limit
    calls = [main.submit(project.module.process, options=most) for _ in range(4)]
    assert len({call.result(TIMEOUT_S) for call in calls}) == 1


def test_a_call_whose_files_change_before_they_are_sent_runs_with_the_newer_ones(
    make_project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project("helpers_that_change")
    shipping = OfferLink.ship

    async def ship(link, contents, manifest, *args):
        if "VERSION = 1" in project.path.read_text():
            project.edit("VERSION = 1", "VERSION = 2")
            raise WorkspaceChangedError(project.path.name, str(project.root))  # as of a big file, which is not kept
        return await shipping(link, contents, manifest, *args)

    monkeypatch.setattr(OfferLink, "ship", ship)
    main = Main(MainSettings(root=str(project.root), threads=1))
    try:
        first, second = main.submit(project.module.version), main.submit(project.module.version)
        assert [first.result(TIMEOUT_S), second.result(TIMEOUT_S)] == [2, 2]
    finally:
        main.close()
