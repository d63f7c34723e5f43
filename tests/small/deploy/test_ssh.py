"""The command line of ssh, and what users may say about logging in."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.deploy.ssh import Login, ssh_command
from distributed.errors import AddressError, ConfigError


def test_without_wishes_the_files_of_ssh_decide_and_nobody_is_asked() -> None:
    line = ssh_command("alice", Login(), ["echo", "a b"])
    assert line[0] == "ssh"
    assert line[-3:] == ["--", "alice", "echo 'a b'"]
    assert line[line.index("BatchMode=yes") - 1] == "-o"
    assert not {"-l", "-p", "-i"} & set(line)
    assert not any("HostKeyChecking" in word for word in line)  # strict, unless the user's own files say otherwise


def test_wishes_become_options_and_those_of_the_user_come_first() -> None:
    login = Login.from_keywords(
        {"username": "bob", "port": 2222, "key_filename": __file__, "ssh_options": ["ConnectTimeout=1"]}
    )
    line = ssh_command("alice", login, "echo *")
    assert line[line.index("-l") + 1] == "bob"
    assert line[line.index("-p") + 1] == "2222"
    assert line[line.index("-i") + 1] == __file__
    assert "IdentitiesOnly=yes" in line
    assert line.index("ConnectTimeout=1") < line.index("ConnectTimeout=10")
    assert line[-1] == "echo *"


def test_a_single_option_may_be_a_text() -> None:
    assert Login.from_keywords({"ssh_options": "ProxyJump=gate", "username": None}) == Login(
        ssh_options=("ProxyJump=gate",)
    )


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"user": "bob"}, "understood are username, port"),
        ({"port": 0}, "between 1 and 65535"),
        ({"port": "22"}, "between 1 and 65535"),
        ({"private_key": "/no/such/file"}, "no such file"),
        ({"private_key": __file__, "key_filename": "/x"}, "give one"),
    ],
)
def test_a_wish_that_cannot_be_used_is_named(keywords: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Login.from_keywords(keywords)


def test_a_password_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="a key file") as refused:
        Login.from_keywords({"password": "hunter2"})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("host", ["-oProxyCommand=touch /tmp/x", "", "a b", "-v"])
def test_a_host_that_ssh_would_take_for_an_option_is_refused(host: str) -> None:
    with pytest.raises(AddressError):
        ssh_command(host, Login(), "true")
