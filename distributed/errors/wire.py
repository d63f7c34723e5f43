"""Connections, trust, and what peers say to each other."""

from __future__ import annotations

from distributed.errors.base import DistributedError

__all__ = [
    "AuthenticationError",
    "BadRequestError",
    "CertificateError",
    "CommClosedError",
    "ConnectTimeoutError",
    "KeyFileError",
    "MessageTooLargeError",
    "NameTakenError",
    "PermissionDeniedError",
    "PortTakenError",
    "ProtocolError",
    "RequestLostError",
    "SchedulerFileError",
    "SessionLostError",
    "StreamingOpError",
    "UnencodableError",
    "UnknownOpError",
    "UnpicklableError",
    "WorkerStartError",
]


class ProtocolError(DistributedError):
    """The peer's fault: it sent bytes that break the wire format. Its connection is closed."""


class MessageTooLargeError(ProtocolError):
    """A message passes a limit: split it, or raise the named setting on both sides."""

    def __init__(self, what: str, size: int, limit: int, setting: str) -> None:
        self.what = what
        self.size = size
        self.limit = limit
        self.setting = setting
        super().__init__(f"{what}: {size:,} is over the limit of {limit:,}; send less at once, or raise {setting}")


class UnencodableError(DistributedError, TypeError):
    """The caller's fault: a value that messages cannot carry as it is. Wrap it: ``to_serialize(value)``."""

    def __init__(self, type_name: str, reason: str) -> None:
        self.type_name = type_name
        self.reason = reason
        super().__init__(f"a message cannot carry {type_name}: {reason}")


class UnpicklableError(DistributedError, TypeError):
    """The caller's fault: a function, argument or result that cannot be pickled."""

    def __init__(self, what: str, type_name: str, reason: str) -> None:
        self.what = what
        self.type_name = type_name
        self.reason = reason
        super().__init__(f"{what} of type {type_name} cannot be pickled: {reason}")


class CommClosedError(DistributedError, OSError):
    """The connection is gone: the peer ended, was cut off, or one side closed it."""

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        self.reason = reason
        super().__init__(f"connection with {address} is closed: {reason}")


class SessionLostError(CommClosedError):
    """The scheduler is back but knows nothing of this client any more: it was started anew, or waited long enough.

    Nobody's fault in the program: submit (or scatter) again what is still wanted; the client itself goes on.
    """

    def __init__(self, address: str, reason: str, key: str) -> None:
        super().__init__(address, reason)
        self.key = key
        self.text = f"{key} is lost: the scheduler at {address} {reason}; submit it again"
        self.args = (address, reason, key)


class RequestLostError(CommClosedError):
    """The scheduler has forgotten this client, and with it what the client waited for at a lock, queue or its like.

    Nobody's fault in the program: ask again; the client itself goes on. Locks that it held are free.
    """

    def __init__(self, address: str, reason: str, what: str) -> None:
        super().__init__(address, reason)
        self.what = what
        self.text = f"{what}: the scheduler at {address} {reason}; ask again"
        self.args = (address, reason, what)


class ConnectTimeoutError(DistributedError, TimeoutError):
    """Nobody answered at the address in time: is the server running, and is the address right?"""

    def __init__(self, address: str, timeout_s: float, reason: str) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self.reason = reason
        super().__init__(f"Timed out while connecting to {address} after {timeout_s:g} s: {reason}")


class AuthenticationError(DistributedError):
    """Two sides do not hold the same key or certificate: give both the same files (``DISTRIBUTED_KEY_FILE``)."""

    SAME_KEY = (
        "both sides need the same key file (set DISTRIBUTED_KEY_FILE, or copy what `python -m distributed key` shows)"
    )

    def __init__(self, address: str, reason: str, cure: str = SAME_KEY) -> None:
        self.address = address
        self.reason = reason
        super().__init__(f"{address}: {reason}; {cure}")


class KeyFileError(DistributedError):
    """The operator's fault: the key file is not safe to use or holds no key."""

    WHAT = "key file"

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{self.WHAT} {path}: {reason}")


class CertificateError(KeyFileError):
    """The operator's fault: there is no TLS certificate, or its file is not safe to use. The text says what to do."""

    WHAT = "certificate file"


class PermissionDeniedError(DistributedError):
    """The caller's role may not use this op: connect with a key of another role."""

    def __init__(self, op: str, role: str) -> None:
        self.op = op
        self.role = role
        super().__init__(f"role {role!r} may not call {op!r}; connect with a key that may")


class BadRequestError(DistributedError, TypeError):
    """The caller's fault: a request that no handler could serve."""


class UnknownOpError(BadRequestError):
    """The caller's fault: the server has no such op."""

    def __init__(self, op: str, known: list[str]) -> None:
        self.op = op
        self.known = known
        super().__init__(f"No handler found: {op!r}; this server knows {', '.join(known)}")


class StreamingOpError(BadRequestError):
    """The caller's fault: an op that writes to its stream needs a stream to itself (connect, write, read)."""

    def __init__(self, op: str) -> None:
        self.op = op
        super().__init__(f"{op!r} reads or writes its stream: call it with connect(), write() and read(), not rpc")


class PortTakenError(DistributedError, OSError):
    """The operator's fault: another process listens there; choose another port, or 0 for any free one.

    Of a unix socket `host` is the path, and `port` 0.
    """

    def __init__(self, host: str, port: int, reason: str) -> None:
        self.host = host
        self.port = port
        if "/" in host:
            super().__init__(f"cannot listen on the unix socket {host}: {reason}; choose another path")
        else:
            super().__init__(f"cannot listen on {host}:{port}: {reason}; choose another port, or 0 for any free one")


class NameTakenError(DistributedError, ValueError):
    """The operator's fault: two workers of one scheduler want the same name."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        super().__init__(f"name taken, {name!r}: the worker at {address} has it; choose another --name")


class SchedulerFileError(DistributedError):
    """The scheduler file is missing, damaged or left over from a scheduler that ended."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"scheduler file {path}: {reason}")


class WorkerStartError(DistributedError):
    """A process of ours did not come up; the text holds what it printed last."""
