"""The system's ``ssh``: how to log in, and the command line that runs something at another host.

What ``~/.ssh/config`` and ``known_hosts`` say holds: names, jump hosts, and which host keys are known. Nobody is ever
asked for anything (``BatchMode``), so logging in takes a key or an agent. *Not* here: what is run, see `launching`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import Any

from distributed.dataclass import dataclass
from distributed.errors import AddressError, ConfigError

__all__ = ["SSH_FAILED", "Login", "ssh_command"]

SSH_FAILED = 255  # exit code: it is ssh itself that failed, not the command

# Ours behind those of the user, because for ssh the first value of an option counts.
DEFAULTS = (
    "ConnectTimeout=10",
    "ServerAliveInterval=15",  # with the next: a machine that has gone is noticed within a minute
    "ServerAliveCountMax=4",
    "ClearAllForwardings=yes",  # a port that the user's file forwards could be forwarded only once
    "ControlMaster=no",  # a connection that others share would outlive us, and hold our pipes
    "LogLevel=ERROR",
)
UNDERSTOOD = ("username", "port", "private_key", "key_filename", "ssh_options", "python")


@dataclass(slots=True, frozen=True)
class Login:
    """How to log in at other hosts; what is None is up to ``~/.ssh/config``.

    Attributes:
        username: there.
        port: of the ssh servers.
        private_key: path of a key file; no other key is tried then.
        ssh_options: such as ``"ProxyJump=gate"``, in the words of ssh_config(5).
        python: the interpreter there, with this package; None: the path of the one that runs here.
    """

    username: str | None = None
    port: int | None = None
    private_key: str | None = None
    ssh_options: tuple[str, ...] = ()
    python: str | None = None

    @classmethod
    def from_keywords(cls, keywords: dict[str, Any]) -> Login:
        """From what users write; ``key_filename`` is another name of ``private_key``.

        Raises:
            ConfigError: a keyword that is not known, or a value that cannot be used; no value of a password is shown.
        """
        for name in keywords:
            if name in ("password", "passphrase", "pkey"):
                raise ConfigError(name, "...", "ssh is never given secrets: use a key file (private_key=) or an agent")
            if name not in UNDERSTOOD:
                raise ConfigError(name, keywords[name], f"understood are {', '.join(UNDERSTOOD)}")
        given = {name: value for name, value in keywords.items() if value is not None}
        if "key_filename" in given:
            if given.setdefault("private_key", given["key_filename"]) != given["key_filename"]:
                raise ConfigError("key_filename", given["key_filename"], "it is another name of private_key: give one")
            del given["key_filename"]
        port = given.get("port")
        if port is not None and (not isinstance(port, int) or not 0 < port <= 65535):
            raise ConfigError("port", port, "the port of the ssh servers, between 1 and 65535")
        options = given.get("ssh_options", ())
        given["ssh_options"] = (options,) if isinstance(options, str) else tuple(options)
        if "private_key" in given:
            given["private_key"] = os.path.expanduser(os.fspath(given["private_key"]))
            if not os.path.exists(given["private_key"]):
                raise ConfigError("private_key", given["private_key"], "there is no such file")
        return cls(**given)


def ssh_command(host: str, login: Login, command: Sequence[str] | str) -> list[str]:
    """The command line that runs `command` at `host`: words, which are quoted, or a text for the shell there.

    Raises:
        AddressError: a host that ssh would take for an option.
    """
    if not host or host.startswith("-") or any(character.isspace() for character in host):
        raise AddressError(host, "ssh needs the name or address of a host")
    line = ["ssh", "-T", "-a", "-x", "-o", "BatchMode=yes"]
    for option in (*login.ssh_options, *DEFAULTS):
        line += ["-o", option]
    if login.username is not None:
        line += ["-l", login.username]
    if login.port is not None:
        line += ["-p", str(login.port)]
    if login.private_key is not None:
        line += ["-i", login.private_key, "-o", "IdentitiesOnly=yes"]
    return [*line, "--", host, command if isinstance(command, str) else shlex.join(command)]
