"""A server under the guard of `distributed.deploy.remote`, here or at another host: started, heard, and ended.

The guard's stdin is the lifeline: it is closed by `Launched.close`, and by the kernel when this program is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shlex
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distributed.deploy.remote import END_S, MARK
from distributed.deploy.ssh import SSH_FAILED, Login, ssh_command
from distributed.errors import RemoteCommandError
from distributed.process.fresh import import_paths
from distributed.security.certificates import certificate_path
from distributed.security.keys import key_path, keyring

__all__ = ["CLOSE_S", "Launched", "run_at", "secrets"]

GUARD = "distributed.deploy.remote"
CLOSE_S = END_S + 5.0
LINES_KEPT = 200
LINE_NBYTES_MAX = 8192  # a longer one is cut into pieces
SHELL_UNABLE = (126, 127)  # exit codes of a shell that cannot run the command


class Launched:
    """A server that was started, and lives at most as long as this object's pipe.

    Args:
        name: of the server, for people; also of its log file.
        module, arguments: what ``python -m`` runs, see `distributed.deploy.remote`.
        place: where, for error texts.
        login: how to log in at `place`; None: it is this machine.
        listen_at: the host that the guard puts for ``{host}``; None: the one at which ssh reaches the machine.
        files: contents by name, of private files that the guard puts into ``{folder}``; for another machine with the
            user's key, unless it is given here.
        report: name of the file in ``{folder}`` whose content `wait_event("report")` gets.
        log_directory: where `name`.log gets what the server prints; None: only its end is kept, see `said`.
        on_line: told each line that the server prints, in a thread of ours.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        place: str,
        *,
        login: Login | None = None,
        listen_at: str | None = None,
        files: Mapping[str, str] | None = None,
        report: str | None = None,
        log_directory: str | None = None,
        on_line: Callable[[str, str], object] | None = None,
    ) -> None:
        self.name = name
        self.place = place
        self._module = module
        self._on_line = on_line
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._events: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._has_ended = False
        self._log = -1  # descriptor of the log file
        if log_directory is not None:
            path = os.path.join(log_directory, f"{name}.log")
            self._log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._process = self._start(login)
        except BaseException:
            self._close_log()
            raise
        _launched.add(self)
        self._reader = threading.Thread(target=self._read, name=f"launched-{name}", daemon=True)
        self._reader.start()
        request = {"module": module, "arguments": list(arguments), "host": listen_at, "report": report}
        self._say(json.dumps({**request, "files": {**(secrets() if login else {}), **(files or {})}}).encode())

    def wait_event(self, event: str, deadline: float) -> dict[str, Any]:
        """What the guard has told under that name, see `distributed.deploy.remote`.

        Raises:
            RemoteCommandError: the server has ended, or it is later than `deadline` (monotonic).
        """
        with self._changed:
            self._changed.wait_for(lambda: event in self._events or self._has_ended, deadline - time.monotonic())
            if event in self._events:
                return self._events[event]
        self.check_running()
        raise self.failure("it did not come up in time")

    def check_running(self) -> None:
        """Raises RemoteCommandError if the server has ended."""
        if self.has_ended():
            raise self.failure(self._reason())

    def has_ended(self) -> bool:
        """Whether the server, or the connection with its guard, has ended."""
        with self._changed:
            return self._has_ended

    def let_go(self) -> None:
        """For a fork of this program: keep the lifeline of the other one's server open no longer."""
        assert self._process.stdin is not None
        if not self._process.stdin.closed:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self._process.stdin.fileno(), inheritable=False)  # closing it would free its number
            os.close(nothing)

    def exit_code(self) -> int:
        """Of the server that has ended; of the connection, if that is all we know."""
        with self._changed:
            return int(self._events["ended"]["code"] if "ended" in self._events else self._process.returncode)

    def said(self) -> str:
        """The last lines that the server printed."""
        with self._changed:
            return "\n".join(self._lines)

    def failure(self, reason: str) -> RemoteCommandError:
        """The error that tells this, and what the server said."""
        return RemoteCommandError(self.place, self._module.rpartition(".")[2], reason, self.said())

    def close_soon(self) -> None:
        """Ask it to end; returns at once."""
        self._say(b"end")
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def close(self, deadline: float | None = None) -> None:
        """Ask it to end, and wait until it has.

        Args:
            deadline: (monotonic) when the guard, or ssh, is killed; None: when a guard has surely killed its server.
        """
        self.close_soon()
        try:
            self._process.wait(CLOSE_S if deadline is None else max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join()

    # ------------------------------------------------------------ private

    def _start(self, login: Login | None) -> subprocess.Popen[bytes]:
        environment = None
        if login is None:
            command = [sys.executable, "-m", GUARD]
            environment = {**os.environ, "PYTHONPATH": import_paths()}  # what we can import, it can
            keyring()  # made here, so that processes which start at once need not agree on one
        else:
            command = ssh_command(self.place, login, f"{_quoted(login.python or sys.executable)} -m {GUARD}")
        return _popen(command, self.place, environment)

    def _say(self, line: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):  # it has ended, or been asked to: `_read` tells why
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()

    def _read(self) -> None:
        """Take what comes until the process has ended."""
        assert self._process.stdout is not None and self._process.stderr is not None
        pipes = {self._process.stdout: self._take_event, self._process.stderr: self._take_line}
        with selectors.DefaultSelector() as selector:
            for pipe, take in pipes.items():
                selector.register(pipe.fileno(), selectors.EVENT_READ, _Lines(take))
            while selector.get_map():
                # What the server forked may hold a pipe open: that our process has ended is seen by itself.
                ended = self._process.poll() is not None
                ready = selector.select(0.0 if ended else 1.0)
                for key, _ in ready:
                    chunk = os.read(key.fd, 65536)
                    key.data.take(chunk)
                    if not chunk:
                        selector.unregister(key.fd)
                if ended and not ready:
                    break
        for pipe in pipes:
            pipe.close()
        self._process.wait()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()
        self._close_log()

    def _take_event(self, line: str) -> None:
        try:
            told = json.loads(line)
        except ValueError:
            told = None
        if not isinstance(told, dict) or MARK not in told:  # what the user's shell prints at every login
            return self._take_line(line)
        with self._changed:
            self._events[str(told.get("event"))] = told
            self._changed.notify_all()

    def _take_line(self, line: str) -> None:
        with self._changed:
            self._lines.append(line)
        if self._log >= 0:
            try:
                os.write(self._log, line.encode() + b"\n")
            except OSError as error:
                with self._changed:
                    self._lines.append(f"the log file: {error.strerror}; nothing more is written")
                self._close_log()
        if self._on_line is not None:
            self._on_line(self.name, line)

    def _close_log(self) -> None:
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    def _reason(self) -> str:
        with self._changed:
            refused, ended = self._events.get("refused"), self._events.get("ended")
            begun = "begun" in self._events
        if refused is not None:
            return str(refused["reason"])
        if ended is not None:
            return f"it ended with exit code {ended['code']}"
        code = self._process.returncode
        if begun:
            return f"the connection with it has ended, exit code {code}"
        if code == SSH_FAILED:
            return "ssh could not log in"
        if code in SHELL_UNABLE:
            return "there is no such interpreter; name one with python="
        return f"no guard came up, exit code {code}; the interpreter there needs this package, see python="


_launched: weakref.WeakSet[Launched] = weakref.WeakSet()


def _let_go_of_all() -> None:
    for launched in list(_launched):
        launched.let_go()


os.register_at_fork(after_in_child=_let_go_of_all)


class _Lines:
    """Cuts a stream of bytes into lines."""

    def __init__(self, take: Callable[[str], object]) -> None:
        self._take = take
        self._rest = b""

    def take(self, chunk: bytes) -> None:
        """The next bytes; empty: that was all."""
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        if self._rest and (not chunk or len(self._rest) > LINE_NBYTES_MAX):
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._take(line.decode(errors="replace").rstrip("\r"))


def run_at(
    host: str, command: str | Sequence[str], login: Login | None, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run a command at a host, None as `login`: here; its output and exit code.

    Raises:
        RemoteCommandError: ssh could not log in. TimeoutError: it took longer; it may go on there.
    """
    if login is not None:
        line = ssh_command(host, login, command)
    else:
        line = ["sh", "-c", command] if isinstance(command, str) else list(command)
    with _popen(line, host, None) as process:
        try:
            output, errors = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{host}: {command!r} took longer than {timeout_s:g} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    said = errors.decode(errors="replace")
    if login is not None and process.returncode == SSH_FAILED:
        raise RemoteCommandError(host, "ssh", "it could not log in", said)
    return subprocess.CompletedProcess(command, process.returncode, output.decode(errors="replace"), said)


def secrets() -> dict[str, str]:
    """The contents of the user's key file and, if there is one, of the certificate's, by the names of the guard.

    Raises:
        KeyFileError: it cannot be used.
    """
    keyring()  # checked, or made
    found = {"key": key_path().read_text()}
    with contextlib.suppress(FileNotFoundError):
        found["key.tls"] = certificate_path().read_text()
    return found


def _quoted(path: str) -> str:
    """For a shell, which puts the user's home folder for ``~/``."""
    return f"~/{shlex.quote(path[2:])}" if path.startswith("~/") else shlex.quote(path)


def _popen(command: list[str], place: str, environment: dict[str, str] | None) -> subprocess.Popen[bytes]:
    """A process that neither a Ctrl-C in our terminal nor a question of ssh's can reach."""
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except FileNotFoundError:
        missing = f"there is no program {command[0]!r} here; it comes with openssh-client"
        raise RemoteCommandError(place, command[0], missing, "") from None
