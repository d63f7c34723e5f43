"""What is wrong with what the faces and recipes are given to work on."""

from __future__ import annotations

from distributed.errors.base import DistributedError
from distributed.errors.tasks import RemoteError

__all__ = [
    "CalledByImportError",
    "DataGoneError",
    "HomeError",
    "KeyTakenError",
    "MasterError",
    "MessageLoadError",
    "MultipartError",
    "NestedCallError",
    "NoMoreFiles",
    "RemoteCommandError",
    "RemoteExecutionError",
    "SetupError",
    "StartedByImportError",
    "UndistributableError",
    "UnknownWorkerError",
    "UnreachableError",
    "WaitForTimeoutFile",
]


class DataGoneError(DistributedError, KeyError):
    """Nobody's fault, or the caller's: data that is on no worker any more; compute it or scatter it again.

    Attributes:
        key: of the data.
    """

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        self.reason = reason
        super().__init__(f"the data of {key} is gone: {reason}")


class HomeError(DistributedError):
    """The caller's or the operator's fault: a folder or file that a master cannot hand out; the text says why."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path!r}: {reason}")


class KeyTakenError(DistributedError, ValueError):
    """The caller's fault: other data has this key already; choose another one, or delete that first.

    Attributes:
        key: that is taken.
    """

    def __init__(self, key: str, center: str) -> None:
        self.key = key
        super().__init__(f"{key} names other data at {center} already; choose another key, or delete that data first")


class RemoteCommandError(DistributedError):
    """The operator's fault, mostly: something that was to run at a host did not, or ended; the text has its output."""

    def __init__(self, host: str, command: str, reason: str, output: str) -> None:
        self.host = host
        self.command = command
        self.reason = reason
        self.output = output
        said = f"; it said:\n{output}" if output else ""
        super().__init__(f"{command} at {host!r}: {reason}{said}")


class MasterError(DistributedError):
    """The operator's fault, mostly: a master cannot be reached, or refuses a worker; the text says which and why."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"master at {url}: {reason}")


class MultipartError(DistributedError):
    """The peer's fault: a body that should be multipart/form-data and is not; the text says where it goes wrong."""


class StartedByImportError(DistributedError, RuntimeError):
    """The caller's fault: a module that workers import starts a manager or workers, as would each of these.

    Put what starts them below ``if __name__ == "__main__":``.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(
            f"the module of {what} starts a manager or workers as soon as it is imported, and every worker imports it; "
            'put what starts them below `if __name__ == "__main__":`'
        )


class MessageLoadError(DistributedError):
    """A message cannot be rebuilt here: a module is missing, or differs from the sender's. All others are still there.

    Define its classes in a module that both sides have, or in the script that sends it.
    """

    def __init__(self, worker: int, reason: str) -> None:
        self.worker = worker
        self.reason = reason
        super().__init__(f"a message of worker {worker} cannot be loaded: {reason}; both sides need its modules")


class UnknownWorkerError(DistributedError, ValueError):
    """The caller's fault: a manager never had a worker with that id. Ids count from 0, in the order of joining."""

    def __init__(self, worker: object, count: int) -> None:
        self.worker = worker
        self.count = count
        super().__init__(f"Invalid worker idx {worker!r}: {count} workers have joined so far, ids count from 0")


class UnreachableError(DistributedError, OSError):
    """Nobody answers at an address: is the server running, and is the address right?"""

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        self.reason = reason
        super().__init__(f"{address} is out of reach: {reason}")


class NoMoreFiles(DistributedError):  # as the first version called it: an answer, and no mistake
    """Nobody's fault: the master has nothing left to hash; end."""

    def __init__(self) -> None:
        super().__init__("nothing is left")


class WaitForTimeoutFile(DistributedError):  # likewise
    """Nobody's fault: others have all files that are left; ask again.

    Attributes:
        has_waited: the master has let us wait already.
    """

    def __init__(self, has_waited: bool) -> None:
        self.has_waited = has_waited
        super().__init__("others have all files that are left")


class CalledByImportError(DistributedError, RuntimeError):
    """The caller's fault: a module calls a `@distributed` function while a worker imports it, as every worker does.

    Put the call, and what only the program is to do, below ``if __name__ == "__main__":``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"{name} is called as soon as its module is imported, and every worker imports it; "
            'put the call below `if __name__ == "__main__":`'
        )


class NestedCallError(DistributedError, RuntimeError):
    """The caller's fault: a task calls a function that was decorated with ``nested="error"``.

    Call ``function.local(...)``, which is the function as it was written, or leave the option out.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f'{name} is called by a task, which nested="error" forbids: call {name}.local(...) there, '
            "or leave the option out, and it runs inside that task"
        )


class RemoteExecutionError(RemoteError):
    """A call raised what cannot be rebuilt here; what can is raised with its own type. The cause has the lines.

    Its text is ``Remote <source> - <exception>``. If the exception should keep its type, define the type in a module
    of the workspace, and let its constructor accept what it hands to ``super().__init__``.

    Attributes:
        source: which function it was, ``ident@module/name``.
        exception, type, traceback: of what was raised, as text.
    """

    def __init__(self, exception: object, source: str) -> None:
        self.exception = str(exception)
        self.source = source
        kind = getattr(exception, "type", type(exception).__name__)
        super().__init__(str(kind), str(exception), str(getattr(exception, "traceback", "")))
        self.text = f"Remote {source} - {exception}"
        self.args = (self.text,)


class SetupError(DistributedError, RuntimeError):
    """The caller's fault: `setup` comes too late, or for the second time with other settings; the text says which."""


class UndistributableError(DistributedError, TypeError):
    """The caller's fault: something that `@distributed` cannot wrap; the text says why, and what to write instead."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"@distributed cannot wrap {name}: {reason}")
