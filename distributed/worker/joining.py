"""How a worker finds its scheduler (it connects, introduces itself, and waits until somebody is there) and tells it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from distributed.calls import exchange
from distributed.comm.connect import connect_address
from distributed.comm.stream import Stream
from distributed.errors import CommClosedError, ConnectTimeoutError, DistributedError, MessageTooLargeError
from distributed.messages import Message
from distributed.security.keys import Keyring
from distributed.security.permissions import WORKER
from distributed.wire import halves

__all__ = ["join", "send"]

logger = logging.getLogger(__name__)

CONNECT_S = 3.0  # one round of attempts to reach the scheduler
REGISTER_S = 2 * CONNECT_S  # with the scheduler's answer
REPEAT_S = 10.0  # how often a worker that waits for its scheduler says so
PAUSE_S = 0.1  # between rounds that ended early


async def join(
    scheduler: str, keys: Keyring | None, introduction: Callable[[], dict[str, Any]], is_closed: Callable[[], bool]
) -> Stream | None:
    """A stream to the scheduler on which it has accepted us; tries until the scheduler is there, and says so.

    Args:
        introduction: makes the request ``register_worker``, with a new incarnation for each attempt.
        is_closed: whether this is not wanted any more.
    Returns:
        None when `is_closed` came first.
    Raises:
        AuthenticationError: it has another key. NameTakenError, BadRequestError: it does not want us.
    """
    waited, next_word = 0.0, 0.0
    while not is_closed():
        try:
            stream = await _join_once(scheduler, keys, introduction)
        except (ConnectTimeoutError, CommClosedError) as error:
            waited += CONNECT_S
            if waited >= next_word:
                logger.warning("waiting for the scheduler at %s: %s", scheduler, _reason(error))
                next_word = waited + REPEAT_S
            await asyncio.sleep(PAUSE_S)
            continue
        if not is_closed():
            return stream
        stream.close()
    return None


def send(stream: Stream, message: Message) -> None:
    """Tell the scheduler, in parts if it is too much for one message; nothing if it is gone, the stream tells of that.

    Raises:
        MessageTooLargeError: what is about a single task is too much.
    """
    if stream.closed():
        return
    try:
        stream.write_plain_nowait(message.to_wire())
    except CommClosedError:
        return  # it closed just now
    except MessageTooLargeError:
        parts = halves(message)
        if not parts:
            raise
        for part in parts:
            send(stream, part)


async def _join_once(scheduler: str, keys: Keyring | None, introduction: Callable[[], dict[str, Any]]) -> Stream:
    try:
        async with asyncio.timeout(REGISTER_S):
            stream = await connect_address(scheduler, CONNECT_S, WORKER, keys)
            try:
                await exchange(stream, introduction())
            except BaseException:
                stream.close()
                raise
            return stream
    except TimeoutError as error:
        if isinstance(error, ConnectTimeoutError):
            raise
        raise ConnectTimeoutError(scheduler, REGISTER_S, "it does not answer") from None


def _reason(error: DistributedError) -> str:
    return str(getattr(error, "reason", error))
