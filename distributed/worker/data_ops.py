"""Data between workers and clients: what a worker gives, takes, and fetches from its peers."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from distributed.errors import (
    AuthenticationError,
    BadRequestError,
    CommClosedError,
    ConnectTimeoutError,
    PeerBusyError,
)
from distributed.ids import is_key
from distributed.protocol.serialize import Serialized, payload_nbytes
from distributed.worker.events import DataFetched, DataPut, FetchBusy, FetchFailed
from distributed.worker.giving import Answers
from distributed.worker.peers import BigAnswers, Peers
from distributed.worker.store import Packed

__all__ = ["DataOps"]

logger = logging.getLogger(__name__)


class DataOps:
    """For one worker: the `Worker` whose machine, driver and memory it uses."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self.peers = Peers()
        self._answers = Answers(worker.store)
        self._big_answers = BigAnswers(lambda: str(worker.address))

    async def fetch(self, address: str, keys: list[str]) -> None:
        """Do what the effect `Fetch` asks for."""
        try:
            answer = await self.peers.ask(address, keys, or_busy=True)
            copies = self._worker.machine.state.copies
            ordered = {key for key in keys if key in copies and copies[key].ordered}  # perhaps the only ones, soon
            values = {key: Packed(payload, key in ordered) for key, payload in answer.items() if key in keys}
            nbytes = {key: payload_nbytes(answer[key]) for key in values}
        except (CommClosedError, ConnectTimeoutError, AuthenticationError) as error:
            self._worker.driver.handle(FetchFailed(address, keys, str(error)))
        except PeerBusyError:
            self._worker.driver.handle(FetchBusy(address))
        except Exception as error:  # the peer answered nonsense: for the task it is the same as no answer
            logger.exception("fetching from %s failed", address)
            self._worker.driver.handle(FetchFailed(address, keys, str(error)))
        else:
            self._worker.driver.handle(DataFetched(address, values, nbytes, [key for key in keys if key not in values]))
            self._worker.memory.rescue.put(
                {key: value for key, value in values.items() if key in ordered}, self._worker.store
            )

    async def get_data(self, stream: Any, keys: list[str], or_busy: bool = False) -> dict[str, Any]:
        """Results by key, pickled; keys that are not here are left out, and so are those too many for one message.

        Whoever gets an answer asks again for the rest, until an answer is empty.

        Raises:
            PeerBusyError: too many are being given big data, and this caller can come again, ``or_busy``.
        """
        nbytes = sum(self._worker.machine.state.memory.get(key, 0) for key in keys)
        with self._big_answers.place(stream, nbytes, or_busy):
            return await asyncio.get_running_loop().run_in_executor(None, self._answers.payloads, keys)

    def put_data(self, stream: Any, client: str, data: dict[str, Serialized]) -> dict[str, int]:
        """Keep what a client scatters; sizes by key. The scheduler hears of it from us."""
        if not is_key(client) or not all(is_key(key) and isinstance(value, Serialized) for key, value in data.items()):
            raise BadRequestError("put_data: client and keys are texts, and values are wrapped, to_serialize(value)")
        if self._worker.status != "running":  # nobody would hear of the data, and nobody could have it dropped
            raise CommClosedError(
                self._worker.address, "this worker has lost its scheduler and takes no data meanwhile"
            )
        values = {key: Packed(value, is_original=True) for key, value in data.items()}
        nbytes = {key: value.nbytes for key, value in data.items()}
        self._worker.driver.handle(DataPut(client, values, nbytes))
        self._worker.memory.rescue.put(values, self._worker.store)
        return nbytes

    async def close(self) -> None:
        """End the connections with peers."""
        await self.peers.close()
