"""Rooms as processes: whose modules they find, where their calls run, what comes back, and how they end."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from distributed import errors
from distributed.calls import rpc
from distributed.client.futures import Future
from distributed.errors import AuthenticationError, DistributedError, WorkerStartError
from distributed.rooms import entry as entry_module
from distributed.rooms.references import Carried, Reference, packable
from distributed.rooms.room import Room
from distributed.security.keys import keyring_from_master
from distributed.testing.processes import wait_until
from distributed.testing.rooms import House, write_files

Call = Callable[..., Future]


@pytest.fixture
def call(house: House, room: Room) -> Call:
    """``call("name", *args)``: a task in `room`, by reference into the script."""

    def submit(name: str, *args: Any) -> Future:
        return house.client.submit(Reference("main", name), *args, workers=["room"], pure=False)

    return submit


@pytest.fixture
def as_main(project: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as this process's own module `main`, for what comes back."""
    monkeypatch.syspath_prepend(project)
    monkeypatch.chdir(project)
    yield __import__("main")
    for name in ("main", "helpers"):
        del sys.modules[name]


def in_room(house: House, name: str, module: str, function: str, *args: Any) -> Any:
    return house.client.submit(Reference(module, function), *args, workers=[name], pure=False).result(timeout=20)


# ---------------------------------------------------------------- isolation


def test_two_versions_of_a_module_run_side_by_side(house: House, tmp_path: Path) -> None:
    """D10: one interpreter per workspace; an edit is a new workspace, and needs no restart of the old one."""
    for version in ("1", "2"):
        files = {
            "main.py": "import os, helpers\ndef f(): return helpers.VERSION, os.getpid()",
            "helpers.py": f"VERSION = {version}",
        }
        house.open(f"v{version}", write_files(tmp_path / version, files), entry="main")
    first, second = in_room(house, "v1", "main", "f"), in_room(house, "v2", "main", "f")
    assert (first[0], second[0]) == (1, 2)
    assert first[1] != second[1]
    assert in_room(house, "v1", "main", "f") == first, "the old one goes on as before"


def test_sixteen_threads_write_files_of_one_name(house: House, call: Call, project: Path) -> None:
    """D10: each call has a working directory of its own, empty when it begins and gone when it has ended."""
    for gate in ("gate-a", "gate-b"):  # the second time in folders that were used
        answers = [future.result(timeout=30) for future in [call("write_and_meet", n, gate, 16) for n in range(16)]]
        assert [before for before, _, _, _ in answers] == [[]] * 16
        assert [text for _, text, _, _ in answers] == [str(number) for number in range(16)]
        assert len({folder for _, _, folder, _ in answers}) == 16
        assert len({thread for _, _, _, thread in answers}) == 16
    assert all(call("place").result(timeout=20)[1] == [] for _ in range(32))


def test_a_call_begins_in_a_clean_folder_whatever_the_one_before_has_done(
    house: House, project: Path, tmp_path: Path
) -> None:
    """D10: it removed the folder, went elsewhere, or made it unreadable."""
    room = house.open("single", str(shutil.copytree(project, tmp_path / "w")), entry="main")
    for how in ("removed", "elsewhere", "locked", "made and removed"):
        assert in_room(house, "single", "main", "leave", how) == how
        folder, entries, root, _ = in_room(house, "single", "main", "place")
        assert entries == []
        assert folder.startswith(os.path.join(str(house.folder), "distributed-worker-"))
        assert root == str(tmp_path / "w")
    house.run(room.kill())


def test_a_call_on_top_of_one_that_waits_has_its_own_folder(house: House, project: Path, tmp_path: Path) -> None:
    """D10: a nested call in the same thread; its parent finds everything as it was."""
    room = house.open("nest", str(shutil.copytree(project, tmp_path / "w")), entry="main")
    entries, inner, folder = in_room(house, "nest", "main", "nested", 1)
    assert entries == ["parent"]
    assert inner[1] == []
    assert inner[0] != folder
    house.run(room.kill())


def test_a_call_that_is_cancelled_leaves_nothing(house: House, project: Path, tmp_path: Path) -> None:
    """D10: whatever it was doing; and the room lives on."""
    room = house.open("cancelled", str(shutil.copytree(project, tmp_path / "w")), entry="main")
    pid = room.pid
    for number in range(3):
        spinning = house.client.submit(Reference("main", "spin"), f"started-{number}", workers=["cancelled"])
        wait_until((tmp_path / f"started-{number}").exists, "the call to begin")
        house.client.cancel([spinning])
        assert in_room(house, "cancelled", "main", "place")[1] == []
    assert room.pid == pid
    house.run(room.kill())


