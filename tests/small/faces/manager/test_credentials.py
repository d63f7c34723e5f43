"""What workers are given to reach their manager."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.errors import AddressError, ConfigError
from distributed.faces.manager.credentials import PUBLISHED, keys_of, place_of, read_client_args, shown_host


@pytest.mark.parametrize(
    ("address", "place"),
    [
        (("localhost", 6000), "tcp://localhost:6000"),
        ("127.0.0.1:6000", "tcp://127.0.0.1:6000"),
        (("10.0.0.5", 6000), "tls://10.0.0.5:6000"),
        ("node:6000", "tls://node:6000"),
        (("tcp://node", 6000), "tcp://node:6000"),
        ("tcp://node:6000", "tcp://node:6000"),
    ],
)
def test_beyond_loopback_a_worker_connects_with_tls_unless_it_is_spelled_out(address: Any, place: str) -> None:
    assert str(place_of(address)) == place


def test_client_args_of_an_insecure_manager_say_so() -> None:
    assert [shown_host("node", True), shown_host("localhost", True), shown_host("node", False)] == [
        "tcp://node",
        "localhost",
        "node",
    ]


def test_the_published_key_is_refused_where_others_can_connect() -> None:
    """M16: the documented constant."""
    assert keys_of(PUBLISHED, "localhost").key_by_role.keys() == {"worker"}
    for host in ("0.0.0.0", "10.0.0.5", "node"):
        with pytest.raises(ConfigError, match="published"):
            keys_of(PUBLISHED, host)


@pytest.mark.parametrize("authkey", [None, b"", "text", 5])
def test_a_key_is_bytes(authkey: Any) -> None:
    with pytest.raises(ConfigError, match="it is bytes"):
        keys_of(authkey, "localhost")


@pytest.mark.parametrize(
    "args",
    [None, (("localhost", 1), "AF_INET"), (("localhost", 1), "AF_UNIX", b"k"), (("localhost", 1), "AF_INET", "k")],
)
def test_what_are_no_client_args_is_refused_without_telling_the_key(args: Any) -> None:
    with pytest.raises(ConfigError) as told:
        read_client_args(args)
    assert "b'k'" not in str(told.value)


def test_a_manager_is_not_at_a_path() -> None:
    with pytest.raises(AddressError, match="a host and a port"):
        place_of("unix:///x")
