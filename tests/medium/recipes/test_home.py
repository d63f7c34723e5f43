"""`Home`: which files there are, which are known, which cannot be read."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from distributed.errors import HomeError
from distributed.recipes.home import Home
from distributed.testing.recipes import ODD_NAMES, made_folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return made_folder(tmp_path / "tree", {b"b": b"2", b"a": b"1", b"sub/c": b"3", b"sub/deep/d": b"4"})


def loaded(folder: object) -> Home:
    home = Home(folder)  # type: ignore[arg-type]
    home.load_files()
    return home


def test_files_are_found_at_any_depth_in_the_order_of_names(tree: Path) -> None:
    """H03: nested."""
    (tree / "empty").mkdir()
    assert list(loaded(tree).files) == ["a", "b", "sub/c", "sub/deep/d"]
    assert set(loaded(tree).files.values()) == {None}


@pytest.mark.parametrize("spelling", ["{}", "{}/", "{}//", "{}/./", "{}/../tree/"])
def test_however_the_folder_is_spelled_the_names_are_the_same(tree: Path, spelling: str) -> None:
    """H03: a trailing slash."""
    assert list(loaded(spelling.format(tree)).files) == ["a", "b", "sub/c", "sub/deep/d"]


def test_files_are_loaded_once(tree: Path) -> None:
    """H03: load_files once."""
    home = loaded(tree)
    with pytest.raises(HomeError, match="files loaded"):
        home.load_files()
    assert str(pickle.loads(pickle.dumps(HomeError("a", "b")))) == "'a': b"


def test_what_is_no_folder_is_refused(tree: Path) -> None:
    for place in (tree / "none", tree / "a"):
        with pytest.raises(HomeError, match="no folder"):
            loaded(place)


def test_links_to_folders_are_not_followed_and_links_out_of_it_are_errors(tree: Path, tmp_path: Path) -> None:
    """H03: symlinks."""
    (tmp_path / "secret").write_bytes(b"")
    (tree / "up").symlink_to("..")
    (tree / "loop").symlink_to("loop")
    (tree / "sub" / "self").symlink_to(".")
    (tree / "inside").symlink_to("sub/c")
    (tree / "out").symlink_to(tmp_path / "secret")
    (tree / "broken").symlink_to("nowhere")
    home = loaded(tree)
    assert set(home.files) - {"loop"} == {"a", "b", "inside", "out", "sub/c", "sub/deep/d"}
    assert "leads out" in home.errors["out"]
    with home.open("inside") as file:
        assert file.read() == b"3"


def test_pipes_and_sockets_are_no_files(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    assert "pipe" not in loaded(tree).files


def test_a_folder_that_may_not_be_read_is_an_error_and_the_rest_is_found(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H03: unreadable. Whoever may read everything, as root may, cannot be kept out by modes."""
    open_ = os.open

    def refusing(path: str, flags: int) -> int:
        if path.endswith("/sub"):
            raise PermissionError(13, "Permission denied", path)
        return open_(path, flags)

    monkeypatch.setattr(os, "open", refusing)
    home = loaded(tree)
    assert list(home.files) == ["a", "b"]
    assert home.errors == {"sub": "Permission denied"}
    assert home.state == {"total": 2, "finished": 0}


def test_files_that_vanish_or_become_something_else_cannot_be_opened(tree: Path, tmp_path: Path) -> None:
    """H03: vanished."""
    (tmp_path / "secret").write_bytes(b"")
    home = loaded(tree)
    for name in ("a", "b", "sub/c", "sub/deep/d"):
        (tree / name).unlink()
    (tree / "b").mkdir()
    (tree / "sub" / "c").symlink_to(tmp_path / "secret")
    os.mkfifo(tree / "sub" / "deep" / "d")
    with pytest.raises(FileNotFoundError):
        home.open("a")
    with pytest.raises((IsADirectoryError, HomeError)):
        home.open("b")
    with pytest.raises(HomeError, match="leads out"):
        home.open("sub/c")
    with pytest.raises(HomeError, match="not a regular file"):
        home.open("sub/deep/d")


@pytest.mark.parametrize("swapped", ["sub", "sub/c", ""])
def test_a_link_that_takes_a_place_in_the_last_moment_leads_nowhere(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    """H03: a path outside the home, by a race that is won: between looking at a path and opening it."""
    made_folder(tmp_path / "elsewhere", {b"c": b"secret", b"sub/c": b"secret"})
    home, open_ = loaded(tree), os.open
    target = {"sub": "elsewhere", "sub/c": "elsewhere/c", "": "elsewhere"}[swapped]

    def racing(path: str, flags: int, *more: int) -> int:
        (tree / swapped).rename(tmp_path / "before")
        (tree / swapped).symlink_to(tmp_path / target)
        monkeypatch.undo()
        return open_(path, flags, *more)

    monkeypatch.setattr(os, "open", racing)
    with pytest.raises(HomeError, match="leads out"):
        home.open("sub/c")


def test_a_folder_that_becomes_a_link_while_files_are_found_is_not_looked_into(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H03: not even names of what is elsewhere are told."""
    made_folder(tmp_path / "elsewhere", {b"secret": b""})
    open_ = os.open

    def racing(path: str, flags: int) -> int:
        if path.endswith("/sub"):
            (tree / "sub").rename(tmp_path / "before")
            (tree / "sub").symlink_to(tmp_path / "elsewhere")
        return open_(path, flags)

    monkeypatch.setattr(os, "open", racing)
    home = loaded(tree)
    assert list(home.files) == ["a", "b"]
    assert home.errors == {"sub": "it leads out of the folder"}


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "sub/../../secret", "", "sub", "none"])
def test_nothing_but_what_was_found_can_be_opened(tree: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_bytes(b"")
    with pytest.raises(HomeError, match="not among the files"):
        loaded(tree).open(path)


def test_names_of_any_bytes_are_found_and_opened(tmp_path: Path) -> None:
    """H17: as the system has them."""
    home = loaded(made_folder(tmp_path / "tree", {name: name for name in ODD_NAMES}))
    assert {os.fsencode(path) for path in home.files} == set(ODD_NAMES)
    for path in home.files:
        with home.open(path) as file:
            assert file.read() == os.fsencode(path)


def test_digests_and_states_are_kept(tree: Path) -> None:
    """H04: set_file_hash, get_full_path, file_exists, finished, state."""
    home = loaded(tree)
    assert home.get_full_path("sub/c") == str(tree / "sub/c")
    assert home.file_exists("sub/c") and not home.file_exists("sub") and not home.file_exists("none")
    assert (home.finished, home.state) == (False, {"total": 4, "finished": 0})
    home.set_file_hash("a", "1")
    home.set_file_hash("a", "2")
    assert (home.files["a"], home.state) == ("2", {"total": 4, "finished": 1})
    home.set_file_error("b", "it vanished")
    home.set_file_error("a", "too late: it has its digest")
    assert home.errors == {"b": "it vanished"}
    assert home.state == {"total": 4, "finished": 1, "failed": 1}
    home.set_file_hash("b", "3")
    assert home.errors == {}
    for path in ("sub/c", "sub/deep/d"):
        assert not home.finished
        home.set_file_hash(path, "4")
    assert (home.finished, home.state) == (True, {"total": 4, "finished": 4})


def test_an_empty_folder_is_finished(tmp_path: Path) -> None:
    """H04: vacuously."""
    assert (loaded(tmp_path).finished, loaded(tmp_path).state) == (True, {"total": 0, "finished": 0})
