"""The methods of a client that reach every worker: run a function there, upload files, register plugins, restart."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from distributed.client.options import named_workers
from distributed.client.part import ClientPart
from distributed.client.session import Session
from distributed.errors import (
    AuthenticationError,
    BadRequestError,
    CommClosedError,
    ConnectTimeoutError,
    EquipmentError,
    UserCodeRefusedError,
)
from distributed.ids import is_key
from distributed.messages.equipment import FILE, PLUGIN
from distributed.protocol.failure import exception_from_failure
from distributed.protocol.serialize import Serialized, loads_payload, to_serialize
from distributed.units import parse_seconds
from distributed.uploads import check_file_name

__all__ = ["EquipmentMethods"]

RESTART_S = 30.0
ANSWER_S = 10.0  # beyond the scheduler's own time, for its answer


class EquipmentMethods(ClientPart):
    """A part of `Client`, see there."""

    # ------------------------------------------------------------ running

    def run(
        self,
        function: Callable[..., Any],
        *args: Any,
        workers: str | Iterable[str] | None = None,
        wait: bool = True,
        nanny: bool = False,
        on_error: str = "raise",
        **kwargs: Any,
    ) -> Any:
        """Call ``function(*args, **kwargs)`` once on every worker, at once, beside its tasks; ``{address: result}``.

        For looking and preparing, not for work: it has a thread of its own there, waits for no slot, and is done once,
        whatever becomes of it. `get_worker` works in it. A coroutine is run to its end.

        Args:
            workers: only these: addresses or names.
            wait: False: return None as soon as all have begun.
            nanny: accepted for users of dask, False only.
            on_error: ``'raise'`` the first error, ``'return'`` errors among the results, or ``'ignore'``: leave
                workers that raised out.
        Raises:
            BadRequestError: no such worker. UserCodeRefusedError: `nanny`. Whatever the function raised.
            CommClosedError, ConnectTimeoutError: a worker is gone. Those out of this client's reach run it through the
                scheduler, and what it raises there arrives as RemoteError if it is none of Python's own.
        """
        if nanny:
            raise UserCodeRefusedError("a nanny")
        if on_error not in ("raise", "return", "ignore"):
            raise ValueError(f"on_error={on_error!r}: use 'raise', 'return' or 'ignore'")
        if not callable(function):
            raise TypeError(f"the first argument is the function to call, not {type(function).__name__}")
        call = to_serialize((function, args, kwargs))
        return self._finish(self._run_everywhere(call, named_workers(workers), wait, on_error))

    def run_on_scheduler(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Refused: a scheduler never loads code that comes over the wire.

        Raises:
            UserCodeRefusedError: always; its text says what to do instead.
        """
        raise UserCodeRefusedError("the scheduler")

    async def _run_everywhere(self, call: Serialized, names: list[str] | None, wait: bool, on_error: str) -> Any:
        session = self._live()
        addresses = await _addresses(session, names)
        answers = await asyncio.gather(
            *(_on_loop(session, _run_on(session, address, call, wait)) for address in addresses),
            return_exceptions=True,
        )
        results: dict[str, Any] = {}
        for address, answer in zip(addresses, answers, strict=True):
            if isinstance(answer, BaseException):
                if on_error == "raise":
                    raise answer
                if on_error == "return":
                    results[address] = answer
            else:
                results[address] = answer
        return results if wait else None

    # ------------------------------------------------------------ equipment

    def upload_file(self, path: str | os.PathLike[str], load: bool = True) -> Any:
        """Give a file to every worker, also to those that join later; returns when all that are there have it.

        Modules (``.py``) and archives of them (``.zip``, ``.egg``, ``.whl``, ``.pyz``) can then be imported by tasks,
        instead of an older version too; other files are found by ``get_worker().equipment.path_of(name)``.

        Args:
            path: of the file; it keeps its name, without its folder.
            load: import a module at once, so that a mistake in it is found now.
        Raises:
            BadRequestError: a name that cannot be used, or too big. OSError: it cannot be read.
            EquipmentError: some workers could not take it in, or import it.
        """
        file = Path(path)
        check_file_name(file.name)
        content = file.read_bytes()
        return self._finish(self._equip(FILE, file.name, to_serialize({"content": content, "load": bool(load)})))

    def register_plugin(self, plugin: Any, name: str | None = None) -> Any:
        """Set a plugin up on every worker, also on those that join later, before their first task.

        Args:
            plugin: with some of the methods of `WorkerPlugin`; it is pickled, each worker has its own.
            name: one of that name is replaced; None: its ``name``, else made from its class and content.
        Returns:
            Its name, for `unregister_plugin`, when every worker has it.
        Raises:
            EquipmentError: it could not be set up on some workers, which go on without it.
            UserCodeRefusedError: it is one for the scheduler.
        """
        if getattr(plugin, "is_for_scheduler", False):
            raise UserCodeRefusedError("the scheduler")
        if not any(callable(getattr(plugin, method, None)) for method in ("setup", "teardown", "transition")):
            raise BadRequestError(f"{type(plugin).__name__} has no setup, teardown or transition: it is no plugin")
        payload = to_serialize(plugin)
        given = name or getattr(plugin, "name", None)
        if given is None:
            given = f"{type(plugin).__name__}-{_digest(payload).hex()[:8]}"
        if not is_key(given):
            raise BadRequestError(f"name={given!r}: a plugin's name is a text of 1 to 1,000 characters")
        return self._finish(self._equip(PLUGIN, given, payload))

    def unregister_plugin(self, name: str) -> Any:
        """Take a plugin from every worker; returns when its ``teardown`` has run there.

        Raises:
            BadRequestError: no such plugin; the text names those there are.
            EquipmentError: its ``teardown`` raised; it is gone all the same.
        """
        return self._finish(self._unplug(name))

    register_worker_plugin = register_plugin
    unregister_worker_plugin = unregister_plugin

    async def _equip(self, kind: str, name: str, payload: Serialized) -> str | None:
        answer = await self._live().ask("add_equipment", kind=kind, name=name, payload=payload)
        _raise_failures(name, answer)
        return name if kind == PLUGIN else None

    async def _unplug(self, name: str) -> None:
        # Asked once: the second time there would be no such plugin any more.
        _raise_failures(name, await self._live().ask("remove_equipment", attempts_max=1, name=name))

    # ------------------------------------------------------------ restarting

    def restart(self, timeout: str | float | None = None) -> Any:
        """Begin anew, for every client: all tasks are cancelled, all data is dropped, every worker process is replaced.

        Files and plugins stay: new processes get them. Workers without a nanny keep their process.

        Args:
            timeout: seconds, or such as ``"1m"``, until the workers are back; None: 30 s.
        Returns:
            ``{'restarted': [addresses], 'kept': [addresses of workers without a nanny]}``.
        Raises:
            TimeoutError: some are not back; the text names them, and they may still come.
        """
        timeout_s = RESTART_S if timeout is None else parse_seconds(timeout, "timeout")
        return self._finish(self._restart(timeout_s))

    async def _restart(self, timeout_s: float) -> Any:
        session = self._live()
        reason = f"{self.name} restarted the cluster"
        with session.table.lock:
            records = list(session.table.records.values())
        if records:  # what is still on its way there must not outlive the restart
            session.cancel(records, False, reason)
            await session.wait_settled_async(records, timeout_s)
        try:
            async with asyncio.timeout(timeout_s + ANSWER_S) as bound:
                return await session.ask("restart", attempts_max=1, reason=reason, timeout_s=timeout_s)
        except TimeoutError:
            if not bound.expired():
                raise
            raise TimeoutError(f"the scheduler did not say within {timeout_s + ANSWER_S:g} s that it is done") from None


