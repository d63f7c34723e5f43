"""A real OpenSSH server on loopback for tests: an ordinary process with keys and files of its own, in one folder.

It lets in whoever has the key in the folder, as the user who runs it, and nobody else. It reads nothing of the system's
configuration; run as root it needs ``/run/sshd``, which it makes if it is missing.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

from distributed.testing.processes import wait_until

__all__ = ["SshServer", "has_ssh"]

HOST = "127.0.0.1"
ATTEMPTS_MAX = 5  # somebody may take the port that was free
PRIVILEGE_SEPARATION = Path("/run/sshd")

CONFIG = """\
Port {port}
ListenAddress {host}
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/user_key.pub
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
"""


def has_ssh() -> bool:
    """Whether server and client of OpenSSH are installed."""
    return all(map(_program, ("sshd", "ssh", "ssh-keygen")))


class SshServer:
    """An sshd, from `start` to `close`.

    Args:
        folder: for its files; made if it is missing.

    Attributes:
        port: where it listens.
        auth: keywords for `Cluster` that log in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        folder.mkdir(exist_ok=True)
        for name in ("host_key", "user_key", "other_key"):
            keygen = [_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(keygen, check=True, stdin=subprocess.DEVNULL)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def auth(self) -> dict[str, object]:
        """Keywords that log in, whatever the user's own files say."""
        options = (f"UserKnownHostsFile={self.folder}/known_hosts", "GlobalKnownHostsFile=none")
        return {"port": self.port, "private_key": str(self.folder / "user_key"), "ssh_options": options}

    def start(self) -> None:
        """Start it, and wait until it listens. AssertionError: it does not."""
        if os.getuid() == 0:
            PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        for _ in range(ATTEMPTS_MAX):
            self.port = _free_port()
            (self.folder / "config").write_text(CONFIG.format(port=self.port, host=HOST, folder=self.folder))
            with open(self.folder / "log", "ab") as log:
                self._process = subprocess.Popen(
                    [_program("sshd"), "-D", "-e", "-f", str(self.folder / "config")],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            wait_until(lambda: self._is_listened_on() or self._has_ended(), self.said)
            if not self._has_ended():
                known = (self.folder / "host_key.pub").read_text()
                (self.folder / "known_hosts").write_text(f"[{HOST}]:{self.port} {known}")
                return
        raise AssertionError(f"sshd did not start: {self.said()}")

    def said(self) -> str:
        """What it logged."""
        return (self.folder / "log").read_text(errors="replace")

    def close(self) -> None:
        """End it; sessions go on until their clients end."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _is_listened_on(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0


def _program(name: str) -> str:
    """Path of a program; sshd wants to be called by its whole path. Empty: it is not installed."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return shutil.which(name, path=path) or ""


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port
