"""A client's connection with its scheduler, the records of its keys, and how threads and coroutines wait for them.

The session lives on one loop; users may call from any thread. What they submit goes into an outbox in order, and leaves
in batches: one wake-up of the loop, one message, however many calls were made meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from distributed.calls import rpc
from distributed.client.gathering import fetch
from distributed.client.outbox import Outbox, Task
from distributed.client.records import KeyRecord, Latch, Status
from distributed.comm.stream import Stream
from distributed.errors import (
    CancelledError,
    CommClosedError,
    DistributedError,
    LostDataError,
    ProtocolError,
)
from distributed.messages import (
    SCHEDULER,
    CancelKeys,
    KeysCancelled,
    KeysDone,
    KeysFailed,
    KeysLost,
    Message,
    Payload,
    ReleaseKeys,
    ServerClosing,
    SubmitTasks,
    from_wire,
)
from distributed.protocol.failure import exception_from_failure
from distributed.protocol.serialize import loads_payload
from distributed.versions import all_versions, warn_of_mismatch

__all__ = ["Session"]

logger = logging.getLogger(__name__)


class Session:
    """See the module. Make it on its loop, then `start` it with the stream of a registered client.

    Attributes:
        client: whoever made it, for `Future.client`.
        asynchronous: waiting methods return awaitables.
    """

    def __init__(self, client: Any, loop: asyncio.AbstractEventLoop, asynchronous: bool) -> None:
        self.client = client
        self.asynchronous = asynchronous
        self.loop = loop
        self._thread = threading.get_ident()
        self.records: dict[str, KeyRecord] = {}
        self.lock = threading.Lock()  # of records, their holders and waiters, and the order of the outbox
        self.scheduler: rpc | None = None
        self._workers: dict[str, rpc] = {}
        self._stream: Stream | None = None
        self._outbox = Outbox()
        self._released: deque[Sequence[str]] = deque()
        self._awake = False
        self._callbacks: ThreadPoolExecutor | None = None
        self._end: DistributedError | None = None  # why nothing can be asked any more
        self._handlers: dict[type, Callable[[Any], None]] = {
            KeysDone: self._on_done,
            KeysFailed: self._on_failed,
            KeysCancelled: self._on_cancelled,
            KeysLost: self._on_lost,
            ServerClosing: self._on_server_closing,
        }

    def start(self, stream: Stream) -> None:
        """Begin; on the loop."""
        self._stream = stream
        self.scheduler = rpc(stream.peer.address)
        stream.set_close_callback(self._on_close)
        stream.set_message_handler(self._on_message)

    async def close(self) -> None:
        """Send what is waiting and end; on the loop. Futures not decided become CommClosedError."""
        self._finish(CommClosedError(self.scheduler_address, "this client was closed"))
        if self._stream is not None and not self._stream.closed():
            self._flush()
            await self._stream.close_after_flush()
        for link in (self.scheduler, *self._workers.values()):
            if link is not None:
                await link.close()
        if self._callbacks is not None:
            self._callbacks.shutdown(wait=False)

    def is_open(self) -> bool:
        """Whether there is somebody to ask."""
        return self._end is None

    @property
    def scheduler_address(self) -> str:
        """Canonical address of the scheduler."""
        return self._stream.peer.address if self._stream is not None else "the scheduler"

    async def ask(self, op: str, **keywords: Any) -> Any:
        """Call an op of the scheduler, from any loop; errors as `rpc`."""
        if asyncio.get_running_loop() is not self.loop:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.ask(op, **keywords), self.loop))
        self._check_open()
        assert self.scheduler is not None
        return await self.scheduler.call(op, **keywords)

    async def versions(self, check: bool) -> dict[str, Any]:
        """Versions of everybody, see `Client.get_versions`; from any loop."""
        if asyncio.get_running_loop() is not self.loop:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.versions(check), self.loop))
        addresses = list(await self.ask("ncores"))
        scheduler, *workers = await asyncio.gather(
            self.ask("versions"), *(self.worker(address).versions() for address in addresses)
        )
        found = {"client": all_versions(), "scheduler": scheduler, "workers": dict(zip(addresses, workers, strict=True))}
        if check:
            warn_of_mismatch({"the client": found["client"], "the scheduler": scheduler, **found["workers"]})
        return found

    # ------------------------------------------------------------ what users hold

    def hold(self, key: str) -> KeyRecord:
        """One more holder of a key that is known here."""
        with self.lock:
            record = self.records[key]
            record.holders += 1
            return record

    def release(self, keys: Sequence[str]) -> None:
        """One holder of each of `keys` is gone. From any thread, even inside garbage collection: takes no lock."""
        self._released.append(keys)
        self._wake()

    def submit(self, tasks: Sequence[Task], functions: dict[bytes, Payload], held: bool = True) -> list[KeyRecord]:
        """Queue tasks for the scheduler; each key gets one holder more (unless not `held`: nobody here wants it).

        A key that is known here already is not sent again.

        Raises:
            CommClosedError: the client or the scheduler is closed.
        """
        records: list[KeyRecord] = []
        with self.lock:
            self._check_open()
            known, outbox = self.records, self._outbox
            outbox.add_functions(functions)
            for task in tasks:
                key = task[1]
                if not held or not task[0].wanted:
                    outbox.append(task)
                    continue
                record = known.get(key)
                if record is None:
                    record = known[key] = KeyRecord(key)
                    outbox.append(task)
                else:
                    record.holders += 1
                    if record.status is Status.CANCELLED or record.status is Status.LOST:
                        outbox.append(task)  # the scheduler has forgotten it: asking again means computing it
                        record.status = Status.PENDING
                records.append(record)
        self._wake()
        return records

    def want(self, key: str) -> KeyRecord:
        """A holder of a key whose data is on its way to a worker; the scheduler will say when it is there."""
        with self.lock:
            self._check_open()
            record = self.records.get(key)
            if record is not None:
                record.holders += 1
                return record
            record = self.records[key] = KeyRecord(key)
        return record

    def cancel(self, keys: list[str], force: bool, reason: str | None) -> None:
        """Ask the scheduler to cancel; the records settle when it answers."""
        with self.lock:
            self._check_open()
            self._outbox.append(CancelKeys(keys, force, reason))
        self._wake()

    # ------------------------------------------------------------ waiting

    def run_or_await(self, now: Callable[[], Any], later: Callable[[], Awaitable[Any]]) -> Any:
        """The result of `now`, or the awaitable of `later` for an asynchronous client."""
        return later() if self.asynchronous else now()

    def add_waiter(self, record: KeyRecord, waiter: Callable[[KeyRecord], Any]) -> None:
        """Call ``waiter(record)`` on the loop when it settles; here and now if it has."""
        with self.lock:
            if record.status is Status.PENDING:
                if record.waiters is None:
                    record.waiters = []
                record.waiters.append(waiter)
                return
        waiter(record)

    def latch(self, records: Iterable[KeyRecord], until_first: bool = False) -> Latch:
        """Opens when all `records` have settled, or the first."""
        with self.lock:
            pending = [record for record in records if record.status is Status.PENDING]
            latch = Latch(len(pending), until_first)
            for record in pending:
                if record.waiters is None:
                    record.waiters = []
                record.waiters.append(latch.settle)
        return latch

    def wait_settled(self, records: Sequence[KeyRecord], timeout_s: float | None) -> None:
        """Block until all are decided. Raises TimeoutError."""
        if len(records) == 1 and records[0].status is not Status.PENDING:
            return
        self._refuse_on_loop()
        if not self.latch(records).wait(timeout_s):
            raise TimeoutError(_overdue(records, timeout_s))

    async def wait_settled_async(self, records: Sequence[KeyRecord], timeout_s: float | None) -> None:
        """`wait_settled` for coroutines, on any loop."""
        pending = [record for record in records if record.status is Status.PENDING]
        if not pending:
            return
        loop = asyncio.get_running_loop()
        opened = loop.create_future()
        left = len(pending)

        def settle(record: KeyRecord) -> None:
            nonlocal left
            left -= 1
            if not left:
                loop.call_soon_threadsafe(_open, opened)

        for record in pending:
            self.add_waiter(record, settle)
        try:
            await asyncio.wait_for(opened, timeout_s)
        except TimeoutError:
            raise TimeoutError(_overdue(records, timeout_s)) from None

    # ------------------------------------------------------------ values

    def value_now(self, record: KeyRecord, timeout_s: float | None) -> Any:
        """The result of a settled record, fetched from a worker when it did not come along."""
        error = self.error_of(record)
        if error is not None:
            raise error
        if record.payload is not None:
            return loads_payload(record.payload)
        return self.run(self.fetch([record]), timeout_s)[0]

    async def value_async(self, record: KeyRecord) -> Any:
        """`value_now` for coroutines."""
        error = self.error_of(record)
        if error is not None:
            raise error
        if record.payload is not None:
            return loads_payload(record.payload)
        return (await self.fetch([record]))[0]

    def error_of(self, record: KeyRecord) -> BaseException | None:
        """Why a settled record has no result; None: it has one."""
        if record.status is Status.ERROR:
            assert record.failure is not None
            return exception_from_failure(record.failure, f"the worker that ran {record.key}")
        if record.status is Status.CANCELLED:
            return CancelledError(f"{record.key}: {record.reason or 'cancelled'}")
        if record.status is Status.LOST:
            return self._end or LostDataError(record.key)
        return None

    def values_now(self, records: Sequence[KeyRecord], skip_errors: bool) -> dict[str, Any]:
        """Results of settled records by key. Raises the first error, or leaves failed ones out."""
        values, missing = self._values_here(records, skip_errors)
        if missing:
            fetched = self.run(self.fetch(missing))
            values.update((record.key, value) for record, value in zip(missing, fetched, strict=True))
        return values

    async def values_async(self, records: Sequence[KeyRecord], skip_errors: bool) -> dict[str, Any]:
        """`values_now` for coroutines."""
        values, missing = self._values_here(records, skip_errors)
        if missing:
            fetched = await self.fetch(missing)
            values.update((record.key, value) for record, value in zip(missing, fetched, strict=True))
        return values

    def _values_here(self, records: Sequence[KeyRecord], skip: bool) -> tuple[dict[str, Any], list[KeyRecord]]:
        values: dict[str, Any] = {}
        missing: list[KeyRecord] = []
        for record in records:
            if record.status is Status.FINISHED:
                if record.payload is None:
                    missing.append(record)
                else:
                    values[record.key] = loads_payload(record.payload)
            elif not skip:
                error = self.error_of(record)
                if error is not None:
                    raise error
                missing.append(record)  # lost since it settled, and computed again
        return values, missing

    async def fetch(self, records: Sequence[KeyRecord]) -> list[Any]:
        """Results that stayed on workers, in order; from any loop."""
        if asyncio.get_running_loop() is self.loop:
            return await fetch(self, records)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(fetch(self, records), self.loop))

    def worker(self, address: str) -> rpc:
        """The connection with a worker; on the loop."""
        if address not in self._workers:
            self._workers[address] = rpc(address)
        return self._workers[address]

    def run(self, coroutine: Any, timeout_s: float | None = None) -> Any:
        """Run a coroutine on the loop and wait for it in this thread. Raises TimeoutError."""
        self._refuse_on_loop(coroutine)
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(timeout_s)
        except BaseException:
            future.cancel()
            raise

    def call_back(self, callback: Callable[..., object], future: Any) -> None:
        """Run a user's callback in the thread that is there for them."""
        if self._callbacks is None:
            self._callbacks = ThreadPoolExecutor(1, thread_name_prefix="distributed-callbacks")
        self._callbacks.submit(_call_back, callback, future)

    # ------------------------------------------------------------ sending, on the loop

    def _wake(self) -> None:
        if self._awake:
            return
        self._awake = True
        try:
            self.loop.call_soon_threadsafe(self._flush)
        except RuntimeError:  # the loop has ended, as it may before the last future is collected
            return

    def _flush(self) -> None:
        self._awake = False
        while self._released:
            self._let_go(self._released.popleft())
        if self._stream is None or self._stream.closed():
            return
        while (message := self._outbox.next_message()) is not None:
            try:
                self._stream.write_plain_nowait(message.to_wire())
            except CommClosedError:
                return  # _on_close tells everybody
            except DistributedError as error:
                self._reject(message, error)

    def _let_go(self, keys: Sequence[str]) -> None:
        gone = []
        with self.lock:
            for key in keys:
                record = self.records.get(key)
                if record is None:
                    continue
                record.holders -= 1
                if not record.holders:
                    del self.records[key]
                    gone.append(key)
            if gone and self._end is None:
                self._outbox.append(ReleaseKeys(gone))

    def _reject(self, message: Message, error: DistributedError) -> None:
        """A message that cannot be sent (over a limit): its tasks fail, the connection lives."""
        logger.warning("%s could not be sent: %s", message.op, error)
        if isinstance(message, SubmitTasks):
            failure = [f"distributed.errors.{type(error).__name__}", str(error), "", None]
            self._on_failed(KeysFailed(message.keys, [failure] * len(message.keys)))

    # ------------------------------------------------------------ receiving, on the loop

    def _on_message(self, wire: Any) -> None:
        try:
            message = from_wire(wire, SCHEDULER)
        except ProtocolError as error:
            self._finish(error)
            return
        self._handlers[type(message)](message)

    def _on_done(self, message: KeysDone) -> None:
        records, settled = self.records, []
        with self.lock:
            for key, payload in zip(message.keys, message.results, strict=True):
                record = records.get(key)
                if record is not None:
                    record.status = Status.FINISHED
                    record.payload = payload
                    if record.waiters is not None:
                        settled.append(record)
        self._settle(settled)

    def _on_failed(self, message: KeysFailed) -> None:
        for key, failure in zip(message.keys, message.failures, strict=True):
            self._decide(key, Status.ERROR, failure=failure)

    def _on_cancelled(self, message: KeysCancelled) -> None:
        for key in message.keys:
            self._decide(key, Status.CANCELLED, reason=message.reason)

    def _on_lost(self, message: KeysLost) -> None:
        for key in message.keys:
            if not message.recomputing:
                self._decide(key, Status.LOST)
                continue
            with self.lock:
                record = self.records.get(key)
                if record is not None and record.payload is None:  # what came inline is not lost
                    record.status = Status.PENDING

    def _on_server_closing(self, message: ServerClosing) -> None:
        self._finish(CommClosedError(self.scheduler_address, f"the scheduler ended: {message.reason}"))

    def _on_close(self) -> None:
        reason = self._stream.error if self._stream is not None else None
        text = reason.reason if isinstance(reason, CommClosedError) else str(reason)
        self._finish(CommClosedError(self.scheduler_address, f"the scheduler is gone ({text})"))

    def _decide(self, key: str, status: Status, failure: Any = None, reason: str = "") -> None:
        with self.lock:
            record = self.records.get(key)
            if record is None:
                return
            record.status, record.failure, record.reason, record.payload = status, failure, reason, None
        self._settle([record])

    def _settle(self, records: list[KeyRecord]) -> None:
        for record in records:
            waiters, record.waiters = record.waiters, None
            for waiter in waiters or ():
                waiter(record)

    # ------------------------------------------------------------ the end

    def _finish(self, error: DistributedError) -> None:
        if self._end is not None:
            return
        with self.lock:
            self._end = error
            pending = [record for record in self.records.values() if record.status is Status.PENDING]
            for record in pending:
                record.status = Status.LOST
        self._settle(pending)

    def _check_open(self) -> None:
        if self._end is not None:
            raise CommClosedError(self.scheduler_address, getattr(self._end, "reason", str(self._end)))

    def _refuse_on_loop(self, coroutine: Any = None) -> None:
        if threading.get_ident() == self._thread:
            if coroutine is not None:
                coroutine.close()
            raise RuntimeError(
                "this would block the loop that has to do the work: use Client(asynchronous=True) and await here"
            )


def _open(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _overdue(records: Sequence[KeyRecord], timeout_s: float | None) -> str:
    pending = [record.key for record in records if record.status is Status.PENDING]
    more = f" and {len(pending) - 1:,} more" if len(pending) > 1 else ""
    return f"{pending[0] if pending else 'the result'}{more} not decided within {timeout_s:g} s"


def _call_back(callback: Callable[..., object], future: Any) -> None:
    try:
        callback(future)
    except Exception:  # a user's callback: there is nobody above to tell, so the log must
        logger.exception("callback %r of %s raised", callback, future.key)
