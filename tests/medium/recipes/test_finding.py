"""Finding files in odd trees, and lines that the real sha1sum reads."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from distributed.recipes import hash_tasks, hashing
from distributed.recipes.hash_tasks import UNSEEN, digest_files
from distributed.recipes.hashing import Entry, escaped_line, find_files


def find(folder: Path) -> tuple[list[str], list[tuple[bytes, str]]]:
    errors: list[tuple[bytes, str]] = []
    found = find_files(os.fsencode(folder), None, errors)
    return [os.fsdecode(os.path.relpath(entry.path, os.fsencode(folder))) for entry in found], errors


def test_regular_files_only_in_the_order_of_their_paths(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    for name in ("b/c/deep", "b/x", "a", "z", ".hidden"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "folder link").symlink_to("b")
    (tmp_path / "b" / "loop").symlink_to("..")
    (tmp_path / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert find(tmp_path) == ([".hidden", "a", "b/c/deep", "b/x", "z"], [])


def test_a_hard_link_is_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    os.link(tmp_path / "a", tmp_path / "b")
    assert find(tmp_path)[0] == ["a", "b"]


def test_a_file_to_leave_out_is_known_by_its_identity(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "sums").write_text("x")
    unwanted = hashing._identity(tmp_path / "sums")
    assert [entry.path for entry in find_files(os.fsencode(tmp_path), unwanted, [])] == [os.fsencode(tmp_path / "a")]


def test_what_vanishes_while_we_look_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    scandir = os.scandir

    class Vanishing:
        def __init__(self, item: os.DirEntry[bytes]) -> None:
            self.path = item.path
            self.stat = item.stat if not item.path.endswith(b"b") else lambda follow_symlinks: os.stat(b"/nowhere/b")

    class Listing(list[Vanishing]):
        def __enter__(self) -> Listing:
            return self

        def __exit__(self, *exception: object) -> None:
            return None

    def listing(place: bytes) -> Listing:
        with scandir(place) as items:
            return Listing(Vanishing(item) for item in items)

    monkeypatch.setattr(os, "scandir", listing)
    assert find(tmp_path) == (["a", "c"], [(os.fsencode(tmp_path / "b"), "No such file or directory")])


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    assert find(tmp_path / "gone") == ([], [(os.fsencode(tmp_path / "gone"), "No such file or directory")])


def test_a_worker_reads_only_the_very_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_tasks, "boot_id", lambda: "boot")
    path = tmp_path / "a"
    path.write_text("content")
    status = path.stat()
    name = os.fsencode(path)
    same = (name, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    other = (name, status.st_dev, status.st_ino + 1, status.st_size, status.st_mtime_ns)
    gone = (name + b"x", status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    folder = (os.fsencode(tmp_path), *same[1:])
    _, outcomes = digest_files("sha1", "boot", [same, other, gone, folder])
    digest = hashlib.sha1(b"content").hexdigest()
    assert outcomes == [(digest, None), (None, UNSEEN), (None, UNSEEN), (None, UNSEEN)]


def test_a_pipe_in_the_place_of_a_file_does_not_hold_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_tasks, "boot_id", lambda: "boot")
    os.mkfifo(tmp_path / "pipe")
    _, outcomes = digest_files("sha1", "boot", [(os.fsencode(tmp_path / "pipe"), 1, 2, 3, 4)])
    assert outcomes == [(None, UNSEEN)]


def test_a_fingerprint_holds_in_another_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Entry(b"a/b", 1, 2, 3, 4).fingerprint == (os.path.join(os.fsencode(tmp_path), b"a/b"), 1, 2, 3, 4)
    assert Entry(b"/a/b", 1, 2, 3, 4).fingerprint == (b"/a/b", 1, 2, 3, 4)


def test_the_real_sha1sum_reads_and_writes_the_same_lines(tmp_path: Path) -> None:
    names = [bytes([number]) for number in range(1, 256) if number not in b"/.-"]  # as an argument - is stdin
    names += [b"\\\n\r\\n", b"-a", b" a ", b"a\\", b"\\ a"]
    content = b"".join(escaped_line(hashlib.sha1(name).hexdigest(), name) for name in names)
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(name)
    written = subprocess.run([b"sha1sum", b"--", *names], cwd=tmp_path, stdout=subprocess.PIPE, check=True)
    assert written.stdout == content
    subprocess.run(["sha1sum", "-c", "--strict", "--quiet"], cwd=tmp_path, input=content, check=True)
