"""The key file: made once, safe, refused by name when it is not."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from distributed import config
from distributed.errors import KeyFileError
from distributed.security.keys import key_path, keyring, keyring_from_master, load_keyring

HEX = "ab" * 32


def written(path: Path, text: str = HEX, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_first_use_makes_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "key"
    keys = load_keyring(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(bytes.fromhex(path.read_text())) == 32
    assert load_keyring(path) == keys
    assert os.listdir(path.parent) == ["key"]


def test_a_generous_umask_does_not_matter(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        load_keyring(tmp_path / "key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_first_starts_at_once_agree_in_threads(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        prints = {keys.fingerprint() for keys in pool.map(load_keyring, [tmp_path / "key"] * 64)}
    assert len(prints) == 1
    assert os.listdir(tmp_path) == ["key"]


def test_first_starts_at_once_agree_in_processes(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from distributed.security.keys import load_keyring; sys.stdin.read();"
        "print(load_keyring(Path(sys.argv[1])).fingerprint())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "key")]
    starts = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)]
    for start in starts:
        assert start.stdin is not None
        start.stdin.close()  # go
        start.stdin = None
    assert len({start.communicate()[0] for start in starts}) == 1
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o620])
def test_a_file_that_others_can_use_is_refused_with_its_mode(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "key", mode=mode)
    with pytest.raises(KeyFileError, match=f"its mode is {mode:04o}, others can use it; chmod 600 it") as caught:
        load_keyring(path)
    assert caught.value.path == str(path)


def test_a_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "key")
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(KeyFileError, match=rf"belongs to user id {owner}, not to you \({owner + 1}\)"):
        load_keyring(path)


def test_what_is_no_regular_file_is_refused_and_closed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    before = os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else []
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/null")):
        with pytest.raises(KeyFileError, match=r"not a regular file"):
            load_keyring(path)
    after = os.listdir("/proc/self/fd") if before else []
    assert len(after) == len(before)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        HEX[:-2],
        HEX + "00",
        "admin:" + HEX,
        "client:",
        "client:" + HEX + ":",
        "\xff" * 64,
        "z" * 64,
        HEX + "x" * 5000,
    ],
)
def test_a_file_without_a_key_is_refused_and_its_text_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(KeyFileError, match="holds no key") as caught:
        load_keyring(written(tmp_path / "key", text))
    assert not text or text[:20] not in str(caught.value)


@pytest.mark.parametrize("text", [HEX, HEX + "\n", f"  {HEX.upper()}\n\n"])
def test_the_master_key_opens_every_role(tmp_path: Path, text: str) -> None:
    assert load_keyring(written(tmp_path / "key", text)) == keyring_from_master(bytes.fromhex(HEX))


@pytest.mark.parametrize("role", ["client", "worker", "readonly"])
def test_an_exported_key_opens_its_role_only(tmp_path: Path, role: str) -> None:
    keys = load_keyring(written(tmp_path / "key", f"{role}:{HEX}\n"))
    assert keys.key_by_role == {role: bytes.fromhex(HEX)}
    assert keys.strongest_role("client", "worker", "readonly") == role


def test_a_folder_that_cannot_be_used_is_refused_with_a_cure(tmp_path: Path) -> None:
    written(tmp_path / "file")
    with pytest.raises(KeyFileError, match="set DISTRIBUTED_KEY_FILE to a file that can be used"):
        load_keyring(tmp_path / "file" / "key")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(KeyFileError, match="set DISTRIBUTED_KEY_FILE"):
        load_keyring(tmp_path / "dangling")


def test_the_file_is_named_by_the_setting_else_by_the_xdg_rule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(config, "_settings", config.Settings(key_file="~/k"))
    assert key_path() == tmp_path / "k"
    monkeypatch.setattr(config, "_settings", config.Settings())
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/xdg")
    assert key_path() == Path("/etc/xdg/distributed/key")
    for unusable in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", unusable)
        assert key_path() == tmp_path / ".config" / "distributed" / "key"


def test_the_key_of_the_user_is_read_once(private_key: Path) -> None:
    assert keyring() is keyring()
    assert keyring() == load_keyring(private_key)
