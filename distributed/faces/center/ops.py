"""The plain ops of a center: what members tell it, what anyone asks, and what it passes on to all.

Answers are ``'OK'`` or ``'Address not found: ...'``; addresses are accepted in every spelling and told in the canonical
one. Not here: how it is kept (`book`), and what the engine's own workers say (`distributed.scheduler.server`).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

from distributed.calls import rpc
from distributed.comm.addresses import parse_address
from distributed.core import error_message
from distributed.errors import BadRequestError, PermissionDeniedError
from distributed.faces.center.book import CenterBook, Member
from distributed.ids import is_key
from distributed.scheduler import snapshot
from distributed.scheduler.checking import services_of
from distributed.scheduler.state import SchedulerState
from distributed.security.permissions import CLIENT, WORKER, may_call

__all__ = ["CenterOps"]

logger = logging.getLogger(__name__)

CORES_MAX = 100_000
PASSED_ON_MAX = 64  # workers that are asked at once
CONNECT_S = 3.0
PATIENCE_S = 30.0  # for the answer of one worker


class CenterOps:
    """The handlers, over the book and the engine's state, which they only read.

    Args:
        services: those that a worker of the engine has told, by name, given its address.
    """

    def __init__(self, state: SchedulerState, services: Callable[[str], dict[str, int]]) -> None:
        self.book = CenterBook()
        self._state = state
        self._services = services

    # ------------------------------------------------------------ members

    def register(
        self,
        stream: Any,
        address: Any,
        keys: Sequence[str] = (),
        ncores: int = 1,
        services: dict[str, int] | None = None,
    ) -> str:
        """Declare a member: told to everybody who asks, given no tasks. Again: it begins anew.

        Args:
            address: where it serves ``get_data`` and ``delete_data``, in any spelling.
            keys: what lies there.
            ncores: tasks that it can run at once, >= 1.
            services: its ports by name, such as ``{'http': 8080}``.
        Raises:
            BadRequestError: a field makes no sense, or a worker of the engine is at the address.
            CoordinationLimitError: too many members or keys.
        """
        place = _address(address)
        if place in self._state.workers:
            raise BadRequestError(f"{place} is a worker of this center already: it has registered as one")
        if type(ncores) is not int or not 1 <= ncores <= CORES_MAX:
            raise BadRequestError(f"ncores={ncores!r}: 1 to {CORES_MAX:,}")
        self.book.register(place, Member(ncores, services_of(services)), _keys(keys))
        logger.info("register %s", place)
        return "OK"

    def unregister(self, stream: Any, address: Any) -> str:
        """A member leaves; what lies there is forgotten. ``'OK'`` or ``'Address not found: ...'``.

        Raises:
            BadRequestError: it is a worker of the engine, which tells its leaving itself.
        """
        place = _address(address)
        if place in self._state.workers:
            raise BadRequestError(f"{place} runs tasks: let it go with retire_workers, or ask itself to terminate")
        if not self.book.forget(place):
            return _not_found(place)
        logger.info("unregister %s", place)
        return "OK"

    def add_keys(self, stream: Any, address: Any, keys: Sequence[str] = ()) -> str:
        """These keys lie at that address now. Errors as `register`."""
        place, names = _address(address), _keys(keys)
        if not self._is_known(place):
            return _not_found(place)
        self.book.add_keys(place, names)
        return "OK"

    def remove_keys(self, stream: Any, address: Any, keys: Sequence[str] = ()) -> str:
        """These keys do not lie at that address any more; unknown ones are no error."""
        place, names = _address(address), _keys(keys)
        if not self._is_known(place):
            return _not_found(place)
        self.book.remove_keys(place, names)
        return "OK"

    def _is_known(self, address: str) -> bool:
        return address in self.book.members or address in self._state.workers

    # ------------------------------------------------------------ asking

    def who_has(self, stream: Any, keys: list[str] | None = None) -> dict[str, list[str]]:
        """Addresses by key, of all keys or of these; unknown ones have an empty list.

        A key of the engine's is told as the engine has it: what others keep under the same name is other data.
        """
        told = self.book.addresses_by_key
        names = dict.fromkeys((*self._state.tasks, *told) if keys is None else _keys(keys))
        answer = snapshot.who_has(self._state, names)
        for key in names:
            if key not in self._state.tasks:
                answer[key] = list(told.get(key, ()))
        return answer

    def has_what(self, stream: Any, workers: Any = None, keys: Any = None) -> dict[str, list[str]]:
        """Keys by address, of all workers and members or of these (`keys` is the old name for `workers`)."""
        asked = workers if workers is not None else keys
        places = {**self._state.workers, **self.book.members} if asked is None else [_address(one) for one in asked]
        answer = snapshot.has_what(self._state, places)
        return {
            place: list(dict.fromkeys((*held, *self.book.keys_by_address.get(place, ()))))
            for place, held in answer.items()
        }

    def ncores(self, stream: Any, workers: Any = None, addresses: Any = None) -> dict[str, int]:
        """Cores by address, of all workers and members or of these; unknown ones are left out."""
        asked = workers if workers is not None else addresses
        told = {address: member.ncores for address, member in self.book.members.items()}
        answer = {**told, **snapshot.ncores(self._state)}
        if asked is None:
            return answer
        places = [_address(one) for one in asked]
        return {place: answer[place] for place in places if place in answer}

    def worker_services(self, stream: Any, service: str | None = None) -> dict[str, Any]:
        """Ports of services: ``{address: {name: port}}``, or ``{address: port}`` of those that have `service`."""
        told = {address: self._services(address) for address in self._state.workers}
        told.update((address, dict(member.services)) for address, member in self.book.members.items())
        if service is None:
            return told
        return {address: services[service] for address, services in told.items() if service in services}

    # ------------------------------------------------------------ to all

    async def delete_data(self, stream: Any, keys: Sequence[str], report: bool = False) -> str:
        """Forget keys, and have those who hold them drop them; unknown ones are no error.

        Raises:
            BadRequestError: some are results or data of the engine, which go when nobody wants them; nothing happens.
        """
        names = _keys(keys)
        engines = [key for key in names if key in self._state.tasks]
        if engines:
            raise BadRequestError(
                f"{', '.join(engines[:3])}: held for clients of this center; delete the RemoteData, or release the "
                "future, and it goes when nobody wants it"
            )
        holders = self.book.delete_keys(names)
        answers = await self._ask_all(
            {holder: {"op": "delete_data", "keys": held, "report": False} for holder, held in holders.items()},
            PATIENCE_S,
        )
        for holder, answer in answers.items():
            if isinstance(answer, dict) and answer.get("status") == "error":
                logger.warning("%s may keep %d deleted keys: %s", holder, len(holders[holder]), answer["text"])
        return "OK"

    async def broadcast(
        self, stream: Any, msg: dict[str, Any], workers: Any = None, timeout: float = PATIENCE_S
    ) -> dict[str, Any]:
        """Send one request to all workers and members, or to these: ``{address: answer}``.

        Args:
            msg: such as ``{'op': 'health'}``, with the keywords of the op.
            timeout: seconds for each answer. Whoever fails has ``{'status': 'error', 'type', 'text', ...}`` for one.
        Raises:
            BadRequestError: no request. PermissionDeniedError: the caller may not call that op.
        """
        if not isinstance(msg, dict) or not isinstance(msg.get("op"), str) or msg["op"] == "close":
            raise BadRequestError("broadcast: msg is a dict with an 'op', and its keywords")
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
            raise BadRequestError(f"timeout={timeout!r}: seconds, > 0")
        if not may_call(stream.peer.role, msg["op"]):
            raise PermissionDeniedError(msg["op"], stream.peer.role)
        everybody = {**self._state.workers, **self.book.members}
        places = everybody if workers is None else [_address(one) for one in workers]
        unknown = [place for place in places if place not in everybody]
        if unknown:
            raise BadRequestError(f"{', '.join(unknown[:3])}: no worker and no member is there")
        return await self._ask_all(dict.fromkeys(places, msg), timeout)

    async def _ask_all(self, requests: dict[str, dict[str, Any]], timeout_s: float) -> dict[str, Any]:
        """The answer, or the error message, of everybody who is asked something."""
        turns = asyncio.Semaphore(PASSED_ON_MAX)

        async def one(address: str, request: dict[str, Any]) -> Any:
            async with turns:
                return await _answer_of(address, request, timeout_s)

        answers = await asyncio.gather(*(one(*entry) for entry in requests.items()))
        return dict(zip(requests, answers, strict=True))


async def _answer_of(address: str, request: dict[str, Any], timeout_s: float) -> Any:
    op = request["op"]
    keywords = {name: value for name, value in request.items() if name not in ("op", "reply", "close")}
    # As a worker where that is enough: who was given the key of workers only could not check that we are a client.
    role = WORKER if may_call(WORKER, op) else CLIENT
    bound: asyncio.Timeout | None = None
    try:
        async with rpc(address, timeout=CONNECT_S, role=role, may_unpickle=False, patient=False) as peer:
            async with asyncio.timeout(timeout_s) as bound:
                return await peer.call(op, **keywords)
    except TimeoutError as error:
        text = f"{address} did not answer {op} within {timeout_s:g} s"
        return error_message(TimeoutError(text) if bound is not None and bound.expired() else error)
    except Exception as error:  # it is out of reach, or its handler raised: that is the answer of this one
        return error_message(error)


def _not_found(address: str) -> str:
    return f"Address not found: {address}"


def _address(value: Any) -> str:
    return str(parse_address(value))


def _keys(keys: Any) -> list[str]:
    if not isinstance(keys, (list, tuple)) or not all(is_key(key) for key in keys):
        raise BadRequestError("keys is a list of texts of 1 to 1,000 characters")
    return list(keys)
