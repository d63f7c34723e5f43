"""Names, tickets and the line that holds a credential."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.errors import CredentialError
from distributed.security.credentials import (
    CLOCKS_DIFFER_S,
    NAME_NBYTES,
    Claims,
    Credential,
    claims_of,
    key_of,
    root_of,
)

KEY = b"k" * 32
ALICE = Credential("alice", KEY)
NOW = 1_000_000.0


def find(name: str) -> bytes | None:
    return {"alice": KEY}.get(name)


def test_a_credential_comes_back_from_its_line_and_its_file(tmp_path: Path) -> None:
    for credential in (ALICE, Credential("tenant:1f", KEY, "ab" * 32), ALICE.ticket("w1", 5, 2)):
        assert Credential.parse(credential.line()) == credential
        credential.save(tmp_path / "c", replace=True)
        assert (tmp_path / "c").stat().st_mode & 0o777 == 0o600
        assert Credential.load(tmp_path / "c") == credential


@pytest.mark.parametrize(
    "text",
    [
        "",
        "guest:",
        "guest:alice",
        f"guest:alice:{'6b' * 31}:-",
        f"guest::{'6b' * 32}:-",
        f"guest:../x:{'6b' * 32}:-",
        f"guest:alice:{'zz' * 32}:-",
        f"guest:alice:{'6b' * 32}:short",
        f"client:{'6b' * 32}",
        f"guest:al\nice:{'6b' * 32}:-",
    ],
)
def test_what_is_no_credential_is_refused_with_a_cure(text: str) -> None:
    with pytest.raises(CredentialError, match=r"distributed grant NAME"):
        Credential.parse(text)


def test_a_file_that_others_can_read_or_that_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "alice"
    with pytest.raises(CredentialError, match=r"alice: it cannot be read: No such file"):
        Credential.load(path)
    ALICE.save(path)
    path.chmod(0o644)
    with pytest.raises(CredentialError, match=r"chmod 600"):
        Credential.load(path)


def test_neither_repr_shows_the_key() -> None:
    assert repr(ALICE) == "<Credential alice>"
    assert repr(ALICE.keyring()) == "<Keyring for alice>"


def test_a_server_that_knows_the_root_recomputes_the_key_of_a_ticket() -> None:
    ticket = ALICE.ticket("w1", NOW + 10, 3).ticket(depth=2).ticket(expires_unix_s=NOW + 5)
    assert ticket.claims == Claims("w1", int(NOW + 5), 2)
    assert key_of(ticket.name, find, NOW) == ticket.key
    assert ticket.key not in (KEY, ALICE.ticket("w1", NOW + 10, 3).key)
    assert root_of(ticket.name) == "alice"
    assert key_of("alice", find, NOW) == KEY


def test_a_ticket_ends_when_it_says_so_whatever_clocks_differ() -> None:
    ticket = ALICE.ticket(expires_unix_s=NOW)
    assert key_of(ticket.name, find, NOW + CLOCKS_DIFFER_S) == ticket.key
    assert key_of(ticket.name, find, NOW + CLOCKS_DIFFER_S + 1) is None
    assert key_of(ticket.ticket(expires_unix_s=NOW + 1000).name, find, NOW + 500) is None


@pytest.mark.parametrize(("first", "second"), [({"workspace": "a"}, {"workspace": "b"}), ({"depth": 2}, {"depth": 2})])
def test_a_ticket_never_gives_more_than_what_it_is_made_of(first: dict[str, object], second: dict[str, object]) -> None:
    narrow: dict[str, object] = first
    ticket = ALICE.ticket(**narrow)  # type: ignore[arg-type]
    with pytest.raises(CredentialError, match="narrows"):
        ticket.ticket(**second)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    ["", "/", "alice/", "alice//d=1",
     "alice/d=1,w=x", "alice/d=01", "alice/d=-1", "alice/e=", "alice/x=1", "alice/w=a b",
     "alice/d=1,d=0", "al ice", "älice", "-alice", "alice\n", "alice/d=1\n", f"alice/{'w' * NAME_NBYTES}"],
)  # fmt: skip
def test_what_is_no_name_has_no_key(name: str) -> None:
    assert claims_of(name) is None
    assert key_of(name, lambda root: KEY, NOW) is None


def test_nobody_has_the_key_of_a_root_that_is_not_known() -> None:
    assert key_of("bob", find, NOW) is None
    assert key_of("bob/d=1", find, NOW) is None


@given(st.text(max_size=600))
def test_any_text_is_a_name_or_none(name: str) -> None:
    claims_of(name)
    claims_of(f"alice/{name}")
