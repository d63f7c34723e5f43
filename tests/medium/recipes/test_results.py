"""What masters leave behind: lines for people, and a file that coreutils verify."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import subprocess
from pathlib import Path

import pytest

from distributed.pull.lending import Master
from distributed.pull.master import _tell
from distributed.recipes.home import Home
from distributed.recipes.results import lines, print_results, write_output
from distributed.testing.recipes import ODD_NAMES, made_folder, some_settings


@pytest.mark.parametrize("folder", ["tree", "-tree", "tr ee'\n"])
def test_the_command_that_is_printed_verifies_files_of_any_name(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H17: in the output, as coreutils write it."""
    monkeypatch.chdir(tmp_path)
    made_folder(tmp_path / folder, {name: name for name in ODD_NAMES})
    home = Home(folder)
    home.load_files()
    for path in home.files:
        home.set_file_hash(path, hashlib.sha1(os.fsencode(path)).hexdigest())
    done = subprocess.run(write_output(home, Path("-sums")), shell=True, capture_output=True)
    assert (done.returncode, done.stdout.count(b": OK\n"), done.stderr) == (0, len(ODD_NAMES), b"")
    assert os.listdir(tmp_path) == [folder, "-sums"] or os.listdir(tmp_path) == ["-sums", folder]


def test_a_task_of_the_users_has_no_such_command(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert write_output(home, tmp_path / "o", some_settings(HASH_ALGORITHM="m:f")) == f"cat {tmp_path}/o"
    assert "sha256sum -c" in write_output(home, tmp_path / "o", some_settings(HASH_ALGORITHM="sha256"))
    assert "b2sum -c" in write_output(home, tmp_path / "o", some_settings(HASH_ALGORITHM="blake2b"))


def test_files_without_a_digest_are_told_with_their_reasons_and_in_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(made_folder(tmp_path / "tree", {b"a": b"", b"b": b""}))
    home.load_files()
    home.set_file_hash("a", "1")
    home.errors["folder"] = "Permission denied"
    assert list(lines(home)) == ["a -> 1", "b -> None", "folder: Permission denied"]
    home.set_file_error("b", "it vanished")
    assert print_results(home, None) == 1
    said = capsys.readouterr().out
    assert "b -> None (it vanished)\n" in said
    assert 'state: {"total": 2, "finished": 1, "failed": 1}\ndone\n' in said
    home.errors.clear()
    home.set_file_hash("b", "2")
    assert print_results(home, tmp_path / "sums") == 0


def test_results_of_a_folder_whose_name_is_no_text_can_be_printed(tmp_path: Path) -> None:
    folder = made_folder(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")), {b"a": b""})
    home = Home(folder)
    home.load_files()
    screen = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with contextlib.redirect_stdout(screen):
        print_results(home, folder / "sums")
    assert (folder / "sums").exists()


def test_digests_that_cannot_be_written_are_not_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder of the output has gone since the master was started; it serves its status on."""
    master = Master(made_folder(tmp_path / "tree", {b"a": b""}))
    master.load()
    assert not _tell(master, 1.0, tmp_path / "gone" / "sums")
    assert "No such file" in (said := capsys.readouterr().err)
    assert "/home_status" in said
