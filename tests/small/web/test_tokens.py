"""Tokens: one per role, from the key."""

from __future__ import annotations

import pytest

from distributed.security.keys import Keyring, keyring_from_master
from distributed.security.permissions import CLIENT, READONLY, ROLES, WORKER
from distributed.web import tokens
from distributed.web.connecting import headers
from distributed.web.tokens import role_of, token_of

KEYS = keyring_from_master(bytes(32))


def only(role: str) -> Keyring:
    return Keyring({role: KEYS.key_by_role[role]})


def test_every_role_has_a_token_of_its_own_that_is_known_again() -> None:
    found = {token_of(KEYS, role): role for role in ROLES}
    assert len(found) == len(ROLES)
    assert {role_of(KEYS, token): role for token, role in found.items()} == {role: role for role in ROLES}


def test_a_token_is_64_hex_digits_and_no_key() -> None:
    for role in ROLES:
        token = token_of(KEYS, role)
        assert len(bytes.fromhex(token)) == 32
        assert bytes.fromhex(token) not in KEYS.key_by_role.values()


def test_a_token_is_the_same_in_every_process_and_version() -> None:
    assert token_of(KEYS, CLIENT) == "42e81c09907634f0742e577fc248051ed10e590bc637761374d444a886013bdc"


def test_who_has_the_key_of_one_role_makes_the_token_of_that_role_alone() -> None:
    assert token_of(only(WORKER), CLIENT, WORKER) == token_of(KEYS, WORKER)
    assert token_of(only(READONLY), CLIENT, WORKER) == token_of(KEYS, READONLY)
    assert role_of(only(WORKER), token_of(KEYS, CLIENT)) is None


def test_the_token_of_another_key_is_nobodys() -> None:
    assert role_of(KEYS, token_of(keyring_from_master(b"\1" * 32), CLIENT)) is None


@pytest.mark.parametrize("token", ["", " ", "é" * 64, "\ud800", "0" * 64, "x" * 100_000, "None", "client"])
def test_what_is_no_token_is_nobodys(token: str) -> None:
    assert role_of(KEYS, token) is None


@pytest.mark.parametrize(
    "change", [str.upper, lambda token: token[:-1], lambda token: token + "0", lambda token: f" {token}"]
)
def test_a_token_counts_only_exactly(change: object) -> None:
    assert callable(change)
    assert role_of(KEYS, change(token_of(KEYS, CLIENT))) is None


def test_tokens_are_compared_in_constant_time_and_with_every_role(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    right = tokens.hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return right(one, other)

    monkeypatch.setattr(tokens.hmac, "compare_digest", compare)
    for shown in (token_of(KEYS, CLIENT), "0" * 64):
        compared.clear()
        role_of(KEYS, shown)
        assert [one.decode() for one, _ in compared] == [token_of(KEYS, role) for role in KEYS.key_by_role]


def test_programs_show_no_stronger_token_than_they_need() -> None:
    assert headers(KEYS) == {"Authorization": f"Bearer {token_of(KEYS, WORKER)}"}
    assert headers(KEYS, READONLY) == {"Authorization": f"Bearer {token_of(KEYS, READONLY)}"}
    assert headers(only(READONLY)) == {"Authorization": f"Bearer {token_of(KEYS, READONLY)}"}
    assert headers(only(CLIENT)) == {"Authorization": f"Bearer {token_of(KEYS, CLIENT)}"}
