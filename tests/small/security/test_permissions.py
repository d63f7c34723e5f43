"""Which role may do what."""

from __future__ import annotations

import pytest

from distributed.security.keys import Keyring, keyring_from_master
from distributed.security.permissions import may_call, may_send_objects


@pytest.mark.parametrize(
    "op",
    [
        "identity",
        "ping",
        "ops",
        "close",
        "scheduler_info",
        "health",
        "why",
        "story",
        "task_stream",
        "overview",
        "explain",
    ],
)
def test_everybody_may_look(op: str) -> None:
    assert all(may_call(role, op) for role in ("client", "worker", "readonly"))


@pytest.mark.parametrize(
    "op", ["add", "anything", "", "terminate", "register_client", "register_worker", "get_data", "kill"]
)
def test_readonly_may_do_nothing_else(op: str) -> None:
    assert not may_call("readonly", op)


def test_clients_and_workers_have_their_own_doors() -> None:
    assert may_call("client", "register_client")
    assert not may_call("worker", "register_client")
    assert may_call("worker", "register_worker")
    assert not may_call("client", "register_worker")


@pytest.mark.parametrize("role", ["", "unknown", "admin", "Client"])
def test_a_role_nobody_knows_may_nothing(role: str) -> None:
    assert not may_call(role, "ping")
    assert not may_call(role, "add")
    assert not may_send_objects(role)


def test_only_trusted_roles_may_send_pickles() -> None:
    assert [may_send_objects(role) for role in ("client", "worker", "readonly")] == [True, True, False]


def test_the_strongest_role_is_the_first_one_held() -> None:
    keys = keyring_from_master(b"k" * 32)
    assert keys.strongest_role("client", "worker") == "client"
    assert Keyring({"readonly": b""}).strongest_role("client", "worker") == "readonly"


def test_a_keyring_never_shows_its_keys() -> None:
    assert b"k" * 4 not in repr(Keyring({"client": b"k" * 32})).encode()


@pytest.mark.parametrize("op", ["add_equipment", "remove_equipment", "restart", "run_on"])
def test_only_clients_change_what_all_workers_have(op: str) -> None:
    assert [may_call(role, op) for role in ("client", "worker", "readonly")] == [True, False, False]


@pytest.mark.parametrize("op", ["run", "renew"])
def test_who_only_looks_runs_nothing(op: str) -> None:
    assert [may_call(role, op) for role in ("client", "worker", "readonly")] == [True, True, False]
