"""What one event brings about in a worker's machine, collected until its end: one effect, one message of each kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from distributed.dataclass import dataclass, field
from distributed.messages import (
    AskHolders,
    CopiesFailed,
    DataAdded,
    Failure,
    Message,
    TasksDone,
    TasksFailed,
    TasksLent,
    TasksMissingData,
    TasksRejoined,
    TasksReturned,
    TasksStopped,
)
from distributed.messages import DataRescued as RescuedMessage
from distributed.worker.effects import (
    DropData,
    DropEquipment,
    DropFunctions,
    Effect,
    EndActors,
    Equip,
    Execute,
    GiveBack,
    Keep,
    KeepActors,
    ReadyTask,
    Stop,
    Withdraw,
)
from distributed.worker.records import CopyRecord, TaskRecord

__all__ = ["Turn"]


@dataclass(slots=True)
class Turn:
    """See the module.

    Attributes:
        now: monotonic seconds, when the event came.
        lost: copies without a holder left to ask; the machine gives them up before the turn ends.
        uncopied: ``[key, gone pairs]`` of copies that the scheduler ordered and does not get.
    """

    now: float
    functions: list[bytes] = field(default_factory=list)  # to be dropped
    withdrawn: list[str] = field(default_factory=list)
    stop: dict[str, int] = field(default_factory=dict)
    give_back: dict[str, int] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    ended_actors: list[str] = field(default_factory=list)
    why_ended: str = "it was released"
    keep: Keep | None = None
    actors: dict[str, Any] = field(default_factory=dict)  # to be kept
    ready: list[ReadyTask] = field(default_factory=list)
    lost: dict[str, CopyRecord] = field(default_factory=dict)
    uncopied: list[tuple[str, list[list[str]]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # keys whose holders are all busy
    added: DataAdded | None = None
    done: TasksDone | None = None
    failed: list[tuple[TaskRecord, Failure, float]] = field(default_factory=list)
    unstarted: list[tuple[TaskRecord, list[str], list[list[str]]]] = field(default_factory=list)
    returned: TasksReturned | None = None
    stopped: list[tuple[str, int]] = field(default_factory=list)
    rescued: RescuedMessage | None = None
    equip: Equip | DropEquipment | None = None
    equipped: list[Message] = field(default_factory=list)
    lent: list[TaskRecord] = field(default_factory=list)
    rejoined: list[TaskRecord] = field(default_factory=list)

    def effects(self) -> Iterator[Effect]:
        """What to do here, in order."""
        if self.functions:
            yield DropFunctions(self.functions)
        if self.withdrawn:  # before Execute, which may hold a newer attempt of the same key
            yield Withdraw(self.withdrawn)
        if self.stop:  # likewise
            yield Stop(self.stop)
        if self.give_back:
            yield GiveBack(self.give_back)
        if self.ended_actors:  # before KeepActors, which may hold a newer one of the same key
            yield EndActors(self.ended_actors, self.why_ended)
        if self.dropped:
            yield DropData(self.dropped)
        if self.actors:
            yield KeepActors(self.actors)
        if self.equip is not None:
            yield self.equip
        if self.keep is not None:  # before Execute, which may hold tasks that need the data
            yield self.keep
        if self.ready:
            yield Execute(self.ready)

    def messages(self) -> Iterator[Message]:
        """What to tell the scheduler, in order."""
        yield from self.equipped
        if self.done is not None:
            yield self.done
        if self.added is not None:
            yield self.added
        if self.rescued is not None:
            yield self.rescued
        if self.failed:
            records, failures, durations_s = zip(*self.failed, strict=True)
            yield TasksFailed(*_names(records), list(failures), list(durations_s))
        if self.unstarted:
            records, missing, gone = zip(*self.unstarted, strict=True)
            yield TasksMissingData(*_names(records), list(missing), list(gone))
        if self.uncopied:
            yield CopiesFailed([key for key, _ in self.uncopied], [gone for _, gone in self.uncopied])
        if self.asked:
            yield AskHolders(self.asked)
        if self.stopped:
            yield TasksStopped([key for key, _ in self.stopped], [attempt for _, attempt in self.stopped])
        if self.returned is not None and (self.returned.keys or self.returned.kept):
            yield self.returned
        if self.lent:
            yield TasksLent(*_names(self.lent))
        if self.rejoined:
            yield TasksRejoined(*_names(self.rejoined))


def _names(records: Iterable[TaskRecord]) -> tuple[list[str], list[int]]:
    return [record.task.key for record in records], [record.attempt for record in records]
