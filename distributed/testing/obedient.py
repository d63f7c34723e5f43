"""A worker without code: it does what the wire contract asks of one, a step at a time, for tests of the scheduler."""

from __future__ import annotations

from collections import deque

from distributed.messages import (
    CancelTasks,
    CopiesFailed,
    CopyData,
    DataAdded,
    DismissWorker,
    ForgetFunctions,
    HoldersKnown,
    Message,
    ReleaseData,
    ReturnTasks,
    RunTasks,
    StopTasks,
    TasksDone,
    TasksFailed,
    TasksMissingData,
    TasksReturned,
    TasksStopped,
)

__all__ = ["ObedientWorker"]


class ObedientWorker:
    """A worker that does what the wire contract says, when told to make a step."""

    def __init__(self, name: str, life: int, nthreads: int, has_nanny: bool) -> None:
        self.name = name
        self.address = f"tcp://{name}:1"
        self.incarnation = f"{name}/{life}"
        self.nthreads = nthreads
        self.nanny = "nanny" if has_nanny else None
        self.inbox: deque[Message] = deque()
        self.outbox: deque[Message] = deque()
        self.queue: dict[str, tuple[int, list[str], dict[str, list[str]]]] = {}
        self.data: dict[str, None] = {}
        self.functions: set[bytes] = set()
        self.sent: list[Message] = []  # delivered once, so they may come again
        self.is_dismissed = False
        self.is_paused = False

    def take_message(self, peers: dict[str, ObedientWorker]) -> None:
        """Obey the oldest message of the inbox; answers go to the outbox, data comes from `peers` at once."""
        message = self.inbox.popleft()
        if isinstance(message, RunTasks):
            self.functions.update(message.functions)
            assert self.functions.issuperset(message.digests), "a function was never sent to this worker"
            for index, (key, attempt) in enumerate(zip(message.keys, message.attempts, strict=True)):
                needs = (message.dependencies or [None] * len(message.keys))[index] or []
                assert all(message.who_has[need] for need in needs), "a dependency without holders"
                self.queue[key] = (attempt, needs, message.who_has)
                self.data.pop(key, None)  # of an attempt that counts no more
        elif isinstance(message, CancelTasks):
            for key in message.keys:
                self.queue.pop(key, None)
        elif isinstance(message, StopTasks):
            for key, attempt in zip(message.keys, message.attempts, strict=True):
                if key in self.queue and self.queue[key][0] == attempt:
                    del self.queue[key]
                self.data.pop(key, None)  # as a result that is told too late is dropped
            self.outbox.append(TasksStopped(message.keys, message.attempts))
        elif isinstance(message, ReleaseData):
            for key in message.keys:
                self.data.pop(key, None)
        elif isinstance(message, ReturnTasks):
            pairs = list(zip(message.keys, message.attempts, strict=True))
            given = [(key, attempt) for key, attempt in pairs if key in self.queue and self.queue[key][0] == attempt]
            for key, _ in given:
                del self.queue[key]
            kept = [key for key, attempt in pairs if (key, attempt) not in given]
            self.outbox.append(TasksReturned([key for key, _ in given], [attempt for _, attempt in given], kept))
        elif isinstance(message, CopyData):
            for key, holders in zip(message.keys, message.holders, strict=True):
                assert holders and self.address not in holders, "a copy from nowhere, or from oneself"
                if any(address in peers and key in peers[address].data for address in holders):
                    self.data[key] = None
                    self.outbox.append(DataAdded([key], [1], None))
                else:
                    self.outbox.append(CopiesFailed([key], [[[key, address] for address in holders]]))
        elif isinstance(message, DismissWorker):
            self.is_dismissed = True
        elif isinstance(message, HoldersKnown):
            assert all(self.address not in holders for holders in message.holders)
        else:
            assert isinstance(message, ForgetFunctions)
            self.functions.difference_update(message.digests)

    def run_task(self, peers: dict[str, ObedientWorker], is_good: bool) -> None:
        """Run the oldest task of the queue: it returns if `is_good`, else it raises."""
        key = next(iter(self.queue))
        attempt, needs, who_has = self.queue.pop(key)
        missing, gone = [], []
        for need in needs:
            if need in self.data:
                continue
            holders = [address for address in who_has[need] if address in peers and need in peers[address].data]
            if holders:
                self.data[need] = None
                self.outbox.append(DataAdded([need], [1], None))
            else:
                missing.append(need)
                gone += [[need, address] for address in who_has[need]]
        if missing:
            self.outbox.append(TasksMissingData([key], [attempt], [missing], [gone]))
        elif is_good:
            self.data[key] = None
            self.outbox.append(TasksDone([key], [attempt], [1], [b"result"], [0.01]))
        else:
            self.outbox.append(TasksFailed([key], [attempt], [["ValueError", "bad", "", None]], [0.01]))