def test_what_a_generator_yields_is_made_in_its_folder(call: Call) -> None:
    text, folder = call("generate", 5).result(timeout=20)
    assert text == "5"
    assert "scratch" in folder


def test_what_each_call_prints_comes_with_its_key(house: House, call: Call) -> None:
    """D10: stdout and stderr of sixteen threads, per call."""
    futures = {f"word{number}": call("say", f"word{number}") for number in range(16)}
    for future in futures.values():
        future.result(timeout=20)
    for text, future in futures.items():
        said = {(future.key, "stdout", f"{text}\n"), (future.key, "stderr", f"{text.upper()}\n")}
        wait_until(lambda said=said: said <= set(house.printed), lambda: house.printed)
    keys = {future.key for future in futures.values()}
    assert len([key for key, _, _ in house.printed if key in keys]) == 32


def test_a_room_has_its_tenants_key_and_nothing_of_the_owners(house: House, room: Room, call: Call) -> None:
    """D10: neither does it let in others."""
    variables, key_file, fingerprint, main_file = call("secrets").result(timeout=20)
    assert variables == {"DISTRIBUTED_KEY_FILE"}
    assert key_file.startswith(str(house.folder))
    assert not os.path.exists(key_file)
    assert fingerprint == house.keys.fingerprint()
    assert not str(main_file).endswith("main.py"), "the module __main__ is left alone"

    async def as_somebody_else(address: str | None) -> None:
        async with rpc(address, keys=keyring_from_master(os.urandom(32))) as stranger:
            await stranger.identity()

    for address in (room.worker_address, room.nanny.address):
        with pytest.raises(AuthenticationError):
            house.run(as_somebody_else(address))


def test_a_call_that_looks_for_a_file_of_the_project_is_told_where_it_is(house: House, call: Call) -> None:
    with pytest.raises(FileNotFoundError, match="No such file") as caught:
        call("read_config").result(timeout=20)
    assert "open distributed.workspace_root() / 'config.txt'" in caught.value.__notes__[0]
    assert "workspace_root" in str(caught.value.__cause__)


def test_a_call_that_imports_what_is_not_there_is_told_the_cure(house: House, call: Call) -> None:
    """D12: in the note of a ModuleNotFoundError, which stays what it is."""
    with pytest.raises(ModuleNotFoundError) as caught:
        call("import_late").result(timeout=20)
    assert "requirements=" in caught.value.__notes__[0]


def test_temporary_files_go_with_the_room(house: House, call: Call) -> None:
    assert call("temporary").result(timeout=20).startswith(str(house.folder))


# ---------------------------------------------------------------- names both ways


def test_modules_are_imported_in_the_folder_of_the_workspace(call: Call, project: Path) -> None:
    """D11: the guard of the script stays false, and what it reads at import is there."""
    assert call("place").result(timeout=20)[2:] == (str(project), "from the workspace")


def test_classes_of_the_script_come_back_as_what_the_main_has(as_main: Any, call: Call) -> None:
    """D11: dataclasses, nested enums, and exceptions with state; see test_main_program for a script that runs."""
    point, kind = call("double", as_main.Point(4)).result(timeout=20)
    assert point == as_main.Point(8)
    assert kind is as_main.Point.Kind.ROUND
    with pytest.raises(as_main.TooFar) as caught:
        call("too_far", as_main.Point(9)).result(timeout=20)
    assert (caught.value.point, caught.value.by) == (as_main.Point(9), 3)
    assert "in too_far" in str(caught.value.__cause__)


def test_exceptions_of_a_module_of_the_workspace_come_back_whole(as_main: Any, call: Call) -> None:
    """D12: with their type, their data and the traceback over there."""
    with pytest.raises(as_main.Wrong) as caught:
        call("wrong").result(timeout=20)
    assert caught.value.code == 7
    assert type(caught.value) is sys.modules["helpers"].Wrong
    assert "main.py" in str(caught.value.__cause__)


def test_what_cannot_be_pickled_over_there_is_told_in_words(as_main: Any, call: Call) -> None:
    """D12: an exception that holds a lock is a RemoteError, a result an UnpicklableError; the room goes on."""
    with pytest.raises(errors.RemoteError, match=r"main\.Unpicklable: holds a lock"):
        call("unpicklable").result(timeout=20)
    with pytest.raises(errors.UnpicklableError, match="lock"):
        call("unpicklable_result").result(timeout=20)
    assert call("version").result(timeout=20) == 1


