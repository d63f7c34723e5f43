"""A crew: the calls that run in one version of the workspace. They wait in it until it is open.

Users' threads pack calls and give them to the session at once; what the crew has on the Main's loop is `staffing`'s.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from distributed.client.futures import Future
from distributed.client.moving import Mover
from distributed.client.options import task_spec
from distributed.client.outbox import Task
from distributed.client.records import KeyRecord, Status
from distributed.client.session import Session
from distributed.crews.base import Base
from distributed.crews.call import Call
from distributed.crews.functions import RoomFunctions
from distributed.crews.matching import MEMORY
from distributed.crews.options import ANY_PLATFORM, CallOptions
from distributed.crews.packing import are_plain, calls_in, pack_call, refer, with_values
from distributed.crews.project import Project
from distributed.crews.staffing import Staffing
from distributed.crews.states import CloseAsked, Needed, Phase, Resumed, Superseded
from distributed.crews.telling import Loosening
from distributed.dataclass import dataclass
from distributed.errors import (
    CancelledError,
    CommClosedError,
    DistributedError,
    PythonMismatchError,
)
from distributed.ids import counter, unique_id
from distributed.messages import Payload, TaskSpec
from distributed.protocol.failure import failure_from_exception
from distributed.protocol.serialize import BUFFER_NBYTES_MIN, payload_nbytes
from distributed.rooms.references import dumps_reference_payload
from distributed.versions import PYTHON_MINOR

__all__ = ["Crew"]

ID_LENGTH = 12  # of a crew's own part in keys


@dataclass(slots=True)
class Packed:
    """A call as bytes, before it has options that somebody can meet.

    Attributes:
        function: its name, for people.
        digest: of its function.
        is_by_value: its function is code, which only this Python can run.
    """

    function: str
    digest: bytes
    is_by_value: bool
    options: CallOptions
    key: str
    arguments: Payload
    needs: list[str] | None
    blobs: dict[bytes, Payload]
    data: dict[str, Task]
    nbytes: int


class Crew:
    """See the module. `begin` opens it.

    Args:
        base, project: of the Main.
        manifest: of the workspace as these calls see it.

    Attributes:
        id: of the workspace.
        lock: guards what waits; a thread that has it may take it again.
    """

    def __init__(self, base: Base, project: Project, manifest: Any) -> None:
        self.id: str = manifest.id
        self.lock = threading.RLock()
        self.staffing: Staffing | None = None
        self._base = base
        self._project = project
        self._manifest = manifest
        self._gate = threading.Event()
        self._decided: asyncio.Event  # the same for coroutines of the loop
        self._session: Session | None = None
        self._error: BaseException | None = None
        self._waiting: list[tuple[Call, Packed]] = []
        self._pending: dict[str, tuple[Future, int]] = {}  # that are not decided: kept, also if nobody else does
        self._moving: set[Any] = set()  # calls that wait for values of other crews
        self._functions = RoomFunctions(project.entry)
        self._specs: dict[tuple[Any, ...], TaskSpec] = {}
        self._plain_specs: dict[bytes, tuple[CallOptions, TaskSpec]] = {}  # by function: of its last such call
        self._name = unique_id("crew")[-ID_LENGTH:]
        self._lacks_rooms = False
        self._loosening = Loosening()

    def begin(self) -> None:
        """Have it opened, when its Main knows it; once."""
        self._base.call_soon(self._begin)

    # ------------------------------------------------------------ for users' threads

    def submit(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Call:
        """One call, now or when the crew is open. Raises as `Main.submit`."""
        if not are_plain(args, kwargs):
            foreign = [call for call in calls_in((args, kwargs), {}).values() if not self._is_ours(call)]
            if foreign:
                return self._submit_later(function, args, kwargs, options, foreign)
        packed = self._pack(function, args, kwargs, options)
        call = Call(self, packed.key, self._gate)
        self._base.backlog.enter(packed.nbytes)
        self._give(call, packed)
        return call

    def why_waiting(self) -> str:
        """For people: what has to happen before calls can run."""
        return "it is being opened" if self.staffing is None else self.staffing.why_waiting()

    def is_idle(self) -> bool:
        """Whether nothing of it is wanted: no call is undecided, and no result lies in a room only."""
        if self._waiting or self._pending or self._moving:
            return False
        session = self._session
        if session is None:
            return self._error is not None
        with session.table.lock:
            records = list(session.table.records.values())
        return not any(record.status is Status.FINISHED and record.payload is None for record in records)

    @property
    def has_failed(self) -> bool:
        """Whether it could not be opened, or has ended."""
        return self._error is not None

    def is_usable(self) -> bool:
        """Whether it can take calls, now or later."""
        return self.phase in (Phase.OPENING, Phase.OPEN, Phase.RETIRING)

    def supersede(self) -> None:
        """Calls go to a newer one from now on."""
        self._tell(Superseded())

    def resume(self) -> None:
        """Calls come here again."""
        self._tell(Resumed())

    def hand_over(self, newer: Crew) -> None:
        """Give what waits to a newer crew, whose workspace can be sent."""
        with self.lock:
            waiting, self._waiting = self._waiting, []
            for call, _ in waiting:
                call.move(newer, newer._gate)
        for call, packed in waiting:
            if call.is_placed:  # cancelled
                self._base.backlog.leave(packed.nbytes)
            else:
                with newer.lock:
                    newer._give(call, packed)

    def end(self) -> None:
        """Close rooms, client and scheduler; what waits fails."""
        self.on_failed(CommClosedError("this Main", "it was closed"))
        self._tell(CloseAsked())

    # ------------------------------------------------------------ packing

    def _pack(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Packed:
        packed, is_by_value = self._functions.pack(function)
        arguments, needs = pack_call(args, kwargs, self._project.entry)
        blobs: dict[bytes, Payload] = {packed.digest: packed.blob}
        data: dict[str, Task] = {}
        nbytes = payload_nbytes(arguments)
        if nbytes >= BUFFER_NBYTES_MIN:
            mover = Mover(self._movers(), 0, self._pack_again, self._dumps, refer)
            arguments, needs = mover.pack(args, kwargs)
            blobs, data = {**blobs, **mover.blobs}, mover.tasks
            nbytes = payload_nbytes(arguments) + sum(payload_nbytes(task[2]) for task in data.values())
        key = f"{packed.name}-{self._name}-{counter()}"
        return Packed(
            packed.name, packed.digest, is_by_value, options, key, arguments, needs, blobs, data, nbytes
        )  # fmt: skip

    def _movers(self) -> Any:
        """What packs functions for a `Mover`."""
        functions = self._functions

        class Engine:
            def pack(self, function: Callable[..., Any]) -> Any:
                return functions.pack(function)[0]

        return Engine()

    def _pack_again(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Payload, list[str] | None]:
        return pack_call(args, kwargs, self._project.entry)

    def _dumps(self, value: Any) -> Payload:
        return dumps_reference_payload(value, self._project.entry)

    # ------------------------------------------------------------ giving calls to the scheduler

    def _give(self, call: Call, packed: Packed) -> None:
        if self._session is None:
            with self.lock:
                if self._session is None and self._error is None:
                    self._waiting.append((call, packed))
                    return
        self._place(call, packed)
        if self._lacks_rooms:
            self._lacks_rooms = False
            self._tell(Needed())

    def _place(self, call: Call, packed: Packed) -> None:
        session = self._session
        if session is None or self._error is not None:
            assert self._error is not None
            self._base.backlog.leave(packed.nbytes)
            call.fail(self._error)
            return
        try:
            spec = self._spec(packed)
            (record,) = session.submit([(spec, packed.key, packed.arguments, packed.needs)], packed.blobs, packed.data)
        except Exception as error:  # nobody can run it, or the session has ended: its handle tells
            self._base.backlog.leave(packed.nbytes)
            call.fail(error)
            return
        future = Future(session, record)
        self._pending[packed.key] = future, packed.nbytes
        session.table.add_waiter(record, self._on_settled)
        call.place(future)

    def _on_settled(self, record: KeyRecord) -> None:
        """A waiter, on the loop: nobody but its handles has to keep it any more."""
        entry = self._pending.pop(record.key, None)
        if entry is not None:
            self._base.backlog.leave(entry[1])

    def _spec(self, packed: Packed) -> TaskSpec:
        options = packed.options
        workers = self._same_python(packed) if packed.is_by_value else None
        if workers is None and (known := self._plain_specs.get(packed.digest)) is not None and known[0] is options:
            return known[1]  # most calls; to hash options costs 1 us
        is_plain = options.platform == ANY_PLATFORM and options.threads <= 1 and options.memory_nbytes <= 0
        if not is_plain and not self._base.may_find:
            options = self._loosening.possible(packed.function, options, self._base.lent())
        asked_for = (options.platform, options.threads, options.memory_nbytes, options.retries)
        name = (packed.digest, asked_for, workers)  # no options in it: they take 5 us to hash
        spec = self._specs.get(name)
        if spec is None:
            spec = self._specs[name] = task_spec(
                packed.digest,
                workers=workers,
                resources={MEMORY: options.memory_nbytes} if options.memory_nbytes > 0 else None,
                retries=options.retries,
                platform=None if options.platform == ANY_PLATFORM else "|".join(options.platform),
                threads=max(1, options.threads),
            )._replace(parent=None, depth=0, priority=0)  # of a task that is a Main, for another scheduler
        if is_plain and workers is None:
            self._plain_specs[packed.digest] = packed.options, spec
        return spec

    def _same_python(self, packed: Packed) -> tuple[str, ...] | None:
        """The rooms that can run code from here; None: all of them. PythonMismatchError: none."""
        rooms = [] if self.staffing is None else list(self.staffing.rooms.values())
        others = [room for room in rooms if not room.python.startswith(f"{PYTHON_MINOR}.")]
        if not others:
            return None
        if len(others) == len(rooms):
            raise PythonMismatchError(packed.function, PYTHON_MINOR, others[0].python)
        return tuple(sorted(room.worker for room in rooms if room not in others))

    # ------------------------------------------------------------ values of other crews

    def _is_ours(self, call: Call) -> bool:
        """Whether the scheduler knows it, or will before it hears of calls that are made now."""
        return call.crew is self and call.is_given

    def _submit_later(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: CallOptions,
        foreign: list[Call],
    ) -> Call:
        """A call that begins when the values of calls to other crews are here."""
        packed_name = self._functions.pack(function)[0].name
        call = Call(self, f"{packed_name}-{self._name}-{counter()}", threading.Event())
        call.is_given = False

        def give() -> None:
            try:
                values = {id(each): each.result() for each in foreign}
                packed = self._pack(function, with_values(args, values), with_values(kwargs, values), options)
                packed.key = call.key
            except BaseException as error:  # of one of them, and so of this one
                call.fail(error)
            else:
                self._base.backlog.enter(packed.nbytes)
                with self.lock:  # its handle is out already, and others may add callbacks
                    self._give(call, packed)

        async def wait() -> None:
            try:
                for each in foreign:
                    await each.wait_decided()
                await asyncio.to_thread(give)
                await self._decided.wait()
            finally:
                call.fail(CancelledError(f"{call.key}: the program ends"))  # nothing, if it was given
                call.open_gate()
                self._moving.discard(call)

        self._moving.add(call)
        self._base.call_soon(lambda: self._base.spawn(wait()))
        return call

    # ------------------------------------------------------------ on the loop

    def _begin(self) -> None:
        self._decided = asyncio.Event()
        self.staffing = Staffing(self._base, self._project, self._manifest, self)
        self.staffing.begin()
        self.on_rooms()

    def _tell(self, event: Any) -> None:
        """An event for the staffing; from any thread."""

        def tell() -> None:
            if self.staffing is not None:
                self.staffing.handle(event)

        self._base.call_soon(tell)

    def on_placed(self, session: Session) -> None:
        """See `Crewed`."""
        with self.lock:
            self._session = session
            waiting, self._waiting = self._waiting, []
            for call, packed in waiting:
                if call.is_placed:  # cancelled meanwhile
                    self._base.backlog.leave(packed.nbytes)
                else:
                    self._place(call, packed)
        self._open_gate()

    def on_outdated(self) -> None:
        """See `Crewed`."""
        self._base.crews.on_outdated(self)

    def on_failed(self, reason: BaseException) -> None:
        """See `Crewed`."""
        with self.lock:
            if self._session is None and self._error is None:
                self._error = reason
            waiting, self._waiting = self._waiting, []
            for call, packed in waiting:
                self._base.backlog.leave(packed.nbytes)
                call.fail(reason)
        self._open_gate()

    def lose(self, reason: DistributedError) -> None:
        """What it needs has ended: what is not decided fails, and this crew takes no more calls. On the loop."""
        with self.lock:
            self._error = self._error or reason
        if self._session is not None and not isinstance(reason, CommClosedError):  # which the session's end says itself
            self._session.table.fail_unsent(list(self._pending), failure_from_exception(reason))
        if self.staffing is not None:
            self.staffing.lose(reason)
        self.on_failed(reason)

    def _open_gate(self) -> None:
        self._gate.set()
        self._base.call_soon(lambda: self._decided.set())

    def has_demand(self) -> bool:
        """See `Crewed`."""
        return bool(self._waiting or self._pending)

    def on_rooms(self) -> None:
        """See `Crewed`."""
        if self.staffing is not None:  # while it is being made it tells already
            self._lacks_rooms = self.staffing.lacks_rooms

    @property
    def phase(self) -> Phase:
        """Of its staffing."""
        return Phase.OPENING if self.staffing is None else self.staffing.phase

    def __repr__(self) -> str:
        return f"<Crew of workspace {self.id[:12]}: {self.phase.value}>"
