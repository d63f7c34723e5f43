"""A client's connection with its scheduler, the records of its keys, and how threads and coroutines wait for them.

The session lives on one loop; users may call from any thread. What they submit goes into an outbox in order, and leaves
in batches: one wake-up of the loop, one message, however many calls were made meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from distributed.calls import rpc
from distributed.client.gathering import fetch
from distributed.client.loop_thread import run_on
from distributed.client.outbox import Outbox, Task
from distributed.client.records import KeyRecord, Status
from distributed.client.table import KeyTable
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
)
from distributed.protocol.codec import ErrorReply
from distributed.protocol.failure import exception_from_failure
from distributed.protocol.serialize import loads_payload
from distributed.security.keys import keyring
from distributed.security.permissions import WORKER
from distributed.versions import all_versions, warn_of_mismatch
from distributed.wire import from_wire, halves

__all__ = ["Session", "call_on"]

logger = logging.getLogger(__name__)

FLUSH_TIMEOUT_S = 5.0  # for what was submitted to leave when the client is closed


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
        self.table = KeyTable()  # its lock also guards the order of the outbox
        self.scheduler: rpc | None = None
        self._workers: dict[str, rpc] = {}
        self._stream: Stream | None = None
        self._outbox = Outbox()
        self._released: deque[Sequence[str]] = deque()
        self._awake = False
        self._callbacks: ThreadPoolExecutor | None = None
        self._end: DistributedError | None = None  # why nothing can be asked any more
        self._handlers: dict[type, Callable[[Any], None]] = {
            KeysDone: self.table.on_done,
            KeysFailed: self.table.on_failed,
            KeysCancelled: self.table.on_cancelled,
            KeysLost: self.table.on_lost,
            ServerClosing: self._on_server_closing,
        }

    def start(self, stream: Stream) -> None:
        """Begin; on the loop, before anything else is awaited, or messages are lost."""
        self._stream = stream
        self.scheduler = rpc(stream.peer.address)
        stream.set_close_callback(self._on_close)
        stream.set_message_handler(self._on_message)

    async def close(self) -> None:
        """Send what is waiting and end; on the loop. Futures not decided become CommClosedError."""
        self._finish(CommClosedError(self.scheduler_address, "this client was closed"))
        if self._stream is not None and not self._stream.closed():
            self._flush()
            try:
                async with asyncio.timeout(FLUSH_TIMEOUT_S):
                    await self._stream.close_after_flush()
            except TimeoutError:
                self._stream.close()  # a scheduler that does not read
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
        found = {
            "client": all_versions(),
            "scheduler": scheduler,
            "workers": dict(zip(addresses, workers, strict=True)),
        }
        if check:
            warn_of_mismatch({"the client": found["client"], "the scheduler": scheduler, **found["workers"]})
        return found

    # ------------------------------------------------------------ what users hold

    def release(self, keys: Sequence[str]) -> None:
        """One holder of each of `keys` is gone. From any thread, even inside garbage collection: takes no lock."""
        self._released.append(keys)
        self._wake()

    def submit(self, tasks: Sequence[Task], functions: dict[bytes, Payload]) -> list[KeyRecord]:
        """Queue tasks for the scheduler; each key gets one holder more.

        A key that is known here already is not sent again.

        Raises:
            CommClosedError: the client or the scheduler is closed.
        """
        records: list[KeyRecord] = []
        with self.table.lock:
            self._check_open()
            admit, outbox = self.table.admit, self._outbox
            outbox.add_functions(functions)
            for task in tasks:
                record, is_news = admit(task[1])
                if is_news:
                    outbox.append(task)
                records.append(record)
        self._wake()
        return records

    def submit_graph(self, tasks: Sequence[Task], functions: dict[bytes, Payload]) -> None:
        """`submit` for tasks with new keys, each after those it depends on; only wanted ones get a holder."""
        with self.table.lock:
            self._check_open()
            self._outbox.add_functions(functions)
            if tasks:
                self._outbox.append_graph(tasks)
            for task in tasks:
                if task[0].wanted:
                    self.table.admit(task[1])
        self._wake()

    def want(self, key: str) -> tuple[KeyRecord, bool]:
        """A holder of a key whose data is to go to a worker; and whether it is news, or is there already.

        The scheduler will say when it is there.
        """
        with self.table.lock:
            self._check_open()
            return self.table.admit(key)

    def cancel(self, records: Sequence[KeyRecord], force: bool, reason: str | None) -> None:
        """Ask the scheduler to cancel; the records settle when it answers, whatever they were before."""
        with self.table.lock:
            self._check_open()
            self.table.begin_cancelling(records)
            self._outbox.append(CancelKeys([record.key for record in records], force, reason))
        self._wake()

    # ------------------------------------------------------------ waiting

    def run_or_await(self, now: Callable[[], Any], later: Callable[[], Awaitable[Any]]) -> Any:
        """The result of `now`, or the awaitable of `later` for an asynchronous client."""
        return later() if self.asynchronous else now()

    def wait_settled(self, records: Sequence[KeyRecord], timeout_s: float | None) -> None:
        """Block until all are decided. Raises TimeoutError."""
        if len(records) == 1 and records[0].status is not Status.PENDING:
            return
        self.refuse_on_loop()
        latch = self.table.latch(records)
        is_open = False
        try:
            is_open = latch.wait(timeout_s)
        finally:
            if not is_open:  # also when Ctrl-C came
                self.table.forget_waiter(records, latch.settle)
        if not is_open:
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
                call_on(loop, _open, opened)

        for record in pending:
            self.table.add_waiter(record, settle)
        try:
            await asyncio.wait_for(opened, timeout_s)
        except TimeoutError:
            raise TimeoutError(_overdue(records, timeout_s)) from None
        finally:
            if left:
                self.table.forget_waiter(pending, settle)

    # ------------------------------------------------------------ values

    def value_now(self, record: KeyRecord, timeout_s: float | None) -> Any:
        """The result of a settled record, fetched from a worker when it did not come along."""
        self.raise_error(record)
        if record.payload is not None:
            return loads_payload(record.payload)
        return self.run(self.fetch([record]), timeout_s)[record.key]

    async def value_async(self, record: KeyRecord) -> Any:
        """`value_now` for coroutines."""
        self.raise_error(record)
        if record.payload is not None:
            return loads_payload(record.payload)
        return (await self.fetch([record]))[record.key]

    def error_of(self, record: KeyRecord) -> BaseException | None:
        """Why a settled record has no result; None: it has one."""
        if record.status is Status.ERROR:
            assert record.failure is not None
            return exception_from_failure(record.failure, f"the worker that ran {record.key}")
        if record.status is Status.CANCELLED:
            return CancelledError(f"{record.key}: {record.reason or 'cancelled'}")
        if record.status is Status.LOST:
            return self._ended() or LostDataError(record.key)
        return None

    def raise_error(self, record: KeyRecord) -> None:
        """Raise `error_of` a settled record, if there is one."""
        error = self.error_of(record)
        if error is not None:
            try:
                raise error
            finally:
                error = None  # or frame and exception would hold each other, and with them futures, until the next gc

    def values_now(self, records: Sequence[KeyRecord], skip_errors: bool) -> dict[str, Any]:
        """Results of settled records by key. Raises the first error, or leaves failed ones out."""
        values, missing = self._values_here(records, skip_errors)
        if missing:
            values.update(self.run(self.fetch(missing, skip_errors)))
        return values

    async def values_async(self, records: Sequence[KeyRecord], skip_errors: bool) -> dict[str, Any]:
        """`values_now` for coroutines."""
        values, missing = self._values_here(records, skip_errors)
        if missing:
            values.update(await self.fetch(missing, skip_errors))
        return values

    def _values_here(self, records: Sequence[KeyRecord], skip: bool) -> tuple[dict[str, Any], list[KeyRecord]]:
        values: dict[str, Any] = {}
        missing: list[KeyRecord] = []
        for record in records:
            if record.status is Status.FINISHED and record.payload is not None:
                try:
                    values[record.key] = loads_payload(record.payload)
                except Exception:  # whatever loading a user's object raises
                    if not skip:
                        raise
                continue
            if not skip:
                self.raise_error(record)
            if record.status in (Status.FINISHED, Status.PENDING):  # PENDING: lost since it settled, and computed again
                missing.append(record)
        return values, missing

    async def fetch(self, records: Sequence[KeyRecord], skip_errors: bool = False) -> dict[str, Any]:
        """Results that stayed on workers, by key; from any loop. See `gathering`."""
        if asyncio.get_running_loop() is self.loop:
            return await fetch(self, records, skip_errors)
        self._check_open()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(fetch(self, records, skip_errors), self.loop))

    def worker(self, address: str) -> rpc:
        """The connection with a worker; on the loop."""
        if address not in self._workers:
            # As a worker, if we may: one that was given the key of its role only could not check that we are a client.
            role = WORKER if WORKER in keyring().key_by_role else None
            self._workers[address] = rpc(address, role=role)
        return self._workers[address]

    def run(self, coroutine: Any, timeout_s: float | None = None) -> Any:
        """Run a coroutine on the loop and wait for it in this thread. Raises TimeoutError."""
        try:
            self.refuse_on_loop()
            self._check_open()
        except BaseException:
            coroutine.close()
            raise
        return run_on(self.loop, coroutine, timeout_s)

    def call_back(self, callback: Callable[..., object], future: Any) -> None:
        """Run a user's callback in the thread that is there for them; here and now after the client's end."""
        try:
            with self.table.lock:
                if self._callbacks is None:
                    self._callbacks = ThreadPoolExecutor(1, thread_name_prefix="distributed-callbacks")
            self._callbacks.submit(_call_back, callback, future)
        except RuntimeError:  # shut down
            _call_back(callback, future)

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
                self._retry_smaller(message, error)

    def _let_go(self, keys: Sequence[str]) -> None:
        def tell(gone: list[str]) -> None:
            if self._end is None:
                self._outbox.append(ReleaseKeys(gone))

        self.table.let_go(keys, tell)

    def _retry_smaller(self, message: Message, error: DistributedError) -> None:
        """A message is over a limit: it is cut, so that only those tasks fail that do not fit by themselves."""
        parts = halves(message)
        if parts:
            self._outbox.put_back(parts)
            return
        logger.warning("%s could not be sent: %s", message.op, error)
        if isinstance(message, SubmitTasks):
            self._outbox.unsend_functions(message.functions)
            failure = [f"distributed.errors.{type(error).__name__}", str(error), "", None]
            self.table.on_failed(KeysFailed(message.keys, [failure] * len(message.keys)))

    # ------------------------------------------------------------ receiving, on the loop

    def _on_message(self, wire: Any) -> None:
        assert self._stream is not None
        try:
            if isinstance(wire, ErrorReply):
                raise ProtocolError(f"the scheduler closed the connection: {wire['text']}")
            message = from_wire(wire, SCHEDULER)
            handler = self._handlers.get(type(message))
            if handler is None:
                raise ProtocolError(f"a client does not serve {message.op!r}")
        except ProtocolError as error:
            self._finish(error)
            self._stream.close()
            return
        handler(message)

    def _on_server_closing(self, message: ServerClosing) -> None:
        self._finish(CommClosedError(self.scheduler_address, f"the scheduler ended: {message.reason}"))

    def _on_close(self) -> None:
        reason = self._stream.error if self._stream is not None else None
        text = reason.reason if isinstance(reason, CommClosedError) else str(reason)
        self._finish(CommClosedError(self.scheduler_address, f"the scheduler is gone ({text})"))

    # ------------------------------------------------------------ the end

    def _finish(self, error: DistributedError) -> None:
        if self._end is not None:
            return
        with self.table.lock:
            self._end = error
        self.table.lose_pending()

    def _ended(self) -> CommClosedError | None:
        """What to tell whoever wants something after the end: an exception of his own."""
        end = self._end
        return None if end is None else CommClosedError(self.scheduler_address, getattr(end, "reason", str(end)))

    def _check_open(self) -> None:
        error = self._ended()
        if error is not None:
            raise error

    def refuse_on_loop(self) -> None:
        """RuntimeError on the loop's own thread, which must not wait for itself."""
        if threading.get_ident() == self._thread:
            raise RuntimeError(
                "this would block the loop that has to do the work: use Client(asynchronous=True) and await here"
            )


def call_on(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: Any) -> None:
    """Call `function` on a loop of the user's, which may have ended: then nobody waits there any more."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *args)


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
