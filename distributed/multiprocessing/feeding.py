"""Feeds the elements of one iterable to the cluster, chunk by chunk, never more than are of use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from itertools import islice
from typing import Any, Protocol

from distributed.client.chunks import Chunks
from distributed.client.packing import PackedFunction
from distributed.client.under_way import ExecutorFuture, UnderWay
from distributed.errors import CancelledError, UnpicklableError
from distributed.multiprocessing.sending import Sender
from distributed.worker.context import wait_lent

__all__ = ["Feed"]


class Sink(Protocol):
    """Where the results of a feed go."""

    def arrive(self, number: int, results: list[Any] | None, error: BaseException | None) -> None:
        """Chunk `number` has ended, with results or with an error."""

    def end(self, total: int) -> None:
        """There are so many chunks in all."""


class Feed:
    """Takes elements only when there is room for them, so that neither they nor their results pile up.

    Args:
        packed: see `Sender.pack`.
        elements: iterated over in the thread that calls `run`.
        is_read: results are read one by one, so there is room only if the reader is not too far behind.
        batch_max: chunks that are taken before they are sent; more than 1 only where no element takes time to come.
    """

    def __init__(
        self,
        sender: Sender,
        under_way: UnderWay,
        packed: tuple[PackedFunction, str],
        elements: Iterator[Any],
        chunks: Chunks,
        sink: Sink,
        is_read: bool = False,
        batch_max: int = 1,
    ) -> None:
        self._sender = sender
        self._under_way = under_way
        self._packed = packed
        self._elements = elements
        self._chunks = chunks
        self._sink = sink
        self._is_read = is_read
        self._batch_max = batch_max
        self._changed = threading.Condition()
        self._futures: dict[int, ExecutorFuture] = {}  # by number of the chunk, those under way
        self._number = 0  # of the next chunk
        self._taken = 0  # chunks that were read
        self._is_cancelled = False

    def run(self) -> None:
        """Feed everything. Raises what iterating raises, after which `cancel` is up to the caller."""
        is_over = False
        while not is_over:
            room = self._wait_room()
            if not room:  # cancelled
                return
            batch: list[tuple[Any, ...]] = []
            try:
                while not is_over and len(batch) < min(room, self._batch_max):
                    elements = tuple(islice(self._elements, self._next_count()))
                    if elements:
                        batch.append(elements)
                    is_over = not elements
            finally:
                is_over = not self._send(batch) or is_over
        self._sink.end(self._number)

    def run_aside(self) -> None:
        """The same in a thread of its own: what iterating raises comes in the place of the chunk."""

        def feed() -> None:
            try:
                self.run()
            except BaseException as error:  # whatever the user's iterable raises
                self._fail(error)
                self._sink.end(self._number)

        threading.Thread(target=feed, name="distributed-pool-feed", daemon=True).start()

    def cancel(self) -> None:
        """Feed no more, and stop what is under way."""
        with self._changed:
            self._is_cancelled = True
            futures = list(self._futures.values())
            self._changed.notify_all()
        self._under_way.cancel(futures)

    def take(self) -> None:
        """The reader has taken a chunk."""
        with self._changed:
            self._taken += 1
            self._changed.notify_all()

    def lift(self) -> None:
        """Nobody reads, or the reader waits for the end of all: do not wait for it."""
        with self._changed:
            self._is_read = False
            self._changed.notify_all()

    # ------------------------------------------------------------ private

    def _room(self) -> int:
        """How many chunks may be sent now."""
        chunks, under_way = self._chunks, len(self._futures)
        room = chunks.window - under_way
        if self._is_read:
            room = min(room, chunks.ahead - (self._number - self._taken))
        return room

    def _wait_room(self) -> int:
        """How many chunks may be sent, waiting until there are some; 0: none ever again."""

        def has_room() -> bool:
            # While much is under way there is no hurry: being woken for each chunk would cost more than the chunk.
            return self._is_cancelled or self._room() >= max(1, len(self._futures) // 4)

        def wait(timeout_s: float | None) -> bool:
            with self._changed:
                return self._changed.wait_for(has_room, timeout_s)

        wait_lent(wait, None)
        with self._changed:
            return 0 if self._is_cancelled else max(1, self._room())

    def _next_count(self) -> int:
        with self._changed:
            return self._chunks.next_count()

    def _send(self, batch: list[tuple[Any, ...]]) -> bool:
        """Whether it makes sense to go on."""
        try:
            sent = self._sender.send_chunks(self._packed, batch)
        except UnpicklableError as error:  # one of them cannot be sent
            if len(batch) > 1:
                return all([self._send([elements]) for elements in batch])
            self._fail(error)
            return True
        except Exception as error:  # the cluster has ended, or the initializer has raised
            self._fail(error)
            return False
        counts = list(map(len, batch))
        with self._changed:
            first, self._number = self._number, self._number + len(batch)
            for number, (future, nbytes) in enumerate(sent, first):
                self._futures[number] = future
                self._chunks.packed(counts[number - first], nbytes)
            is_cancelled = self._is_cancelled
        for number, (future, _) in enumerate(sent, first):
            future.add_done_callback(partial(self._done, number, counts[number - first]))
        if is_cancelled:
            self._under_way.cancel([future for future, _ in sent])
        return True

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            number, self._number = self._number, self._number + 1
        self._sink.arrive(number, None, error)

    def _done(self, number: int, count: int, future: Future[Any]) -> None:
        results: list[Any] | None = None
        error = CancelledError(f"chunk {number} was cancelled") if future.cancelled() else future.exception()
        if error is None:
            seconds, nbytes, results = future.result()
        with self._changed:
            self._futures.pop(number, None)
            if error is None:
                self._chunks.done(count, seconds, nbytes)
            self._changed.notify_all()
        self._sink.arrive(number, results, error)
