"""Working directories of calls, in threads of this process."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distributed.protocol.serialize import dumps_function, dumps_payload
from distributed.rooms import scratch as scratch_module
from distributed.rooms.scratch import Scratch, has_folder_per_thread
from distributed.testing.clusters import gen_test, until
from distributed.worker.context import TaskContext, enter
from distributed.worker.effects import ReadyTask
from distributed.worker.execute import Executor
from distributed.worker.store import Store

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process has one working directory")


def in_thread(function: Callable[[], Any]) -> Any:
    """What `function` returns in a thread of its own, which may change its working directory."""
    answers: list[Any] = []

    def run() -> None:
        has_folder_per_thread()
        answers.append(function())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return answers[0]


def test_a_folder_that_stays_empty_is_used_again_without_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D10: what a call that writes nothing costs is one look."""
    scratch = Scratch(str(tmp_path))
    where = scratch.dress(os.getcwd)
    changes: list[str] = []
    for name in ("mkdir", "utime", "chdir", "scandir", "unlink"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, o=original, **k: changes.append(n) or o(*a, **k))

    def many() -> set[str]:
        where()
        changes.clear()
        return {where() for _ in range(1000)}

    folders = in_thread(many)
    assert len(folders) == 1
    assert changes == []


def test_what_one_call_leaves_no_other_finds(tmp_path: Path) -> None:
    """D10: files, folders, links, in the same moment in which the folder was made."""
    scratch = Scratch(str(tmp_path))

    def leave(number: int) -> list[str]:
        before = os.listdir()
        Path("file").touch()
        os.makedirs("a/b")
        os.symlink("/", "link")
        if number % 2:
            os.chdir("a/b")
        return before

    dressed = scratch.dress(leave)
    assert in_thread(lambda: [dressed(number) for number in range(20)]) == [[]] * 20
    assert os.path.isdir("/"), "links are removed, not what they lead to"


def test_what_a_call_leaves_is_gone_when_it_has_ended(tmp_path: Path) -> None:
    """D10: not only when the next one begins."""
    scratch = Scratch(str(tmp_path))
    folder = in_thread(scratch.dress(lambda: (Path("big").write_bytes(bytes(1000)), os.getcwd())[1]))
    assert os.listdir(folder) == []


def test_a_call_that_filled_the_disk_keeps_its_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = Scratch(str(tmp_path))

    def spoil() -> str:
        Path("file").touch()
        monkeypatch.setattr(scratch_module, "_empty", full)
        monkeypatch.setattr(os, "mkdir", full)
        return "done"

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    def use() -> Any:
        answer = scratch.dress(spoil)()
        with pytest.raises(OSError, match="No space left"):
            scratch.dress(os.getcwd)()
        monkeypatch.undo()
        return answer, scratch.dress(os.listdir)()

    assert in_thread(use) == ("done", [])


def test_threads_go_their_own_ways_and_the_process_stays(tmp_path: Path) -> None:
    here = os.getcwd()
    scratch = Scratch(str(tmp_path))
    where = scratch.dress(os.getcwd)
    assert in_thread(where) != in_thread(where)
    assert os.getcwd() == here


def test_a_folder_that_cannot_be_emptied_is_left_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = Scratch(str(tmp_path))

    def refuse(path: Any) -> None:
        raise PermissionError(path)

    def use() -> tuple[str, str, list[str]]:
        first = scratch.dress(os.getcwd)()
        monkeypatch.setattr(os, "unlink", refuse)
        scratch.dress(Path("file").touch)()
        second, entries = scratch.dress(lambda: (os.getcwd(), os.listdir()))()
        monkeypatch.undo()
        return first, second, entries

    first, second, entries = in_thread(use)
    assert first != second
    assert entries == []


def test_classes_are_called_as_they_are(tmp_path: Path) -> None:
    assert Scratch(str(tmp_path)).dress(dict) is dict


def test_a_call_that_is_interrupted_leaves_nothing_either(tmp_path: Path) -> None:
    scratch = Scratch(str(tmp_path))

    def interrupted() -> None:
        Path("half").touch()
        raise KeyboardInterrupt

    def use() -> list[str]:
        with pytest.raises(KeyboardInterrupt):
            scratch.dress(interrupted)()
        return scratch.dress(os.listdir)()

    assert in_thread(use) == []


def test_a_call_on_top_of_another_comes_back_to_where_that_one_was(tmp_path: Path) -> None:
    scratch = Scratch(str(tmp_path))

    def outer() -> tuple[str, list[str], list[str], str]:
        os.mkdir("inside")
        os.chdir("inside")
        before = os.getcwd()
        above = TaskContext(0)
        above.level, above.task = 1, ReadyTask("k", 1, b"", b"", b"", True, None)
        enter(above)
        inner = scratch.dress(lambda: (Path("x").touch(), os.listdir())[1])()
        above.end_call()
        enter(None)
        return before, inner, os.listdir(), os.getcwd()

    before, inner, entries, after = in_thread(scratch.dress(outer))
    assert inner == ["x"]
    assert entries == []
    assert after == before


def test_the_plain_way_of_looking_sees_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch_module, "_looker", lambda: scratch_module._stat)
    scratch = Scratch(str(tmp_path))
    ways = [Path("file").touch, lambda: os.chdir("/"), lambda: os.rmdir(os.getcwd()), lambda: os.chmod(".", 0o500)]

    def use() -> list[Any]:
        return [(scratch.dress(way)(), scratch.dress(os.listdir)())[1] for way in ways]

    assert in_thread(use) == [[]] * 4


@gen_test()
async def test_an_executor_calls_what_its_functions_were_dressed_as(tmp_path: Path) -> None:
    scratch = Scratch(str(tmp_path))
    executor = Executor(2, lambda: None, Store(), dress=scratch.dress)
    blob, arguments = dumps_function(os.getcwd), dumps_payload(((), {}))
    executor.submit([ReadyTask(f"k{n}", n, b"digest", blob, arguments, True, None) for n in range(4)])
    outcomes: list[Any] = []
    await until(lambda: outcomes.extend(executor.take_outcomes()) or len(outcomes) == 4)
    assert all(str(outcome.value).startswith(str(tmp_path)) for outcome in outcomes)
    await asyncio.get_running_loop().run_in_executor(None, executor.close, 5.0)
