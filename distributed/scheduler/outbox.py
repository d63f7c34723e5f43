"""The messages of one event: collected by receiver, so that each gets one message of a kind per event."""

from __future__ import annotations

from distributed.messages import (
    DEFAULT_OPTIONS,
    CancelTasks,
    CopyData,
    EquipWorker,
    Failure,
    ForgetFunctions,
    KeysCancelled,
    KeysDone,
    KeysFailed,
    KeysLost,
    KeysPrinted,
    KeysStuck,
    Message,
    Payload,
    ReleaseData,
    ReturnTasks,
    RunOptions,
    RunTasks,
    StopTasks,
    TaskSpec,
)
from distributed.scheduler.effects import Effect, ToClient, ToWorker
from distributed.scheduler.kit import Item
from distributed.scheduler.records import ClientRecord, FunctionRecord, TaskRecord, WorkerRecord

__all__ = ["Outbox"]

HOLDERS_NAMED_MAX = 16  # addresses named per dependency: more would make a broadcast's messages grow with the cluster


class Outbox:
    """What is to be told to whom. `flush` turns it into effects.

    Order of the effects: to workers before to clients (an idle worker costs more than a late answer); to a worker
    first what to drop, then what to run, since the same key may be in both, and before that its equipment.
    """

    __slots__ = (
        "cancel",
        "cancelled",
        "copy",
        "done",
        "equip",
        "failed",
        "forget",
        "lost",
        "printed",
        "recall",
        "release",
        "run",
        "stop",
        "stuck",
    )

    def __init__(self) -> None:
        self.run: dict[WorkerRecord, list[TaskRecord]] = {}
        self.cancel: dict[WorkerRecord, list[str]] = {}
        self.stop: dict[WorkerRecord, StopTasks] = {}
        self.release: dict[WorkerRecord, list[str]] = {}
        self.forget: dict[WorkerRecord, list[bytes]] = {}
        self.done: dict[ClientRecord, KeysDone] = {}
        self.failed: dict[ClientRecord, KeysFailed] = {}
        self.cancelled: dict[tuple[ClientRecord, str], list[str]] = {}
        self.lost: dict[tuple[ClientRecord, bool], list[str]] = {}
        self.recall: dict[WorkerRecord, ReturnTasks] = {}
        self.equip: dict[WorkerRecord, list[Item]] = {}
        self.printed: dict[ClientRecord, KeysPrinted] = {}
        self.copy: dict[WorkerRecord, list[tuple[TaskRecord, WorkerRecord]]] = {}  # what, from where
        self.stuck: dict[ClientRecord, KeysStuck] = {}

    def tell_done(self, client: ClientRecord, key: str, result: Payload, nbytes: int) -> None:
        """The result of `key` exists; `result` is None when it stays on a worker."""
        message = self.done_of(client)
        message.keys.append(key)
        message.results.append(result)
        message.nbytes.append(nbytes)

    def done_of(self, client: ClientRecord) -> KeysDone:
        """The columns for `client`, to be appended to."""
        message = self.done.get(client)
        if message is None:
            message = self.done[client] = KeysDone([], [], [])
        return message

    def tell_failed(self, client: ClientRecord, key: str, failure: Failure) -> None:
        """`key` has failed."""
        message = self.failed.get(client)
        if message is None:
            message = self.failed[client] = KeysFailed([], [])
        message.keys.append(key)
        message.failures.append(failure)

    def tell_stuck(self, client: ClientRecord, keys: list[str], count: int, blocked: str, reason: str) -> None:
        """`count` tasks that `client` holds, among them `keys`, cannot run, since `blocked` cannot for `reason`."""
        message = self.stuck.setdefault(client, KeysStuck([], [], [], []))
        message.waiting.append(keys)
        message.counts.append(count)
        message.blocked.append(blocked)
        message.reasons.append(reason)

    def tell_printed(self, client: ClientRecord, key: str, stream: str, text: str) -> None:
        """`key` has written `text`."""
        message = self.printed.get(client)
        if message is None:
            message = self.printed[client] = KeysPrinted([], [], [])
        message.keys.append(key)
        message.streams.append(stream)
        message.texts.append(text)

    def flush(self, effects: list[Effect]) -> None:
        """Append the effects to `effects` and be empty again."""
        if self.stop:
            effects.extend(ToWorker(w.address, message) for w, message in self.stop.items() if w.is_alive)
            self.stop = {}
        if self.cancel:
            self._flush_keys(effects, self.cancel, CancelTasks)
        if self.release:
            self._flush_keys(effects, self.release, ReleaseData)
        if self.forget:
            effects.extend(
                ToWorker(worker.address, ForgetFunctions(digests))
                for worker, digests in self.forget.items()
                if worker.is_alive
            )
            self.forget = {}
        if self.recall:
            effects.extend(ToWorker(w.address, message) for w, message in self.recall.items() if w.is_alive)
            self.recall = {}
        if self.equip:
            effects.extend(ToWorker(w.address, _equip_message(items)) for w, items in self.equip.items() if w.is_alive)
            self.equip = {}
        if self.run:
            effects.extend(ToWorker(worker.address, run_message(worker, tasks)) for worker, tasks in self.run.items())
            self.run = {}
        if self.copy:
            effects.extend(ToWorker(w.address, _copy_message(copies)) for w, copies in self.copy.items() if w.is_alive)
            self.copy = {}
        messages: list[tuple[ClientRecord, Message]] = [
            *self.printed.items(),  # before its result
            *((client, KeysLost(keys, is_recomputing)) for (client, is_recomputing), keys in self.lost.items()),
            *self.done.items(),
            *self.failed.items(),
            *((client, KeysCancelled(keys, reason)) for (client, reason), keys in self.cancelled.items()),
        ]
        effects.extend(ToClient(client.client, m) for client, m in messages if client.is_told)
        self.printed = {}
        self.lost = {}
        self.done = {}
        self.failed = {}
        self.cancelled = {}
        if self.stuck:
            effects.extend(ToClient(c.client, message) for c, message in self.stuck.items() if c.is_told)
            self.stuck = {}

    @staticmethod
    def _flush_keys(
        effects: list[Effect],
        keys_by_worker: dict[WorkerRecord, list[str]],
        kind: type[CancelTasks] | type[ReleaseData],
    ) -> None:
        for worker, keys in keys_by_worker.items():
            if worker.is_alive:  # a replica of what a cancelled task was to fetch too is dropped for both reasons
                effects.append(ToWorker(worker.address, kind(list(dict.fromkeys(keys)))))
        keys_by_worker.clear()


