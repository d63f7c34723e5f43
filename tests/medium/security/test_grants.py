"""Grants: made for others, found at each connect, listed, withdrawn, expired; and the command for all that."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from distributed.cli.main import main
from distributed.core import Server, connect
from distributed.errors import AuthenticationError, CommClosedError, ConfigError, GrantError
from distributed.security import grants as granting
from distributed.security.credentials import Credential
from distributed.security.grants import Grants, grants_folder


@pytest.fixture
def grants(tmp_path: Path) -> Grants:
    return Grants(tmp_path / "grants")


def test_a_grant_is_a_private_file_that_holds_another_key_for_each(grants: Grants) -> None:
    alice, bob = grants.make("alice"), grants.make("bob", expires_s=100)
    assert alice.key != bob.key
    assert [grant.name for grant in grants.all()] == ["alice", "bob"]
    assert grants.find_key("alice") == alice.key
    assert stat.S_IMODE(grants.folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in grants.folder.iterdir())
    assert alice.key.hex() not in repr(grants.all())


@pytest.mark.parametrize("name", ["", "Alice", "a/b", "../x", "tenant:1", "-x", "a b", "a" * 65, ".x"])
def test_a_name_that_is_none_is_refused(name: str, grants: Grants) -> None:
    with pytest.raises(GrantError, match="a name has at most 64"):
        grants.make(name)
    assert grants.find_key(name) is None


def test_a_second_grant_of_a_name_must_replace_the_first(grants: Grants) -> None:
    first = grants.make("alice")
    with pytest.raises(GrantError, match="withdraw it, or replace it with --force"):
        grants.make("alice")
    assert grants.find_key("alice") == first.key
    second = grants.make("alice", replace=True)
    assert grants.find_key("alice") == second.key != first.key


def test_one_that_was_withdrawn_or_has_expired_is_found_no_more(grants: Grants) -> None:
    grants.make("alice")
    with pytest.raises(GrantError, match="cannot last for 0 s"):
        grants.make("bob", expires_s=0)
    grants.make("bob", expires_s=100)
    path = grants.folder / "bob.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "expires": 1_000}))
    assert [grant.name for grant in grants.all()] == ["alice"]
    assert grants.find_key("bob") is None
    grants.make("bob")  # an expired one is no obstacle
    grants.withdraw("alice")
    assert grants.find_key("alice") is None
    with pytest.raises(GrantError, match="there is none of that name"):
        grants.withdraw("alice")


@pytest.mark.parametrize("text", ["", "[]", '{"key": 5}', '{"key": "00", "made": 0, "expires": null}'])
def test_a_damaged_file_lets_nobody_in(text: str, grants: Grants) -> None:
    grants.make("alice")
    (grants.folder / "alice.json").write_text(text)
    assert grants.find_key("alice") is None
    assert grants.all() == []


def test_a_file_that_others_can_read_lets_nobody_in(grants: Grants) -> None:
    grants.make("alice")
    (grants.folder / "alice.json").chmod(0o640)
    assert grants.find_key("alice") is None


async def test_who_is_connected_is_cut_off_when_the_grant_ends(grants: Grants) -> None:
    server = Server(find_key=grants.find_key)
    server.listen(0)
    credentials = [grants.make(name) for name in ("alice", "bob", "carol")]
    streams = [await connect(server.address, keys=credential.keyring()) for credential in credentials]
    ended: list[str] = []

    def end(name: str) -> None:
        ended.append(name)
        server.cut_off(name)

    watching = asyncio.ensure_future(grants.watch(end, look_s=0.01))
    await asyncio.sleep(0)  # it has begun
    grants.withdraw("alice")
    grants.make("bob", replace=True)
    for stream in streams[:2]:
        with pytest.raises(CommClosedError):
            await stream.read_message()
    with pytest.raises(AuthenticationError, match="does not admit 'alice'"):
        await connect(server.address, keys=credentials[0].keyring())
    assert not streams[2].closed()
    assert ended == ["alice", "bob"]
    watching.cancel()
    streams[2].close()
    server.stop()


# ---------------------------------------------------------------- the command


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setattr(granting, "grants_folder", lambda: tmp_path / "key.grants")
    monkeypatch.chdir(tmp_path)
    return CliRunner()


def test_the_command_writes_a_credential_lists_and_withdraws(at: CliRunner, tmp_path: Path) -> None:
    made = at.invoke(main, ["grant", "alice", "--expires", "30d"])
    assert made.exit_code == 0, made.output
    credential = Credential.load(tmp_path / "alice.credential")
    assert credential.key.hex() not in made.output
    assert Grants().find_key("alice") == credential.key
    assert "alice" in at.invoke(main, ["grant", "--list"]).output
    assert at.invoke(main, ["grant", "--withdraw", "alice"]).output == "withdrawn    alice\n"
    assert at.invoke(main, ["grant", "--list"]).output == ""


def test_the_command_replaces_only_by_force(at: CliRunner, tmp_path: Path) -> None:
    assert at.invoke(main, ["grant", "alice", "--output", "a"]).exit_code == 0
    for arguments in (["alice", "--output", "a"], ["alice", "--output", "b"]):
        refused = at.invoke(main, ["grant", *arguments])
        assert refused.exit_code == 1
        assert "--force" in refused.output
    assert not (tmp_path / "b").exists()
    assert at.invoke(main, ["grant", "alice", "--output", "a", "--force"]).exit_code == 0
    assert Grants().find_key("alice") == Credential.load(tmp_path / "a").key


def test_a_grant_whose_credential_cannot_be_written_is_taken_back(at: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = at.invoke(main, ["grant", "alice", "--output", "file/a"])
    assert refused.exit_code == 1
    assert "cannot be written" in refused.output
    assert Grants().all() == []


@pytest.mark.parametrize(
    "arguments", [[], ["alice", "--list"], ["--list", "--expires", "1h"], ["--withdraw", "nobody"]]
)
def test_the_command_says_what_it_wants(arguments: list[str], at: CliRunner) -> None:
    assert at.invoke(main, ["grant", *arguments]).exit_code != 0


def test_a_time_that_is_none_is_refused(at: CliRunner) -> None:
    result = at.invoke(main, ["grant", "alice", "--expires", "soon"])
    assert result.exit_code != 0
    assert isinstance(result.exception, (ConfigError, SystemExit))
    assert Grants().all() == []


def test_grants_lie_beside_the_key(private_key: Path) -> None:
    assert grants_folder() == private_key.with_name("key.grants")
    assert json.dumps(str(grants_folder())).endswith('key.grants"')
