"""Tasks, their data, and what people do with them."""

from __future__ import annotations

from concurrent import futures

from distributed.errors.base import DistributedError, DistributedWarning

__all__ = [
    "ActorLostError",
    "ActorWaitsError",
    "CoordinationLimitError",
    "EquipmentError",
    "ExecutorBrokenError",
    "ExecutorClosedError",
    "FunctionLoadError",
    "KilledWorker",
    "LostDataError",
    "MemoryLimitExceeded",
    "NotHeldError",
    "PeerBusyError",
    "RemoteError",
    "SelfWaitError",
    "TaskTimeoutError",
    "UncopiedDataError",
    "UnreachableDataError",
    "UnrunnableTaskWarning",
    "UserCodeRefusedError",
]


class UnrunnableTaskWarning(DistributedWarning):
    """No worker that is there can ever run some tasks: start one that can, or cancel them and name others.

    They run by themselves as soon as such a worker joins.

    Attributes:
        keys: of tasks that this client holds, the first 20 of them.
        count: how many there are.
        blocked: the task that cannot run: the first of `keys`, or one that it needs.
        reason: why, as the end of a sentence that begins with `blocked`.
    """

    def __init__(self, keys: list[str], count: int, blocked: str, reason: str) -> None:
        self.keys = keys
        self.count = count
        self.blocked = blocked
        self.reason = reason
        if count > 1:
            start = f"{count:,} tasks cannot run, first {keys[0]}: "
        else:
            start = "" if keys == [blocked] else f"{keys[0]} cannot run: "
        super().__init__(f"{start}{blocked} {reason}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.keys, self.count, self.blocked, self.reason)


class NotHeldError(DistributedError, RuntimeError):
    """The caller's fault, or the scheduler's end: a lock or semaphore is released that is not held.

    If it was lost (see ``reason``), others may have held it while this program thought that it did.
    """

    def __init__(self, what: str, reason: str) -> None:
        self.what = what
        self.reason = reason
        super().__init__(f"{what} is not held here: {reason}")


class CoordinationLimitError(DistributedError):
    """The scheduler keeps no more of this: items too big, too many bytes, names or requests that wait.

    Get or delete some; big data is scattered, and its future put in the place of it.
    """

    def __init__(self, what: str, reason: str) -> None:
        self.what = what
        self.reason = reason
        super().__init__(f"{what}: {reason}")


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


class ExecutorBrokenError(DistributedError, futures.BrokenExecutor):
    """An executor that can run nothing more, as its initializer raised: mend that, and make a new executor."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"this executor is broken: {reason}; mend it, and make a new executor")


class ExecutorClosedError(DistributedError, RuntimeError):
    """The caller's fault: an executor that was shut down takes no calls."""


class LostDataError(DistributedError):
    """Scattered data is gone with the workers that held it: it has no recipe, so scatter it again."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"{key}: every worker that held it is gone and it has no recipe; scatter it again")


class ActorLostError(DistributedError):
    """An actor is gone, with its state: make a new one, ``submit(..., actor=True)``; nobody does that in silence.

    Attributes:
        key: of the task that made it.
        worker: address where it lived.
        reason: what became of it.
    """

    def __init__(self, key: str, worker: str, reason: str) -> None:
        self.key = key
        self.worker = worker
        self.reason = reason
        super().__init__(
            f"the actor {key} on {worker} is lost: {reason}; its state is gone: make a new one with "
            "submit(..., actor=True)"
        )

    def data(self) -> dict[str, object]:
        """The arguments it was made of, for `distributed.protocol.failure`."""
        return {"key": self.key, "worker": self.worker, "reason": self.reason}


class ActorWaitsError(DistributedError):
    """A method of an actor waits for a call of the same actor, which comes after it: it would wait for ever.

    The caller's fault: call the method directly, ``self.method()``, or await the call in an async method.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            f"a method of the actor {key} waits for a call of the same actor, which would wait for ever: "
            "call self.method() directly, or await the call in an async method"
        )


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


class TaskTimeoutError(DistributedError, TimeoutError):
    """A task ran longer than its own limit allows: raise ``timeout=``, or let it do less at a time."""

    def __init__(self, key: str, timeout_s: float) -> None:
        self.key = key
        self.timeout_s = timeout_s
        super().__init__(f"{key} ran longer than its limit of {timeout_s:g} s; raise timeout=, or let it do less")


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
