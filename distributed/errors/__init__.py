"""Every exception of the package, as one tree.

Each docstring says whose fault the error is and what the reader can do about it. Data is kept in attributes, the text
is made once, and every error survives a pickle round trip. No secret and no payload ever goes into a text.
"""

from __future__ import annotations

from concurrent.futures import CancelledError

from distributed.errors.base import AddressError, ConfigError, DistributedError, DistributedWarning, InvariantError
from distributed.errors.faces import (
    DataGoneError,
    HomeError,
    KeyTakenError,
    MasterError,
    MessageLoadError,
    MultipartError,
    RemoteCommandError,
    UnknownWorkerError,
    UnreachableError,
)
from distributed.errors.tasks import (
    ActorLostError,
    ActorWaitsError,
    CoordinationLimitError,
    EquipmentError,
    ExecutorBrokenError,
    ExecutorClosedError,
    FunctionLoadError,
    KilledWorker,
    LostDataError,
    MemoryLimitExceeded,
    NotHeldError,
    PeerBusyError,
    RemoteError,
    SelfWaitError,
    TaskTimeoutError,
    UncopiedDataError,
    UnreachableDataError,
    UnrunnableTaskWarning,
    UserCodeRefusedError,
)
from distributed.errors.wire import (
    AuthenticationError,
    BadRequestError,
    CertificateError,
    CommClosedError,
    ConnectTimeoutError,
    KeyFileError,
    MessageTooLargeError,
    NameTakenError,
    PermissionDeniedError,
    PortTakenError,
    ProtocolError,
    RequestLostError,
    SchedulerFileError,
    SessionLostError,
    StreamingOpError,
    UnencodableError,
    UnknownOpError,
    UnpicklableError,
    WorkerStartError,
)

__all__ = [
    "ActorLostError",
    "ActorWaitsError",
    "AddressError",
    "AuthenticationError",
    "BadRequestError",
    "CancelledError",
    "CertificateError",
    "CommClosedError",
    "ConfigError",
    "ConnectTimeoutError",
    "CoordinationLimitError",
    "DataGoneError",
    "DistributedError",
    "DistributedWarning",
    "EquipmentError",
    "ExecutorBrokenError",
    "ExecutorClosedError",
    "FunctionLoadError",
    "HomeError",
    "InvariantError",
    "KeyFileError",
    "KeyTakenError",
    "KilledWorker",
    "LostDataError",
    "MasterError",
    "MemoryLimitExceeded",
    "MessageLoadError",
    "MessageTooLargeError",
    "MultipartError",
    "NameTakenError",
    "NotHeldError",
    "PeerBusyError",
    "PermissionDeniedError",
    "PortTakenError",
    "ProtocolError",
    "RemoteCommandError",
    "RemoteError",
    "RequestLostError",
    "SchedulerFileError",
    "SelfWaitError",
    "SessionLostError",
    "StreamingOpError",
    "TaskTimeoutError",
    "UncopiedDataError",
    "UnencodableError",
    "UnknownOpError",
    "UnknownWorkerError",
    "UnpicklableError",
    "UnreachableDataError",
    "UnreachableError",
    "UnrunnableTaskWarning",
    "UserCodeRefusedError",
    "WorkerStartError",
]

for _name in __all__:
    if _name != "CancelledError":
        globals()[_name].__module__ = __name__  # where people find them, and what travels with a failure
