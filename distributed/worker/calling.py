"""How one task is called: load function and arguments, call, measure and pickle. Whatever happens is an `Outcome`.

The code of users runs in `Caller._call` and, as far as their classes have methods for it, in loading, measuring and
pickling.
Not here: threads and the order of tasks (`execute`), what the code may ask about itself (`context`).
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from time import perf_counter
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from distributed.errors import FunctionLoadError, UnpicklableError
from distributed.messages import DEFAULT_OPTIONS, Failure, Payload
from distributed.protocol.failure import OWN_FOLDER, failure_from_exception
from distributed.protocol.serialize import TaskRef, dumps_payload, loads_payload, payload_nbytes
from distributed.worker.actors import housed
from distributed.worker.context import TaskContext
from distributed.worker.effects import ReadyTask
from distributed.worker.events import Outcome
from distributed.worker.functions import Functions
from distributed.worker.interrupts import Interrupts
from distributed.worker.limits import TaskLimits
from distributed.worker.loading import in_turn
from distributed.worker.sizes import nbytes_of
from distributed.worker.spill import SpillReadError
from distributed.worker.store import Store

__all__ = ["INLINE_NBYTES_MAX", "Caller", "replace_refs"]

logger = logging.getLogger(__name__)

INLINE_NBYTES_MAX = 16 * 1024  # estimated size up to which a wanted result is pickled to ride inline
PAYLOAD_NBYTES_MAX = 4 * INLINE_NBYTES_MAX  # its pickle may be bigger than estimated, but not out of all proportion

_UNFINISHED = frozenset({GeneratorType, CoroutineType, AsyncGeneratorType})  # calls whose code is still to run
_PLAIN = frozenset({int, float, bool, str, type(None)})  # plain pickle does it, without looking for buffers


class Caller:
    """Calls tasks, in any thread.

    Args:
        store: where dependencies are read.
        address: this worker, for the texts of errors.
        run_async: the result of a coroutine or an async generator, see `AsyncTasks.run`.
        interrupts: told of every call.
        dress: see `Functions`.
    """

    def __init__(
        self,
        store: Store,
        address: str,
        run_async: Callable[[TaskContext, Any], Any],
        interrupts: Interrupts,
        dress: Callable[[Any], Any] | None = None,
    ) -> None:
        self.functions = Functions(dress=dress)
        self._interrupts = interrupts
        self._run_async = run_async
        self._store = store
        self._address = address

    def run(self, context: TaskContext, task: ReadyTask, limits: TaskLimits | None = None) -> Outcome:
        """How it ended. Never raises, whatever the code of the user does."""
        context.task = task
        started = perf_counter()
        try:
            missing: list[str] | None = None
            values: dict[str, Any] = {}
            if task.dependencies and (missing := self._read(task.dependencies, values)):
                outcome = Outcome(task.key, task.ticket, None, 0, None, 0.0, None, missing)
            else:
                try:
                    function = self.functions.find(task.digest)
                    if function is not None:
                        args, kwargs = loads_payload(task.arguments)
                    else:
                        with in_turn():
                            function = self.functions.get(task.digest, task.function)
                            args, kwargs = loads_payload(task.arguments)
                except FunctionLoadError:  # it says itself what is missing, and how to mend it
                    raise
                except Exception as error:
                    what = f"the function or an argument of {task.key}"
                    raise self._load_error(what, error) from _users_part(error)
                if values:
                    args, kwargs = replace_refs(args, values), replace_refs(kwargs, values)
                if limits is None:
                    value = self._call(context, task, function, args, kwargs)
                else:
                    value = self._call_limited(context, task, limits, function, args, kwargs)
                duration_s = perf_counter() - started
                if context.lent_s:
                    duration_s, context.lent_s = max(0.0, duration_s - context.lent_s), 0.0
                if task.options.actor:
                    outcome = housed(task, value, self._address, duration_s)
                else:
                    nbytes = nbytes_of(value)
                    payload = _inline(task.key, value) if task.wanted and nbytes <= INLINE_NBYTES_MAX else None
                    outcome = Outcome(task.key, task.ticket, value, nbytes, payload, duration_s)
        except BaseException as error:  # SystemExit and KeyboardInterrupt too: they are the task's, not the thread's
            duration_s, context.lent_s = max(0.0, perf_counter() - started - context.lent_s), 0.0
            outcome = Outcome(task.key, task.ticket, None, 0, None, duration_s, _failure(error))
        if context.at_end is not None:
            context.end_call()
        context.task = None
        return outcome

    def _call(self, context: TaskContext, task: ReadyTask, function: Any, args: Any, kwargs: Any) -> Any:
        """The code of the user and nothing else: whoever interrupts a task does so in here, see `interrupts`."""
        interrupts, slot = self._interrupts, context.slot
        running, wanted = interrupts.running, interrupts.wanted
        outer = running[slot]
        try:
            if task.options is not DEFAULT_OPTIONS and task.options.timeout_s:
                interrupts.limit(context, task)
            running[slot] = task.ticket
            if wanted:
                interrupts.check(task.ticket)
            value = function(*args, **kwargs)
            if type(value) in _UNFINISHED:
                value = list(value) if type(value) is GeneratorType else self._run_async(context, value)
            running[slot] = outer
            if not wanted:
                return value
            interrupts.leave(slot, outer)
            late = interrupts.error(task)
        except BaseException as raised:
            interrupts.leave(slot, outer)
            late = interrupts.error(task)
            if late is None:
                raise
            late.__traceback__ = raised.__traceback__  # it shows where the code was
        if late is not None:
            try:
                raise late
            finally:
                del late  # or error and frame would hold each other, and all that the code of the user had
        return value

    def _call_limited(
        self, context: TaskContext, task: ReadyTask, limits: TaskLimits, function: Any, args: Any, kwargs: Any
    ) -> Any:
        """The result of the call.

        Raises:
            MemoryLimitExceeded: it took too much, whether it ended by itself or was interrupted.
        """
        watch = context.watch = limits.begin(task.key, task.options.memory_limit_nbytes)
        try:
            try:
                value = self._call(context, task, function, args, kwargs)
            finally:
                watch.end()
        except BaseException:
            watch.end()  # the exception may have come in the middle of the first one
            if watch.is_over:
                raise watch.error() from None
            raise
        finally:
            context.watch = None
        if watch.is_over:
            raise watch.error()
        return value

    def _read(self, keys: list[str], values: dict[str, Any]) -> list[str]:
        """Fill `values` with the results of `keys`; the answer is what is missing."""
        missing = []
        for key in keys:
            try:
                values[key] = self._store.get(key)
            except UnpicklableError:
                raise  # a peer could not send it, and says so
            except SpillReadError:  # it is lost; another worker may have it, or it is computed again
                logger.exception("the result of %s is lost", key)
                missing.append(key)
            except Exception as error:
                if key in self._store:
                    raise self._load_error(f"the argument {key}", error) from _users_part(error)
                missing.append(key)
        return missing

    def _load_error(self, name: str, error: Exception) -> FunctionLoadError:
        _, text, _, _ = failure_from_exception(error, with_pickle=False)
        return FunctionLoadError(name, self._address, f"{type(error).__name__}: {text}")


def replace_refs(value: Any, values: dict[str, Any]) -> Any:
    """`value` with the result for every `TaskRef` in it, at any depth of list, tuple, set and dict (not its keys).

    Raises:
        KeyError: a reference to a key that is not in `values`.
    """
    kind = type(value)
    if kind is TaskRef:
        return values[value.key]
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return kind([replace_refs(entry, values) for entry in value])
    if kind is dict:
        return {name: replace_refs(entry, values) for name, entry in value.items()}
    return value


def _inline(key: str, value: Any) -> Payload:
    """The pickled result, None if it is bigger than it seemed.

    Raises:
        UnpicklableError: it cannot be pickled; names key and type.
    """
    if type(value) in _PLAIN:
        return pickle.dumps(value, 5)
    try:
        payload = dumps_payload(value)
    except UnpicklableError as error:
        raise UnpicklableError(f"the result of {key}", error.type_name, error.reason) from None
    return payload if payload_nbytes(payload) <= PAYLOAD_NBYTES_MAX else None


def _failure(error: BaseException) -> Failure:
    try:
        # SystemExit and its like must not be raised again where the result is asked for: no pickle, so a RemoteError.
        return failure_from_exception(_users_part(error), with_pickle=isinstance(error, Exception))
    except BaseException as broken:  # a method of the exception raised SystemExit
        name = type(error).__qualname__
        return [name, f"<describing this {name} raised {type(broken).__qualname__}>", "", None]


def _users_part(error: BaseException) -> BaseException:
    """`error` with a traceback that begins where the code of the user does; an empty one if it never got there."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(OWN_FOLDER):
        trace = trace.tb_next
    return error.with_traceback(trace)
