"""What waits to be sent to the scheduler, in order, and how it becomes few messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from distributed.messages import Message, Payload, ReleaseFunctions, ReleaseKeys, SubmitTasks, TaskSpec
from distributed.protocol.serialize import payload_nbytes

__all__ = ["Outbox", "Task"]

BATCH_COUNT_MAX = 2000  # tasks per message: 200 kB of no-ops, a few ms of work for the scheduler
BATCH_NBYTES_MAX = 4 * 1024 * 1024
# What the scheduler and workers keep for us although no task needs it; what was used longest ago goes, and is sent
# again if it comes back. A program that makes a new function for each call would fill them.
FUNCTIONS_MAX = 1000
FUNCTIONS_NBYTES_MAX = 64 * 1024 * 1024

Task = tuple[TaskSpec, str, Payload, list[str] | None]  # spec, key, arguments, keys of dependencies


class Outbox:
    """A queue of tasks and messages; tasks that follow each other leave in one message.

    Filled by any thread under the session's lock, emptied on the loop. A function travels once, as long as the
    scheduler keeps it for us.

    Args:
        functions_max, functions_nbytes_max: how many functions, and of which size together, it is to keep.
    """

    def __init__(self, functions_max: int = FUNCTIONS_MAX, functions_nbytes_max: int = FUNCTIONS_NBYTES_MAX) -> None:
        self._items: deque[Task | Message | dict[bytes, Payload]] = deque()  # functions stand before their tasks
        self._functions: dict[bytes, Payload] = {}  # taken out of the queue, to leave with the next tasks
        self._sent: dict[bytes, int] = {}  # digest: size of those that the scheduler keeps, the latest used last
        self._sent_nbytes = 0
        self._functions_max = functions_max
        self._functions_nbytes_max = functions_nbytes_max

    def append_graph(self, tasks: Sequence[Task]) -> None:
        """Queue tasks some of which nobody wants for themselves, each after those it depends on.

        The scheduler forgets such a task when a message ends and nothing needs it. So they leave in one message; too
        many for one are held until all have left, and then released.
        """
        if len(tasks) <= BATCH_COUNT_MAX and sum(payload_nbytes(task[2]) for task in tasks) <= BATCH_NBYTES_MAX:
            graph = Outbox()
            graph._items.extend(tasks[1:])
            self._items.append(graph._batch(tasks[0], is_whole=True))
            return
        self._items.extend((spec._replace(wanted=True), *rest) for spec, *rest in tasks)
        self._items.append(ReleaseKeys([task[1] for task in tasks if not task[0].wanted]))

    def append(self, item: Task | Message) -> None:
        """Queue a task or a message."""
        self._items.append(item)

    def add_functions(self, functions: dict[bytes, Payload]) -> None:
        """All that the tasks of one call need, before them."""
        fresh: dict[bytes, Payload] = {}
        for digest, blob in functions.items():
            nbytes = self._sent.pop(digest, None)
            if nbytes is None:
                nbytes = payload_nbytes(blob)
                self._sent_nbytes += nbytes
                fresh[digest] = blob
            self._sent[digest] = nbytes
        if fresh:
            self._items.append(fresh)
        if len(self._sent) > self._functions_max or self._sent_nbytes > self._functions_nbytes_max:
            self._release_functions(functions)

    def _release_functions(self, needed: dict[bytes, Payload]) -> None:
        """Queue the release of those used longest ago; the tasks that need them are queued before."""
        released = []
        for digest in list(self._sent):
            if len(self._sent) <= self._functions_max and self._sent_nbytes <= self._functions_nbytes_max:
                break
            if digest not in needed:
                self._sent_nbytes -= self._sent.pop(digest)
                released.append(digest)
        if released:
            self._items.append(ReleaseFunctions(released))

    def unsend_functions(self, functions: dict[bytes, Payload]) -> None:
        """These did not leave after all: they are added again with the next tasks that need them."""
        for digest in functions:
            self._sent_nbytes -= self._sent.pop(digest, 0)

    def clear(self) -> None:
        """Forget what waits, and what has left: the next scheduler knows nothing."""
        self._items.clear()
        self._functions.clear()
        self._sent.clear()
        self._sent_nbytes = 0

    def put_back(self, messages: Sequence[Message]) -> None:
        """Messages that leave next, in this order."""
        self._items.extendleft(reversed(messages))

    def position(self, key: str) -> int | None:
        """How many tasks and messages leave before the task `key`; None: it is not here. Cost: O(what waits)."""
        for number, item in enumerate(self._items):
            if (key in item.keys) if isinstance(item, SubmitTasks) else (isinstance(item, tuple) and item[1] == key):
                return number
        return None

    def next_message(self) -> Message | None:
        """The next message to send; None: nothing waits."""
        while self._items:
            item = self._items.popleft()
            if isinstance(item, dict):
                self._functions.update(item)
                continue
            if not isinstance(item, Message):
                return self._batch(item)
            if isinstance(item, ReleaseFunctions):
                for digest in item.digests:
                    self._functions.pop(digest, None)  # nothing has needed it meanwhile
            if isinstance(item, SubmitTasks):
                item.functions, self._functions = {**self._functions, **item.functions}, {}
            return item
        return None

    def _batch(self, task: Task, is_whole: bool = False) -> SubmitTasks:
        """As many of the next tasks as one message should hold."""
        specs: dict[TaskSpec, int] = {}
        last, index = None, 0  # most often it is that of the task before; to hash one costs 0.1 us
        spec_of: list[int] = []
        dependencies: list[list[str] | None] = []
        batch = SubmitTasks({}, [], None, [], [], None)
        nbytes, items = 0, self._items
        while True:
            spec, key, arguments, needs = task
            if spec is not last:
                last, index = spec, specs.setdefault(spec, len(specs))
            spec_of.append(index)
            batch.keys.append(key)
            batch.arguments.append(arguments)
            dependencies.append(needs)
            nbytes += payload_nbytes(arguments)
            while items and isinstance(functions := items[0], dict):
                self._functions.update(functions)
                items.popleft()
            if not items or not (is_whole or (len(spec_of) < BATCH_COUNT_MAX and nbytes < BATCH_NBYTES_MAX)):
                break
            item = items[0]
            if not isinstance(item, tuple):
                break
            task = item
            items.popleft()
        batch.functions, self._functions = self._functions, {}
        batch.specs = list(specs)
        batch.spec_of = spec_of if len(specs) > 1 else None
        batch.dependencies = dependencies if any(dependencies) else None
        return batch