async def _addresses(session: Session, names: list[str] | None) -> list[str]:
    """Of the workers of these addresses or names; None: of all."""
    workers = (await session.ask("scheduler_info"))["workers"]
    if names is None:
        return list(workers)
    by_name = {str(about["name"]): address for address, about in workers.items()}
    unknown = [name for name in names if name not in workers and name not in by_name]
    if unknown:
        known = ", ".join(sorted(by_name)[:10]) or "none"
        raise BadRequestError(f"no worker {unknown[0]!r}; there are: {known}")
    return list(dict.fromkeys(name if name in workers else by_name[name] for name in names))


async def _run_on(session: Session, address: str, call: Serialized, wait: bool) -> Any:
    try:
        answer = await session.workers.to(address).call("run", call=call, wait=wait)
    except (ConnectTimeoutError, AuthenticationError):  # it has not begun, so the scheduler, who may reach it, can ask
        session.workers.forget(address)
        answer = await session.ask("run_on", attempts_max=1, worker=address, call=call, wait=wait)
    except CommClosedError:
        session.workers.forget(address)
        raise
    return loads_payload(answer) if wait else None


async def _on_loop(session: Session, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of `coroutine`, run on the session's loop, whichever this is."""
    if asyncio.get_running_loop() is session.loop:
        return await coroutine
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, session.loop))


def _digest(payload: Serialized) -> bytes:
    digest = blake2b(digest_size=16)
    for frame in payload.frames:
        digest.update(frame)
    return digest.digest()


def _raise_failures(name: str, answer: Any) -> None:
    failures = {
        address: exception_from_failure(failure, f"the worker {address}")
        for address, failure in answer["failures"].items()
    }
    if failures:
        raise EquipmentError(name, failures) from next(iter(failures.values()))
