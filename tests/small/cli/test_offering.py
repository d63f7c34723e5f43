"""What is typed about offers: options of ``dworker``, and what is said of one in a line or on a screen."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from distributed.cli.dworker import main as dworker
from distributed.cli.offer_screen import offer_screen
from distributed.cli.offering import described, offer_settings
from distributed.errors import ConfigError

INFO: dict[str, Any] = {
    "address": "tcp://o:8788", "cores": 1, "memory_nbytes": 2**30, "is_withdrawn": False, "rooms": 1, "rooms_max": 64,
    "tags": ["linux", "gpu"], "python": "3.11", "pythons": ["3.11", "3.13"],
}  # fmt: skip
TYPED: dict[str, Any] = {
    "nworkers": 2, "nthreads": 3, "memory_limit": "1GiB", "tags": [], "local_directory": None, "log_level": "INFO",
    "listen": {"port": 0, "address": "127.0.0.1", "insecure": False, "tls": False}, "cores": None, "offer_port": None,
    "admit": "everybody", "rooms_max": None, "store_limit": "1GiB", "pythons": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("command", "said"),
    [("", "--offer"), ("127.0.0.1:1 --offer --no-nanny", "needs the process"), ("--no-offer", "name the scheduler")],
)
def test_what_cannot_be_is_refused(command: str, said: str) -> None:
    answer = CliRunner().invoke(dworker, command)
    assert answer.exit_code == 2 and said in answer.output


def test_beside_workers_an_offer_has_their_cores_and_memory_and_a_port_of_its_own() -> None:
    settings = offer_settings(beside=True, **(TYPED | {"listen": {**TYPED["listen"], "port": 5000}}))
    assert (settings["cores"], settings["memory_nbytes"], settings["port"]) == (6, 2**31, None)
    assert settings["admits"] is None


def test_alone_the_port_is_the_offers() -> None:
    typed = TYPED | {"nworkers": 1, "listen": {**TYPED["listen"], "port": 5000}, "cores": 2}
    settings = offer_settings(**typed)
    assert (settings["cores"], settings["port"]) == (2, 5000)
    assert offer_settings(**typed, beside=False)["memory_nbytes"] == 2**30


@pytest.mark.parametrize(("admit", "admits"), [("nobody", []), ("alice, bob", ["alice", "bob"])])
def test_whom_to_admit(admit: str, admits: list[str]) -> None:
    assert offer_settings(**(TYPED | {"admit": admit}))["admits"] == admits


@pytest.mark.parametrize("admit", ["", ",", "nobody,alice", "everybody,alice"])
def test_whom_to_admit_may_not_contradict_itself(admit: str) -> None:
    with pytest.raises(ConfigError, match="--admit"):
        offer_settings(**(TYPED | {"admit": admit}))


def test_an_offer_in_a_line() -> None:
    assert described(INFO) == "tcp://o:8788 lends 1 core(s) and 1 GiB"
    assert described(INFO | {"memory_nbytes": None}) == "tcp://o:8788 lends 1 core(s) and any memory"
    assert described(INFO | {"is_withdrawn": True}) == "tcp://o:8788 lends nothing"


def test_the_screen_shows_tenants_and_rooms() -> None:
    tenant = {
        "name": "train.py", "grant": "alice", "is_connected": False, "left_s": 12.0, "rooms": 1, "wishes": 2,
        "memory_nbytes": 2**20, "slots": 1, "waiting": 7, "slot_seconds": 1.25,
    }  # fmt: skip
    room = {
        "room": "room-1", "tenant": "train.py", "workspace": "ab" * 32, "state": "retiring", "pid": 77, "running": 1,
        "memory_nbytes": 2**20, "cause": "it was idle",
    }  # fmt: skip
    status = {
        "address": "tcp://o:8788", "offer": INFO, "lent": {"cores": 2}, "taken_nbytes": 2**20, "tenants": [tenant],
        "rooms": [room],
    }  # fmt: skip
    text = offer_screen(status, 120, None)
    assert "lends     1 of 2 core(s); memory 1 MiB of 1 GiB" in text
    assert "train.py  alice  away" in text and "12 s" in text and "abababababab " in text and "it was idle" in text
    assert "python 3.11, 3.13" in text
    assert len(offer_screen(status, 20, 3).splitlines()) == 3
    assert max(map(len, offer_screen(status, 20, None).splitlines())) == 20
    empty = offer_screen(status | {"tenants": [], "rooms": []}, 100, None)
    assert empty.endswith("no Main uses it")
