"""Every exception of the package, as one tree.

Each docstring says whose fault the error is and what the reader can do about it. Data is kept in attributes, the text
is made once, and every error survives a pickle round trip. No secret and no payload ever goes into a text.
"""

from __future__ import annotations

from concurrent.futures import CancelledError

__all__ = [
    "AddressError",
    "AuthenticationError",
    "BadRequestError",
    "CancelledError",
    "CertificateError",
    "CommClosedError",
    "ConfigError",
    "ConnectTimeoutError",
    "DistributedError",
    "DistributedWarning",
    "EquipmentError",
    "FunctionLoadError",
    "InvariantError",
    "KeyFileError",
    "KilledWorker",
    "LostDataError",
    "MemoryLimitExceeded",
    "MessageTooLargeError",
    "NameTakenError",
    "PeerBusyError",
    "PermissionDeniedError",
    "PortTakenError",
    "ProtocolError",
    "RemoteError",
    "SchedulerFileError",
    "SelfWaitError",
    "SessionLostError",
    "StreamingOpError",
    "UncopiedDataError",
    "UnencodableError",
    "UnknownOpError",
    "UnpicklableError",
    "UnreachableDataError",
    "UserCodeRefusedError",
    "WorkerStartError",
]


class DistributedError(Exception):
    """Root of the tree: catch it to catch everything this package raises on purpose."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[DistributedError], args: tuple[object, ...], state: dict[str, object]) -> DistributedError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class DistributedWarning(UserWarning):
    """Something works, but not as its user would expect; the text says what to change."""


class InvariantError(DistributedError):
    """Our own fault: a rule that we guarantee does not hold. Please report it with its text."""


class ConfigError(DistributedError, ValueError):
    """The operator's fault: a setting has a value that cannot be used."""

    def __init__(self, setting: str, value: object, rule: str) -> None:
        self.setting = setting
        self.rule = rule
        super().__init__(f"{setting}={value!r} cannot be used: {rule}")


class AddressError(DistributedError, ValueError):
    """The caller's fault: a text that is no address."""

    def __init__(self, address: object, rule: str) -> None:
        self.address = address
        super().__init__(f"{address!r} is not an address: {rule}")


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
    """The operator's fault: another process listens there; choose another port, or 0 for any free one."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        self.host = host
        self.port = port
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


class FunctionLoadError(DistributedError):
    """A worker cannot rebuild the function or its arguments: a module is missing there."""

    def __init__(self, name: str, worker: str, reason: str) -> None:
        self.name = name
        self.worker = worker
        self.reason = reason
        super().__init__(
            f"{name} cannot be loaded on worker {worker}: {reason}; install the module there, "
            "or define the function in the script that submits it"
        )


class LostDataError(DistributedError):
    """Scattered data is gone with the workers that held it: it has no recipe, so scatter it again."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"{key}: every worker that held it is gone and it has no recipe; scatter it again")


class KilledWorker(DistributedError):
    """A task was running on too many workers when they died; it is given up so that others live.

    Attributes:
        key: the task.
        deaths: how many workers ended while it ran.
        certificates: what their nannies saw, newest last: ``cause``, ``worker``, ``attempt``, and if there was a nanny
            ``exitcode`` or ``signal``, ``memory_peak_nbytes``, the last lines of ``stderr``, the keys ``running``.
    """

    STDERR_LINES_SHOWN = 5  # in the text; the certificates hold more

    def __init__(self, key: str, deaths: int, certificates: list[dict[str, object]]) -> None:
        self.key = key
        self.deaths = deaths
        self.certificates = certificates
        last = certificates[-1] if certificates else {}
        cause = str(last.get("cause", "the connection was lost"))
        stderr = last.get("stderr")
        lines = [str(line) for line in stderr][-self.STDERR_LINES_SHOWN :] if isinstance(stderr, list) else []
        said = "".join(f"\n  {line}" for line in lines)
        peak = last.get("memory_peak_nbytes")
        tries = ", ".join(f"{attempt} on {worker}" for attempt, worker in self.attempts)
        super().__init__(
            f"{key} is given up: {deaths} workers died while it ran, the last one of: {cause}"
            + (f"; it had used {peak / 1e6:,.0f} MB at most" if isinstance(peak, int) and peak else "")
            + (f"; attempts {tries}" if tries else "")
            + (f"; the end of its stderr:{said}" if said else "")
        )

    @property
    def attempts(self) -> list[tuple[int, str]]:
        """The attempts that ended with a death, oldest first, and the address of the worker of each."""
        return [
            (attempt, str(certificate.get("worker")))
            for certificate in self.certificates
            if isinstance(attempt := certificate.get("attempt"), int)
        ]