def _equip_message(items: list[Item]) -> EquipWorker:
    names = [item.name for item in items]
    return EquipWorker([i.serial for i in items], [i.kind for i in items], names, [i.payload for i in items])


def _copy_message(copies: list[tuple[TaskRecord, WorkerRecord]]) -> CopyData:
    keys, nbytes = [task.key for task, _ in copies], [task.nbytes for task, _ in copies]
    return CopyData(keys, nbytes, [[source.address] for _, source in copies])


def run_message(worker: WorkerRecord, tasks: list[TaskRecord]) -> RunTasks:
    """The message that starts `tasks`, none of them twice, at `worker`, which then has had their functions.

    Cost: O(tasks + dependencies).
    """
    count = len(tasks)
    functions = [task.function for task in tasks]
    digest_of: list[int] | None = None
    distinct = functions[:1]
    if functions.count(functions[0]) != count:
        index_of: dict[FunctionRecord | None, int] = {}
        digest_of = [index_of.setdefault(function, len(index_of)) for function in functions]
        distinct = list(index_of)
    fresh: dict[bytes, Payload] = {}
    digests: list[bytes] = []
    for function in distinct:
        assert function is not None  # data without a recipe is never READY
        digests.append(function.digest)
        if function.digest not in worker.functions:
            worker.functions[function.digest] = function
            function.workers[worker] = None
            fresh[function.digest] = function.payload
    wanted: list[bool] | None = [task.wanted_by is not None for task in tasks]
    if wanted is not None and all(wanted):
        wanted = None
    dependencies: list[list[str] | None] | None = None
    who_has: dict[str, list[str]] = {}
    nbytes: dict[str, int] = {}
    if any([task.dependencies for task in tasks]):
        dependencies = [_name_dependencies(task, worker, who_has, nbytes) for task in tasks]
    keys = [task.key for task in tasks]
    attempts = [task.attempt for task in tasks]
    if worker.seconds:
        attempts = [s.attempt if (s := worker.seconds.get(task.key)) is not None else task.attempt for task in tasks]
    arguments = [task.arguments for task in tasks]
    options, option_of = _options_of([task.spec for task in tasks])
    return RunTasks(
        fresh, digests, digest_of, keys, attempts, arguments, wanted, dependencies, who_has, nbytes, options,
        option_of,
    )  # fmt: skip


def _options_of(specs: list[TaskSpec]) -> tuple[list[RunOptions] | None, list[int] | None]:
    """The table of options and the index of every task in it; None as `RunTasks` says."""
    first = specs[0]
    if specs.count(first) == len(specs):  # most often, and by identity: 10 ns each
        options = run_options(first)
        return None if options == DEFAULT_OPTIONS else [options], None
    index_of: dict[RunOptions, int] = {}
    option_of = [index_of.setdefault(run_options(spec), len(index_of)) for spec in specs]
    table = list(index_of)
    if len(table) > 1:
        return table, option_of
    return None if table[0] == DEFAULT_OPTIONS else table, None


def run_options(spec: TaskSpec) -> RunOptions:
    """What a worker has to know of `spec`."""
    return RunOptions(
        spec.priority, spec.memory_limit_nbytes or 0, spec.timeout_s or 0.0, spec.depth, spec.actor, spec.threads
    )


def _name_dependencies(
    task: TaskRecord, worker: WorkerRecord, who_has: dict[str, list[str]], nbytes: dict[str, int]
) -> list[str] | None:
    if task.dependencies is None:
        return None
    for dependency in task.dependencies:
        key = dependency.key
        if key not in who_has:
            nbytes[key] = dependency.nbytes
            holders = [worker.address] if key in worker.holds else []
            for holder in dependency.who_has or ():
                if len(holders) == HOLDERS_NAMED_MAX:
                    break
                if holder is not worker:
                    holders.append(holder.address)
            who_has[key] = holders
    return [dependency.key for dependency in task.dependencies]
