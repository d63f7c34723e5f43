"""Finding the scheduler and introducing ourselves to it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from distributed.calls import exchange
from distributed.client.session import Session
from distributed.comm.addresses import Address, is_loopback, parse_address
from distributed.comm.connect import connect_address
from distributed.comm.stream import Stream
from distributed.config import SCHEDULER_PORT
from distributed.errors import ConfigError, ConnectTimeoutError, ProtocolError, SchedulerFileError
from distributed.versions import versions_here, warn_of_mismatch

__all__ = ["connect_session", "find_by_file", "find_scheduler", "read_scheduler_file"]

PROBE_S = 1.0  # for a scheduler whose process is not seen here to accept a connection: it may be in another container


def find_scheduler(address: Any, scheduler_file: str | os.PathLike[str] | None) -> str | None:
    """Canonical address of the scheduler that the caller or the environment names; None: nobody names one.

    Raises:
        AddressError, SchedulerFileError: named, but wrongly.
    """
    if scheduler_file is not None:
        return str(read_scheduler_file(scheduler_file)["address"])
    address = address if address is not None else os.environ.get("DISTRIBUTED_SCHEDULER_ADDRESS")
    address = getattr(address, "scheduler_address", address)  # a cluster object
    return None if address is None else str(parse_address(address, SCHEDULER_PORT))


def read_scheduler_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What ``--scheduler-file`` wrote: ``format``, ``id``, ``address``, ``http``, ``fingerprint``, ``pid``.

    Raises:
        SchedulerFileError: missing, not such a file, or left over: its scheduler, on this machine, has ended.
    """
    try:
        content = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise SchedulerFileError(str(path), "does not exist; is the scheduler running with --scheduler-file?") from None
    except (OSError, ValueError) as error:
        raise SchedulerFileError(str(path), f"cannot be read: {error}") from None
    if not isinstance(content, dict) or content.get("format") != 1 or not isinstance(content.get("address"), str):
        raise SchedulerFileError(str(path), "was not written by this version of dscheduler")
    return content


def find_by_file(path: str | os.PathLike[str]) -> str:
    """Address of the scheduler that wrote the file, for those who wait for a scheduler and so need to know first.

    Raises:
        SchedulerFileError: as `read_scheduler_file`; or its process is gone from this machine and nobody listens there.
    """
    address = str(read_scheduler_file(path)["address"])
    stale = describe_stale_file(path)
    if stale is not None and not _is_listened_on(parse_address(address)):
        raise stale
    return address


def describe_stale_file(path: str | os.PathLike[str]) -> SchedulerFileError | None:
    """The error for a file whose scheduler does not answer, if its process is gone from this machine.

    Of a scheduler that others can reach we do not know on which machine its process was.
    """
    content = read_scheduler_file(path)
    pid = content.get("pid")
    is_local = is_loopback(parse_address(content["address"], SCHEDULER_PORT).host)
    if is_local and isinstance(pid, int) and 0 < pid < 2**31 and not _process_exists(pid):
        return SchedulerFileError(str(path), f"is left over: process {pid}, which wrote it, has ended; delete the file")
    return None


def pinned_fingerprint(address: str, security: bool | str | None, scheduler_file: Any) -> str | None:
    """The only certificate to accept of the scheduler, as `security` or its file has it; None: see our own file.

    Raises:
        ConfigError: `security` asks for TLS, and the address is none of TLS.
    """
    if security and not address.startswith("tls://"):
        raise ConfigError("security", security, f"{address} is not encrypted; start the scheduler with --tls")
    if isinstance(security, str):
        return security.lower()
    pinned = None if scheduler_file is None else read_scheduler_file(scheduler_file).get("fingerprint")
    return pinned if isinstance(pinned, str) else None


async def connect_session(
    client: Any,
    address: str,
    timeout_s: float,
    scheduler_file: str | os.PathLike[str] | None,
    security: bool | str | None = None,
) -> Session:
    """A session of `client` with the scheduler at `address`.

    Raises:
        ConnectTimeoutError, AuthenticationError, SchedulerFileError, CertificateError, ConfigError.
    Warns:
        DistributedWarning: Python or a package differs between here, scheduler and workers.
    """
    pinned = pinned_fingerprint(address, security, scheduler_file)
    try:
        stream, hello = await _introduce(client, address, timeout_s, None, pinned)
    except ConnectTimeoutError:
        stale = None if scheduler_file is None else describe_stale_file(scheduler_file)
        if stale is None:
            raise
        raise stale from None

    def reconnect(timeout_s: float, told: list[Any]) -> Coroutine[Any, Any, tuple[Stream, dict[str, Any]]]:
        if getattr(client.cluster, "status", "") == "closed":
            raise ProtocolError("the cluster has ended")
        return _introduce(client, address, timeout_s, told, pinned)

    session = Session(client, asyncio.get_running_loop(), client.asynchronous, reconnect)
    session.start(stream, hello)
    warn_of_mismatch({"this client": versions_here(), "the scheduler": hello["versions"], **hello["worker_versions"]})
    return session


async def _introduce(
    client: Any, address: str, timeout_s: float, told: list[Any] | None, pinned: str | None
) -> tuple[Stream, dict[str, Any]]:
    """A stream of the scheduler that knows us now, and its answer; `told` as for `ClientSessions.serve`."""
    try:
        stream = await connect_address(address, timeout_s, keys=client.keys, pinned=pinned)
    except ConnectTimeoutError:
        reason = "is a scheduler running there? Start one with `dscheduler`, or a center with `dcenter`"
        raise ConnectTimeoutError(address, timeout_s, reason) from None
    request = {"op": "register_client", "client": client.id, "versions": versions_here(), "process": client.process}
    try:
        async with asyncio.timeout(timeout_s):
            hello = await exchange(stream, request if told is None else {**request, "session": told})
    except TimeoutError:
        stream.close()
        raise ConnectTimeoutError(address, timeout_s, "it accepted the connection but does not answer") from None
    except BaseException:
        stream.close()
        raise
    return stream, hello


def _is_listened_on(address: Address) -> bool:
    if address.scheme not in ("tcp", "tls"):
        return False
    try:
        socket.create_connection((address.host, address.port), PROBE_S).close()
    except OSError:
        return False
    return True


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