class EquipmentError(DistributedError):
    """Some workers could not take in a file or a plugin, and go on without: mend it, and give it to them again.

    Attributes:
        name: of the file or plugin.
        failures: what was raised there, by address.
    """

    def __init__(self, name: str, failures: dict[str, BaseException]) -> None:
        self.name = name
        self.failures = failures
        shown = "; ".join(f"{where}: {type(error).__name__}: {error}" for where, error in list(failures.items())[:3])
        more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
        super().__init__(f"{len(failures)} workers go on without {name}: {shown}{more}; mend it, and give it again")


class UserCodeRefusedError(DistributedError):
    """The caller's fault: schedulers and nannies never run code that comes over the wire; their operators may load it.

    Start the process with ``--preload FILE.py``, or run the function on workers.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        super().__init__(
            f"{where} runs no code that comes over the wire: ask its operator to start it with --preload FILE.py, "
            "or run the function on the workers (Client.run)"
        )


class MemoryLimitExceeded(DistributedError):
    """A task took more memory than its own limit allows: raise ``memory_limit=``, or let it work on smaller parts."""

    def __init__(self, key: str, limit_nbytes: int, used_nbytes: int) -> None:
        self.key = key
        self.limit_nbytes = limit_nbytes
        self.used_nbytes = used_nbytes
        super().__init__(
            f"{key} took {used_nbytes / 1e6:,.0f} MB of memory, more than its limit of {limit_nbytes / 1e6:,.0f} MB; "
            "raise memory_limit=, or let it work on smaller parts"
        )


class SelfWaitError(DistributedError):
    """A task waits for its own result, which cannot come: give what it submits another key, or ``pure=False``."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            f"{key} waits for its own result: what it submitted has its own key; give it another key=, or pure=False"
        )


class UncopiedDataError(DistributedError):
    """Some data could not be copied: it is gone, or workers do not reach each other; what could be copied was.

    Attributes:
        verb: what was asked for, such as "replicate".
        reasons: why, by key.
    """

    def __init__(self, verb: str, reasons: dict[str, str]) -> None:
        self.verb = verb
        self.reasons = reasons
        shown = "; ".join(f"{key}: {reason}" for key, reason in list(reasons.items())[:3])
        more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        super().__init__(
            f"{verb}: {len(reasons)} keys could not be copied: {shown}{more}; wait for them, and try again"
        )


class PeerBusyError(DistributedError):
    """A worker gives big data to many others just now: ask another holder, or this one a little later."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__(f"{address} gives data to many others just now; ask again in a moment")


class UnreachableDataError(DistributedError):
    """A task's dependencies exist, but no worker that may run it gets them: can the workers reach each other?"""

    def __init__(self, key: str, missing: list[str], attempts: int) -> None:
        self.key = key
        self.missing = missing
        self.attempts = attempts
        super().__init__(
            f"{key} is given up: {', '.join(missing[:3])} could not be fetched from any worker, {attempts} times; "
            "see that workers reach each other's addresses"
        )

    def data(self) -> dict[str, object]:
        """The arguments it was made of, for `distributed.protocol.failure`."""
        return {"key": self.key, "missing": self.missing, "attempts": self.attempts}


class RemoteError(DistributedError):
    """An exception of the other side that cannot be rebuilt here: its type name, text and traceback as text."""

    def __init__(self, type: str, text: str, traceback: str) -> None:
        self.type = type
        self.traceback = traceback
        super().__init__(f"{type}: {text}")
