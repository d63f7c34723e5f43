"""The guard of one server that a program on another machine wants: it hands over the key, and ends with its caller.

``python -m distributed.deploy.remote`` is what `distributed.deploy.launching` runs, by ssh or on its own machine. Its
stdin is its lifeline: when that ends, whether the caller has closed it, was killed, or ssh is gone, the server ends and
nothing is left behind. No secret is on a command line or in an environment.

    stdin   one JSON line, the request; any further byte, or the end: stop
    stdout  JSON lines, told from what a login prints by their "distributed"
              {"distributed": 1, "event": "begun", "host": where the server listens, "pid": of the guard}
              {"distributed": 1, "event": "report", "text": what the server wrote into its report file}
              {"distributed": 1, "event": "ended", "code": its exit code}
              {"distributed": 1, "event": "refused", "reason": why there is no server}
    stderr  what the server prints

    request {"module": what `python -m` runs, "arguments": [...], "host": or null, "files": {name: content},
             "report": name of a file or null}

In ``arguments``, ``{host}`` stands for the host (null: the address at which ssh reached this machine) and ``{folder}``
for a folder that only this user can enter, that holds ``files``, and that ends with the guard. A file named ``key`` is
the server's key, with its certificate in ``key.tls``; without it the server uses that of its user here.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from distributed.errors import DistributedError
from distributed.process.folders import make_folder, remove_leftovers
from distributed.security.keys import write_private_file

__all__ = ["END_S", "MARK", "main"]

MARK = "distributed"  # in every line that is ours
REQUEST_NBYTES_MAX = 4 * 1024 * 1024  # a key, some certificates, and arguments
REPORT_NBYTES_MAX = 64 * 1024
REPORT_POLL_S = 0.02
PARENT_WATCH_S = 1.0  # whatever the caller forked may hold the lifeline open
END_S = 10.0  # from SIGINT, after which no server of ours waits for anything, to SIGKILL
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


class _RefusedError(DistributedError):
    """The caller's fault: this request cannot be served."""


def main() -> None:
    """Serve the one request on stdin; the exit code is the server's."""
    woken, wake = os.pipe()
    for descriptor in (woken, wake):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)  # the descriptor tells; without a handler it would not
    parent = os.getppid()
    try:
        request, more = _read_request()
        if more:
            raise SystemExit(0)
        remove_leftovers()
        folder = make_folder()
        try:
            code = _serve(request, folder.path, woken, parent)
        finally:
            folder.remove()
    except (OSError, _RefusedError) as error:
        _tell("refused", reason=str(error))
        raise SystemExit(1) from None
    _tell("ended", code=code)
    raise SystemExit(code if code >= 0 else 128 - code)


def _read_request() -> tuple[dict[str, Any], bool]:
    """The request, and whether the caller has already said more, which means stop."""
    line = b""
    while b"\n" not in line:
        chunk = os.read(0, 65536)
        if not chunk:
            raise _RefusedError("this is started by Cluster and dcluster, which send one line; nobody did")
        line += chunk
        if len(line) > REQUEST_NBYTES_MAX:
            raise _RefusedError(f"the request has more than {REQUEST_NBYTES_MAX:,} bytes")
    line, _, more = line.partition(b"\n")
    try:
        request = json.loads(line)
        strings = [request["module"], request["host"] or "", request["report"] or "", *request["arguments"]]
        strings += [text for pair in request["files"].items() for text in pair]
    except (ValueError, KeyError, TypeError, AttributeError):
        strings = [None]
    if not all(isinstance(text, str) for text in strings):
        raise _RefusedError("the request is not what this version understands; use the same version on both sides")
    return request, bool(more)


def _serve(request: dict[str, Any], folder: str, woken: int, parent: int) -> int:
    """Start the server and wait for its end, or for that of the caller; the server's exit code."""
    host = request["host"] or _reached_at()
    arguments = [text.replace("{host}", host).replace("{folder}", folder) for text in request["arguments"]]
    child = subprocess.Popen(
        [sys.executable, "-m", request["module"], *arguments],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        env=_environment(request, folder),
        start_new_session=True,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )
    try:
        _tell("begun", host=host, pid=os.getpid())
        report = Path(folder, request["report"]) if request["report"] else None
        while child.poll() is None and os.getppid() == parent:
            if report is not None and report.exists():
                _tell("report", text=report.read_text(errors="replace")[:REPORT_NBYTES_MAX])
                report = None
            if _is_told_to_stop(woken, PARENT_WATCH_S if report is None else REPORT_POLL_S):
                break
    finally:
        _end(child)
    return child.returncode


def _is_told_to_stop(woken: int, timeout_s: float) -> bool:
    """Wait a while: whether the lifeline has ended, or a signal other than the death of the server has come."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(woken, select.POLLIN)
    ready = {descriptor for descriptor, _ in poll.poll(timeout_s * 1000)}
    if woken in ready and set(os.read(woken, 4096)) - {signal.SIGCHLD}:
        return True
    return 0 in ready


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is not None:
        return
    child.send_signal(signal.SIGINT)
    try:
        child.wait(END_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):  # just now
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _environment(request: dict[str, Any], folder: str) -> dict[str, str]:
    """That of the server: ours, with the path of the key if one was sent. Writes the files that were sent."""
    for name, content in request["files"].items():
        if os.path.basename(name) != name or name.startswith("."):
            raise _RefusedError(f"{name!r} is no name for a file")
        write_private_file(Path(folder, name), content)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if "key" in request["files"]:
        environment["DISTRIBUTED_KEY_FILE"] = os.path.join(folder, "key")
    return environment


def _reached_at() -> str:
    """The address of this machine at which ssh reached it: others of the cluster do, too."""
    parts = os.environ.get("SSH_CONNECTION", "").split()
    if len(parts) != 4:
        raise _RefusedError("it is not known how others reach this machine; name it by a numeric address")
    return parts[2]


def _die_with_parent() -> None:
    """Linux sends the server SIGINT when this process is killed and cannot do it."""
    ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGINT)


def _tell(event: str, **content: Any) -> None:
    """One line for the caller, who may be gone."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps({MARK: 1, "event": event, **content}).encode() + b"\n")


if __name__ == "__main__":
    main()
