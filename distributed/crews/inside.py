"""Calls made from a call: given back to the Main's scheduler (relayed), or straight to other workers (direct).

In both ways whoever waits for such a call lends its slot, so calls may wait for calls to any depth with a single slot.

    relayed    the client of the room gives it to the Main's scheduler, like any task that submits tasks
    direct     the room is a Main of its own: it has a process with a scheduler, and rooms at its Main's offers, which
               let it in with tickets (`passes`); these end in a few levels of calls, and within minutes

Not here: calls that run inline, which are plain calls (`faces.decorator`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from distributed.client.coordination.signals import Variable
from distributed.client.futures import Future
from distributed.client.inside import get_client
from distributed.client.moving import Mover
from distributed.client.options import task_spec
from distributed.client.packing import FunctionCache
from distributed.client.records import KeyRecord
from distributed.crews.base import Base
from distributed.crews.call import Call
from distributed.crews.functions import RoomFunctions
from distributed.crews.main import Main
from distributed.crews.matching import MEMORY, Lent
from distributed.crews.options import ANY_PLATFORM, CallOptions, MainSettings
from distributed.crews.packing import calls_in, with_values
from distributed.crews.passes import PASS_NAME, PASS_S, Pass
from distributed.crews.telling import Loosening
from distributed.errors import RedistributionError
from distributed.ids import counter, unique_id
from distributed.rooms.entry import place
from distributed.worker.context import current, wait_in_parts

__all__ = ["SubMain", "submit"]

PASS_WAIT_S = 5.0  # for the Main to have put its pass there, which it does when the crew opens
LENT_S = 1.0  # what offers lend is known that long in a room
LEASE_S = 10.0  # of a room that submits by itself; what it has at offers goes soon after it is gone


def submit(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
) -> Call | Future:
    """Give a call to another worker, from inside of a task; returns at once.

    Raises:
        RedistributionError: this is no task in a room, or the levels of direct calls are used up.
        NoMatchError: no offer can ever run it as it is, and it is strict.
        UnpicklableError: an argument cannot be sent.
    """
    name = getattr(function, "__qualname__", type(function).__name__)
    context = current()
    if context is None or context.owner is None:
        raise RedistributionError(name, "calls are redistributed from inside of tasks only")
    if options.redistribute == "direct":
        return _sub_main(name).submit(function, args, kwargs, options)
    return _relay.submit(function, args, kwargs, options)


# ---------------------------------------------------------------- relayed


class _Relay:
    """Calls that this room has given back to the Main's scheduler, kept until they are decided."""

    def __init__(self) -> None:
        self._functions: RoomFunctions | None = None
        self._pending: dict[str, Future] = {}
        self._data = FunctionCache()
        self._name = unique_id("room")[-12:]
        self._loosening = Loosening()

    def submit(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Future:
        """One call."""
        session = get_client()._live()
        if self._functions is None:
            here = place()
            self._functions = RoomFunctions(None if here is None else here.entry)
        calls = calls_in((args, kwargs), {})
        if calls:  # of direct ones, which another scheduler knows
            values = {id(call): call.result() for call in calls.values()}
            args, kwargs = with_values(args, values), with_values(kwargs, values)
        packed, _ = self._functions.pack(function)
        if options.platform != ANY_PLATFORM or options.threads > 1 or options.memory_nbytes > 0:
            options = self._loosening.possible(packed.name, options, _offers.lent(packed.name))
        spec = task_spec(
            packed.digest,
            resources={MEMORY: options.memory_nbytes} if options.memory_nbytes > 0 else None,
            retries=options.retries,
            platform=None if options.platform == ANY_PLATFORM else "|".join(options.platform),
            threads=max(1, options.threads),
        )
        mover = Mover(self._data, spec.priority)
        arguments, needs = mover.pack(args, kwargs)
        key = f"{packed.name}-{self._name}-{counter()}"
        blobs = {packed.digest: packed.blob, **mover.blobs}
        (record,) = session.submit([(spec, key, arguments, needs)], blobs, mover.tasks)
        future = Future(session, record)
        self._pending[key] = future
        session.table.add_waiter(record, self._on_settled)
        return future

    def _on_settled(self, record: KeyRecord) -> None:
        self._pending.pop(record.key, None)


class _Offers:
    """What the Main's offers lend, as its pass tells; asked for anew after `LENT_S`."""

    def __init__(self) -> None:
        self._lent: list[Lent] = []
        self._asked: float | None = None

    def lent(self, function: str) -> list[Lent]:
        """Nothing while it is not known. RedistributionError: the Main gives no pass."""
        now = time.monotonic()
        if self._asked is None or now - self._asked > LENT_S:
            self._lent, self._asked = _read_pass(get_client(), function).lent, now
        return self._lent


_offers = _Offers()
_relay = _Relay()


# ---------------------------------------------------------------- direct


class _Copy:
    """A `Project` for the rooms of a room: the same workspace, which the offers have already.

    Attributes:
        id: of the workspace, which never changes here.
    """

    contents = None

    def __init__(self, given: Pass) -> None:
        self.id = given.workspace
        self.entry, self.entry_file = given.entry, given.entry_file
        self.roots, self.source, self.environment = given.roots, given.source, given.environment

    def scan(self) -> Any:
        """Itself, as a manifest."""
        return self

    def changed(self) -> bool:
        """False."""
        return False


class SubMain(Main):
    """The Main that a room is for calls that it gives to workers directly.

    Args:
        given: by its own Main.
    """

    def __init__(self, given: Pass) -> None:
        super().__init__(MainSettings(ident=given.name, workers=tuple(given.tickets), follow=False))
        self._given = given

    @property
    def is_over(self) -> bool:
        """Whether its tickets end soon: then another one is made."""
        return time.time() > self._given.expires_unix_s - PASS_S / 4

    def make_base(self) -> Base:
        """See `Main`."""
        passes = {address: self._given.credential(address) for address in self._given.tickets}
        return Base(self.settings, self, passes, self._given.depth - 1, LEASE_S)

    def make_project(self) -> Any:
        """See `Main`."""
        return _Copy(self._given)


_making = threading.Lock()
_made: SubMain | None = None


def _sub_main(function: str) -> SubMain:
    """The one of this room, made in a thread of its own: an interrupt of who asks must not leave half of it."""
    made = _made
    if made is None or made.is_over:
        client = get_client()
        problems: list[BaseException] = []

        def make() -> None:
            global _made
            try:
                with _making:
                    if _made is None or _made.is_over:
                        _made = SubMain(_pass_of(client, function))
            except BaseException as error:  # for who asks
                problems.append(error)

        thread = threading.Thread(target=make, name="distributed-sub-main", daemon=True)
        thread.start()
        wait_in_parts(lambda timeout_s: _has_ended(thread, timeout_s), None)
        if problems:
            raise problems[0]
        made = _made
    assert made is not None
    return made


def _pass_of(client: Any, function: str) -> Pass:
    given = _read_pass(client, function)
    if given.depth < 1:
        raise RedistributionError(
            function, "the levels of direct calls are used up: let the innermost ones run inline or relayed"
        )
    return given


def _read_pass(client: Any, function: str) -> Pass:
    try:
        given = Variable(PASS_NAME, client=client).get(timeout=PASS_WAIT_S)
    except TimeoutError:
        raise RedistributionError(function, "its Main lets no room submit by itself, or is gone") from None
    if not isinstance(given, Pass):
        raise RedistributionError(function, "its Main has another version of this package")
    return given


def _has_ended(thread: threading.Thread, timeout_s: float | None) -> bool:
    thread.join(timeout_s)
    return not thread.is_alive()
