"""The wire contract of the engine: every message between client, scheduler and worker, and its fields.

A message travels as a list, ``[op, field, field, ...]``, in the order in which its class lists them. Batches are
columns: entry *i* of each list belongs to task *i*. Payloads (functions, arguments, results, exceptions) are opaque:
``bytes`` (a pickle) or :class:`~distributed.protocol.serialize.Serialized` (a pickle with buffers of its own).

Who may send what is the class attribute ``sender``; `distributed.wire.from_wire` checks it and every field.
Requests with one answer (``who_has``, ``ncores``, ...) are ordinary ops of `distributed.core` and not listed here.
"""

from __future__ import annotations

from distributed.messages.again import CancelQueued, RetryKeys
from distributed.messages.base import (
    CLIENT,
    DEFAULT_OPTIONS,
    MESSAGES,
    SCHEDULER,
    WORKER,
    Failure,
    Message,
    Payload,
    RunOptions,
    Signed,
    TaskSpec,
)
from distributed.messages.coordination import (
    ITEM_NBYTES_MAX,
    Coordinate,
    RequestAnswered,
    RequestWaits,
    TakeItems,
    WithdrawRequests,
)
from distributed.messages.data import (
    AskHolders,
    CopiesFailed,
    CopyData,
    DataAdded,
    DataRemoved,
    HoldersKnown,
    ReleaseData,
)
from distributed.messages.diagnosis import KeysStuck
from distributed.messages.equipment import EquipmentFailed, EquipWorker, WorkerEquipped
from distributed.messages.functions import ReleaseFunctions
from distributed.messages.keys import (
    CancelKeys,
    KeysCancelled,
    KeysDone,
    KeysFailed,
    KeysLost,
    ReleaseKeys,
    WantKeys,
)
from distributed.messages.life import (
    DismissWorker,
    Heartbeat,
    ServerClosing,
    WorkerLeaving,
    WorkerPaused,
    WorkerRetiring,
)
from distributed.messages.output import KeysPrinted, TasksPrinted
from distributed.messages.running import TasksLent, TasksRejoined
from distributed.messages.stopping import DataRescued, StopTasks, TasksStopped
from distributed.messages.tasks import (
    CancelTasks,
    ForgetFunctions,
    ReturnTasks,
    RunTasks,
    SubmitTasks,
    TasksDone,
    TasksFailed,
    TasksMissingData,
    TasksReturned,
)

__all__ = [
    "CLIENT",
    "DEFAULT_OPTIONS",
    "ITEM_NBYTES_MAX",
    "MESSAGES",
    "SCHEDULER",
    "WORKER",
    "AskHolders",
    "CancelKeys",
    "CancelQueued",
    "CancelTasks",
    "Coordinate",
    "CopiesFailed",
    "CopyData",
    "DataAdded",
    "DataRemoved",
    "DataRescued",
    "DismissWorker",
    "EquipWorker",
    "EquipmentFailed",
    "Failure",
    "ForgetFunctions",
    "Heartbeat",
    "HoldersKnown",
    "KeysCancelled",
    "KeysDone",
    "KeysFailed",
    "KeysLost",
    "KeysPrinted",
    "KeysStuck",
    "Message",
    "Payload",
    "ReleaseData",
    "ReleaseFunctions",
    "ReleaseKeys",
    "RequestAnswered",
    "RequestWaits",
    "RetryKeys",
    "ReturnTasks",
    "RunOptions",
    "RunTasks",
    "ServerClosing",
    "Signed",
    "StopTasks",
    "SubmitTasks",
    "TakeItems",
    "TaskSpec",
    "TasksDone",
    "TasksFailed",
    "TasksLent",
    "TasksMissingData",
    "TasksPrinted",
    "TasksRejoined",
    "TasksReturned",
    "TasksStopped",
    "WantKeys",
    "WithdrawRequests",
    "WorkerEquipped",
    "WorkerLeaving",
    "WorkerPaused",
    "WorkerRetiring",
]
