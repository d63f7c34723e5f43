"""How the calls of a pool become tasks: packed once, each with arguments of its own that it may change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from distributed.client.client import Client
from distributed.client.initializing import Initialized, Setup
from distributed.client.moving import Mover, frozen
from distributed.client.options import task_spec
from distributed.client.outbox import Task
from distributed.client.packing import PackedFunction
from distributed.client.under_way import ExecutorFuture, UnderWay
from distributed.errors import UnpicklableError
from distributed.ids import counter, short_name
from distributed.messages import Payload
from distributed.multiprocessing.running import run_chunk
from distributed.protocol.serialize import dumps_payload, payload_nbytes

__all__ = ["Sender"]


class Sender:
    """Submits calls, and chunks of calls.

    Args:
        setup: the pool's initializer, which runs before the first call in each process; None: there is none.
        token: of the pool, for names of tasks.
    """

    def __init__(self, client: Client, under_way: UnderWay, setup: Setup | None, token: str) -> None:
        self._client = client
        self._under_way = under_way
        self._setup = setup
        self._token = token
        self._template = task_spec(b"")
        self._initialized = Initialized(setup)

    def send_call(self, function: Callable[..., Any], args: tuple[Any, ...], kwds: dict[str, Any]) -> ExecutorFuture:
        """One call; the future of its result. Raises as `Executor.submit`."""
        packed = self._client._functions.pack(self._initialized.before(function))
        ((future, _),) = self._send(packed, packed.name, [(args, kwds)])
        return future

    def pack(self, function: Callable[..., Any], is_star: bool) -> tuple[PackedFunction, str]:
        """What `send_chunk` wants: `function` for chunks, and its name."""
        name = getattr(function, "__name__", None) or type(function).__name__
        if not callable(function):
            raise TypeError(f"the first argument is the function to call, not {type(function).__name__}")
        return PackedFunction(partial(run_chunk, function, is_star, self._setup)), short_name(name)

    def send_chunks(
        self, packed: tuple[PackedFunction, str], chunks: Sequence[tuple[Any, ...]]
    ) -> list[tuple[ExecutorFuture, int]]:
        """Chunks of calls; of each the future of `run_chunk`'s result, and how many bytes its arguments take."""
        return self._send(*packed, [(elements, {}) for elements in chunks])

    def _send(
        self, packed: PackedFunction, name: str, calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]
    ) -> list[tuple[ExecutorFuture, int]]:
        self._under_way.check_open()
        spec = self._template._replace(function=packed.digest)
        mover: Mover | None = None
        tasks: list[Task] = []
        for args, kwargs in calls:
            needs: list[str] | None = None
            try:
                # Nothing is shared between calls, as a Mover does with big arguments: in processes of the standard
                # library each call has its own, and may change it.
                arguments: Payload = frozen(dumps_payload((args, kwargs)))
            except UnpicklableError:  # there may be futures of a client in it
                mover = mover or Mover(self._client._functions, spec.priority)
                arguments, needs = mover.pack(args, kwargs)
            tasks.append((spec, f"{name}-{self._token}-{counter()}", arguments, needs))
        session = self._client._live()
        blobs = {packed.digest: packed.blob, **(mover.blobs if mover else {})}
        records = session.submit(tasks, blobs, mover.tasks if mover else None)
        try:
            futures = self._under_way.add(records)
        except BaseException:  # it was closed just now
            session.release([record.key for record in records])
            raise
        return [(future, payload_nbytes(task[2])) for future, task in zip(futures, tasks, strict=True)]
