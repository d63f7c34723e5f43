"""The methods of a client that tell people what goes on: why a task is not done, what happened to it, what ran when."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from datetime import datetime
from typing import Any, NamedTuple

from distributed.client.futures import Future
from distributed.client.part import ClientPart
from distributed.client.records import KeyRecord, Status
from distributed.client.session import Session
from distributed.client.structures import records_in
from distributed.errors import DistributedError
from distributed.units import format_nbytes, parse_seconds
from distributed.why import Why

__all__ = ["DiagnosisMethods", "Story", "StoryStep", "TaskRun", "TaskStream"]

REPR_PATIENCE_S = 1.0  # for the scheduler to say what a notebook shows


class StoryStep(NamedTuple):
    """One change of a task's state: ``time`` in seconds since 1970, ``start`` and ``finish`` are states.

    ``worker`` and ``attempt`` are None unless the step is about a try to run it.
    """

    key: str
    time: float
    start: str
    finish: str
    because: str
    worker: str | None
    attempt: int | None


class Story(list[StoryStep]):
    """What happened to some tasks, oldest first; as text a line each. The scheduler remembers the last 10,000 steps."""

    def __str__(self) -> str:
        many = len({step.key for step in self}) > 1
        lines = []
        for step in self:
            clock = datetime.fromtimestamp(step.time).strftime("%H:%M:%S.%f")[:-3]
            attempt = "" if step.attempt is None else f" (attempt {step.attempt})"
            name = f"{step.key}  " if many else ""
            lines.append(f"{clock}  {name}{step.start} -> {step.finish}{attempt}: {step.because}")
        return "\n".join(lines) or "nothing is remembered"

    def _repr_html_(self) -> str:
        from distributed.client.html import text_html

        return text_html(str(self))


class TaskRun(NamedTuple):
    """One run of a task: ``start`` and ``stop`` in seconds since 1970, ``status`` is ``'finished'`` or ``'error'``.

    The times are the scheduler's: when it heard of the end, less how long the worker says it took.
    """

    key: str
    worker: str
    thread: int
    start: float
    stop: float
    status: str


class TaskStream(list[TaskRun]):
    """What ran, see `Client.get_task_stream`; with ``with`` (or ``async with``): what ends inside of it.

    Attributes:
        missed: runs that were forgotten before they could be asked for.
    """

    def __init__(self, client: DiagnosisMethods, since_s: float | None) -> None:
        super().__init__()
        self.missed = 0
        self._client = client
        self._since_s = since_s
        self._first: int | None = None

    def __await__(self) -> Generator[Any, None, TaskStream]:
        return self._fill().__await__()

    def __enter__(self) -> TaskStream:
        self.clear()
        self.missed = 0
        self._client._finish(self._begin())
        return self

    def __exit__(self, *exception: object) -> None:
        self._client._finish(self._fill())

    async def __aenter__(self) -> TaskStream:
        self.clear()
        self.missed = 0
        await self._begin()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._fill()

    async def _begin(self) -> None:
        self._first = (await self._client._live().ask("task_stream"))["end"]

    async def _fill(self) -> TaskStream:
        """All there is until now, in as many answers as it takes."""
        end: int | None = None
        first, since_s = self._first, None
        if first is None:
            first, since_s = (0, None) if self._since_s is None else (None, self._since_s)
        while end is None or (first is not None and first < end):
            answer = await self._client._live().ask("task_stream", first=first, since_s=since_s)
            end = answer["end"] if end is None else end
            self.missed += answer["missed"]
            self.extend(TaskRun(*run) for run in answer["runs"])
            first, since_s = answer["next"], None
        return self


class DiagnosisMethods(ClientPart):
    """A part of `Client`, see there."""

    def why(self, future: Future | str) -> Any:
        """Why a task is not done yet, in one sentence: a text with ``state``, ``reason`` and ``blockers``, see `Why`.

        Args:
            future: a future or any key, also one that other clients submitted.
        """
        key = future if isinstance(future, str) else future.key
        session = self._live()
        record = session.table.records.get(key)
        if record is None and isinstance(future, Future):
            record = future._record
        here = None if record is None else _why_here(session, record)
        if here is None and session.status == "closed":
            here = Why(f"{key}: this client is closed, or its scheduler is gone.", "unknown", "closed")
        if here is None:
            return self._finish(self._why_there(key))
        return self._session_answer(here)

    def story(self, *futures: Any) -> Any:
        """What happened to some tasks, oldest first, with times, workers and attempts: a list of `StoryStep`.

        Args:
            futures: futures, structures of futures, or keys; at most 100 keys together.
        """
        keys = [key for given in futures for key in self._names_in(given)]
        return self._finish(self._story(keys))

    def get_task_stream(self, since: str | float | None = None) -> TaskStream:
        """What ran on the workers when: a list of `TaskRun`, at most the last 100,000.

        With an asynchronous client ``await`` it, or use ``async with``. ::

            with client.get_task_stream() as runs:
                client.gather(client.map(abs, range(10)))
            runs[0].stop - runs[0].start

        Args:
            since: seconds, or such as ``"10s"``, back from now; None: all that is remembered.
        """
        stream = TaskStream(self, None if since is None else parse_seconds(since, "since"))
        if not self.asynchronous:
            self._finish(stream._fill())
        return stream

    def progress(self, *futures: Any, notebook: bool | None = None) -> Any:
        """Show how far tasks are, see `distributed.progress`."""
        from distributed.client.progress import progress  # lazy: only who looks needs it

        return progress(*futures, notebook=notebook)

    def _repr_html_(self) -> str:
        from distributed.client.html import client_html

        if self._session is None:
            return client_html(self.name, [("status", "not connected")])
        session = self._session
        rows: list[tuple[str, Any]] = [("scheduler", session.scheduler_address), ("status", session.status)]
        if not self.asynchronous and session.status == "running":
            try:
                rows += _rows(session.run(session.ask_once("overview"), REPR_PATIENCE_S))
            except (TimeoutError, DistributedError) as error:
                rows.append(("cluster", f"unknown: {error or 'no answer'}"))
        return client_html(self.name, rows)

    # ------------------------------------------------------------ private

    def _session_answer(self, answer: Why) -> Any:
        async def later() -> Why:
            return answer

        return later() if self.asynchronous else answer

    def _names_in(self, given: Any) -> list[str]:
        return [given] if isinstance(given, str) else [record.key for record in records_in(self._live(), given)]

    async def _why_there(self, key: str) -> Why:
        session = self._live()
        await asyncio.sleep(0)  # what was submitted just now leaves first
        return _why_unsent(session, key) or Why.from_wire(await session.ask("why", key=key))

    async def _story(self, keys: list[str]) -> Story:
        steps = await self._live().ask("story", keys=keys)
        names = [name for name in StoryStep._fields if name != "time"]
        return Story(StoryStep(time=step["at"], **{name: step[name] for name in names}) for step in steps)


def _rows(overview: dict[str, Any]) -> list[tuple[str, Any]]:
    workers, tasks = overview["workers"], overview["tasks"]
    known = {state: count for state, count in tasks.items() if count and state != "forgotten"}
    return [
        ("workers", f"{overview['workers_count']:,}"),
        ("threads", f"{sum(worker['nthreads'] for worker in workers):,}"),
        ("memory", format_nbytes(sum(worker["memory_limit_nbytes"] or 0 for worker in workers))),
        ("tasks", ", ".join(f"{count:,} {state}" for state, count in known.items()) or "none"),
    ]


def _why_here(session: Session, record: KeyRecord) -> Why | None:
    """What this client knows by itself; None: the scheduler has to be asked."""
    key, status = record.key, record.status
    if status is Status.CANCELLED:
        return Why(f"{key} was cancelled: {record.reason or 'by somebody'}.", status.value, "cancelled")
    if status is Status.LOST:
        return Why(f"{key} is lost: {record.reason or 'its data is gone, or the scheduler is'}.", status.value, "lost")
    if status is Status.ERROR and record.failure is not None:
        kind, text = record.failure[:2]
        return Why(f"{key} failed: {kind}: {text}", status.value, "failed")
    if status is Status.FINISHED and record.payload is not None:
        return Why(f"{key} is done; its result is here.", status.value, "done")
    if session.status == "connecting":
        text = f"{key} is not known to be done: the connection with the scheduler broke and is being made again."
        return Why(text, status.value, "connecting")
    if record.is_cancelling:
        return Why(f"{key} is being cancelled; the scheduler has not answered yet.", status.value, "cancelling")
    return None


def _why_unsent(session: Session, key: str) -> Why | None:
    """What is to say of a task that waits in this client; None: it has left."""
    with session.table.lock:
        waiting = session.link.outbox.position(key)
    if waiting is None or session.status != "running":
        return None
    text = f"{key} has not been sent yet: {waiting:,} others leave first, as fast as the scheduler takes them."
    return Why(text, Status.PENDING.value, "not-sent")