def test_a_lambda_uses_modules_of_the_room(as_main: Any, house: House, room: Room) -> None:
    """D12: it travels by value, what it calls by name."""
    helpers = as_main.helpers
    carried = packable(lambda: helpers.VERSION + 41, "main")
    assert isinstance(carried, Carried)
    assert house.client.submit(carried, workers=["room"]).result(timeout=20) == 42


@pytest.mark.parametrize(
    ("module", "kind", "text"),
    [
        ("broken", errors.ModuleMissingError, r"it needs no_such_package_anywhere, .* requirements="),
        ("raising", errors.ModuleFailedError, r"KeyError: 'no home'; what only the main program"),
        ("nowhere", errors.ModuleMissingError, r"the module nowhere .*include="),
    ],
)
def test_a_module_that_cannot_be_imported_fails_calls_of_its_functions_only(
    house: House, call: Call, module: str, kind: type[DistributedError], text: str
) -> None:
    """D12: the error names module and cure."""
    with pytest.raises(kind, match=text):
        in_room(house, "room", module, "f")
    assert call("version").result(timeout=20) == 1


def test_a_script_whose_name_is_no_module_is_found_all_the_same(house: House, tmp_path: Path) -> None:
    folder = write_files(tmp_path, {"run/01-train.py": "class C: pass\ndef f(): return __name__, C.__module__"})
    name = "distributed_main"
    room = house.open("dash", folder, entry=name, entry_file="run/01-train.py", roots=["run", "."])
    assert in_room(house, "dash", name, "f") == (name, name)
    house.run(room.kill())


def test_a_main_program_sends_and_gets_its_own_classes(
    house: House, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """D11: a script as it runs, with its classes and functions in ``__main__``; over there its guard stays false."""
    source = (Path(__file__).parent / "script_of_main.py").read_text()
    folder = write_files(tmp_path, {"script_of_main.py": source})
    room = house.open("of-main", folder, entry="script_of_main")
    process = psutil.Popen(
        [sys.executable, os.path.join(folder, "script_of_main.py")],
        env={**os.environ, "HOUSE": house.address, "KEYS": repr(dict(house.keys.key_by_role))},
    )
    assert process.wait(30) == 0, capfd.readouterr().err
    assert "all is well" in capfd.readouterr().out
    house.run(room.kill())


# ---------------------------------------------------------------- life and death


def test_a_room_that_is_killed_begins_anew_and_leaves_nothing_at_its_end(house: House, tmp_path: Path) -> None:
    files = {"main.py": "import os\ndef f(): return os.getpid()", "data.txt": "x"}
    room = house.open("mortal", write_files(tmp_path, files), entry="main")
    first = in_room(house, "mortal", "main", "f")
    assert first == room.pid
    assert room.is_idle()
    assert room.memory_nbytes > 1_000_000
    os.kill(first, signal.SIGKILL)
    second = in_room(house, "mortal", "main", "f")
    assert second not in (first, None)
    worker_dir = room.nanny.worker_dir
    assert worker_dir is not None and os.path.isdir(worker_dir)
    house.run(room.close(graceful=True))
    assert room.pid is None
    assert room.ended.done()
    assert not psutil.pid_exists(second)
    assert not os.path.exists(worker_dir)
    left = {*os.listdir(tmp_path)} - {"__pycache__"}  # which importing makes, unless the environment forbids it
    assert left == {"data.txt", "main.py"}, "the workspace's folder is its owner's"


def test_a_room_that_cannot_meet_its_scheduler_says_so_in_time(house: House, tmp_path: Path) -> None:
    with pytest.raises(WorkerStartError, match="can this machine reach it"):
        house.open("lost", str(tmp_path), scheduler="tcp://127.0.0.1:1", timeout_s=0.3)
    with pytest.raises(AuthenticationError):
        house.open("stranger", str(tmp_path), keys=keyring_from_master(os.urandom(32)))


def test_a_room_waits_for_a_scheduler_that_dials_it(house: House, tmp_path: Path) -> None:
    """And again after it has died, at another port."""
    files = {"main.py": "import os\ndef f(): return os.getpid()"}
    room = house.open("far", write_files(tmp_path, files), entry="main", scheduler=house.dialled_address)
    house.dial(room)
    first = in_room(house, "far", "main", "f")
    assert first == room.pid
    os.kill(first, signal.SIGKILL)
    assert in_room(house, "far", "main", "f") != first
    house.run(room.kill())


def test_this_process_is_no_room() -> None:
    assert not entry_module.is_inside()
