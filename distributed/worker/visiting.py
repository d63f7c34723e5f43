"""Code of users that runs beside the tasks: what `client.run` sends, and the methods of plugins.

Each call has a thread of its own and waits for no slot. It never runs on a loop of ours.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import threading
from collections.abc import Callable
from typing import Any

from distributed.errors import BadRequestError, PeerBusyError
from distributed.messages import Failure
from distributed.protocol.failure import exception_from_failure, failure_from_exception
from distributed.protocol.serialize import Serialized, loads_payload, to_serialize
from distributed.worker.context import TaskContext, enter
from distributed.worker.effects import ReadyTask
from distributed.worker.stoppable import Stoppable

__all__ = ["Visits", "finish"]

VISITS_MAX = 64  # at once, in one worker

_numbers = itertools.count(1)


class Visits:
    """The calls under way in one worker.

    Args:
        owner: the worker's server, for `get_worker`.
    """

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self._count = 0
        self._loop = asyncio.get_running_loop()

    async def run(self, stream: Any, call: Serialized, wait: bool = True) -> Serialized | None:
        """Call a function in a thread of its own, beside the tasks.

        Args:
            call: ``(function, args, kwargs)``, wrapped by ``to_serialize``. Of an ``async def`` the coroutine is run.
            wait: answer with what it returns, wrapped; else None, at once.
        Raises:
            PeerBusyError: so many run already. Else whatever the function raised.
        """
        if not isinstance(call, Serialized):
            raise BadRequestError("run: wrap the call, to_serialize((function, args, kwargs))")
        result = self.call("run", lambda: _called(call))
        if not wait:
            result.add_done_callback(lambda done: done.cancelled() or done.exception())
            return None
        answer: Serialized = await result  # cancelled when the caller does not want it any more, or has gone
        return answer

    def call(self, name: str, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """What ``function()`` returns, called in a thread of its own; cancelling it interrupts that thread.

        Raises:
            PeerBusyError: too many run already.
        """
        if self._count >= VISITS_MAX:
            raise PeerBusyError(self._owner.address)
        self._count += 1
        result: asyncio.Future[Any] = self._loop.create_future()
        stoppable = Stoppable()
        result.add_done_callback(lambda done: stoppable.stop(self._loop) if done.cancelled() else None)
        number = next(_numbers)
        thread = threading.Thread(
            target=self._main, args=(f"{name}-{number}", function, result, stoppable),
            name=f"distributed-{name}-{number}", daemon=True,
        )  # fmt: skip
        thread.start()
        return result

    def _main(self, key: str, function: Callable[[], Any], result: asyncio.Future[Any], stoppable: Stoppable) -> None:
        context = TaskContext(-1, self._owner)
        context.task = ReadyTask(key, -1, b"", b"", b"", False, None)
        enter(context)
        value: Any = None
        failure: Failure | None = None
        try:
            value = stoppable.call(function)
        except BaseException as error:  # SystemExit too: it is the visitor's, not the thread's
            failure = failure_from_exception(error, with_pickle=isinstance(error, Exception))
        if context.at_end is not None:
            context.end_call()
        try:
            self._loop.call_soon_threadsafe(self._end, result, value, failure)
        except RuntimeError:  # the loop has ended meanwhile: nobody waits
            return

    def _end(self, result: asyncio.Future[Any], value: Any, failure: Failure | None) -> None:
        self._count -= 1
        if result.done():
            return
        if failure is None:
            result.set_result(value)
            return
        error = exception_from_failure(failure, f"the worker {self._owner.address}")
        if isinstance(error, StopIteration) or not isinstance(error, Exception):  # no future takes these
            error = RuntimeError(f"it raised {failure[0]}: {failure[1]}")
        result.set_exception(error)


def _called(call: Serialized) -> Serialized:
    function, args, kwargs = loads_payload(call)
    return to_serialize(finish(function(*args, **kwargs)))


def finish(value: Any) -> Any:
    """`value`, or what a coroutine returns, run to its end on a loop of its own in this thread."""
    return asyncio.run(value) if inspect.iscoroutine(value) else value
