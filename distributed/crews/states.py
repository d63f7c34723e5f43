"""The machine of one crew: when its calls can run, which offers are asked for a room, and when it ends. Pure.

    phase     begins                              ends
    OPENING   it is made                          a scheduler is connected and a room is open: OPEN; nobody will ever
                                                  give it a room: FAILED
    OPEN      calls are placed as they are made   a newer workspace takes over: RETIRING
    RETIRING  nobody makes calls of it any more   closed: CLOSED; its workspace is the newest again: OPEN
    FAILED    every call fails with the reason    closed: CLOSED
    CLOSED    for good

A room at an offer is NONE, ASKED, OPEN, PARKED (none is needed until there are calls: its offer may need the memory) or
REFUSED (for ever: it would be refused again). What was refused for now, such as by an offer that is full, is asked for
again later, less and less often.

Not here: whether the workspace has changed, which call goes where, and all that waits (`crew`, `main`).
"""

from __future__ import annotations

from enum import Enum

from distributed.dataclass import dataclass, field

__all__ = [
    "AskRoom",
    "CloseAsked",
    "Connected",
    "CrewMachine",
    "EndCrew",
    "FailCalls",
    "Needed",
    "OfferGone",
    "OfferHere",
    "Phase",
    "PlaceCalls",
    "Resumed",
    "RoomEnded",
    "RoomOpened",
    "RoomRefused",
    "RoomState",
    "SayWaiting",
    "Superseded",
    "Tick",
]

AGAIN_S_FIRST, AGAIN_S_MAX = 0.25, 10.0  # until a room that was refused for now is asked for again; doubled each time
WORD_S = 10.0  # between two words to people that calls wait


class Phase(Enum):
    """Of a crew, see the module."""

    OPENING = "opening"
    OPEN = "open"
    RETIRING = "retiring"
    FAILED = "failed"
    CLOSED = "closed"


class RoomState(Enum):
    """Of a crew's room at one offer."""

    NONE = "none"
    ASKED = "asked"
    OPEN = "open"
    PARKED = "parked"
    REFUSED = "refused"


# ---------------------------------------------------------------- events


@dataclass(slots=True)
class Connected:
    """The scheduler runs and our client is connected with it."""


@dataclass(slots=True)
class OfferHere:
    """An offer lends us something (again): we are its tenant. `is_needed`: there are calls that want to run."""

    offer: str
    is_needed: bool


@dataclass(slots=True)
class OfferGone:
    """An offer is out of reach or lends nothing now; whatever room was there is not any more.

    ``for_ever``: and it will not come back, such as one that does not let us in; then `reason` says why.
    """

    offer: str
    for_ever: bool = False
    reason: BaseException | None = None


@dataclass(slots=True)
class RoomOpened:
    """The room that was asked for has met the scheduler."""

    offer: str


@dataclass(slots=True)
class RoomRefused:
    """It did not come up. ``for_ever``: nor would it if asked for again."""

    offer: str
    reason: BaseException
    for_ever: bool


@dataclass(slots=True)
class RoomEnded:
    """A room is gone, by the will of its offer or by its death. `is_needed`: there are calls that want to run."""

    offer: str
    is_needed: bool


@dataclass(slots=True)
class Needed:
    """There are calls that want to run, and offers without a room."""


@dataclass(slots=True)
class Superseded:
    """Calls go to a newer crew from now on."""


@dataclass(slots=True)
class Resumed:
    """Calls come here again: the workspace is as it was."""


@dataclass(slots=True)
class CloseAsked:
    """The Main ends, or this crew has been idle for long."""


@dataclass(slots=True)
class Tick:
    """Time has come that the machine asked for."""


# ---------------------------------------------------------------- effects


@dataclass(slots=True)
class AskRoom:
    """Have the offer get the workspace and, as soon as there is a scheduler, open a room."""

    offer: str


@dataclass(slots=True)
class PlaceCalls:
    """Give the scheduler what waits, and from now on every call at once."""


@dataclass(slots=True)
class FailCalls:
    """Whatever waits fails, and every further call."""

    reason: BaseException


@dataclass(slots=True)
class SayWaiting:
    """Tell people that calls wait."""


@dataclass(slots=True)
class EndCrew:
    """Close rooms, client and scheduler."""


Event = (
    Connected
    | OfferHere
    | OfferGone
    | RoomOpened
    | RoomRefused
    | RoomEnded
    | Needed
    | Superseded
    | Resumed
    | CloseAsked
    | Tick
)
Effect = AskRoom | PlaceCalls | FailCalls | SayWaiting | EndCrew


# ---------------------------------------------------------------- the machine


@dataclass(slots=True)
class OfferRecord:
    """What a crew knows of one offer.

    Attributes:
        is_here: we are its tenant, and it lends something.
        is_hopeless: it never will; `reason` says why.
        again_at: when to ask again, only in state NONE after a refusal for now.
        again_s: how long was waited last.
        reason: why there is no room, of a refusal or of an offer that is hopeless.
    """

    is_here: bool = False
    is_hopeless: bool = False
    room: RoomState = RoomState.NONE
    again_at: float | None = None
    again_s: float = 0.0
    reason: BaseException | None = None


@dataclass(slots=True)
class CrewMachine:
    """See the module.

    Attributes:
        offers: by name, in the order in which they were first heard of.
        is_hopeful: others may be heard of that have not been yet, so it is too early to give up.
        fail_at: when an opening crew gives up; None: never.
    """

    is_hopeful: bool = True
    fail_at: float | None = None
    phase: Phase = Phase.OPENING
    is_connected: bool = False
    is_superseded: bool = False
    offers: dict[str, OfferRecord] = field(default_factory=dict)
    failure: BaseException | None = None
    _effects: list[Effect] = field(default_factory=list)
    _word_at: float | None = None

    @property
    def has_room(self) -> bool:
        """Whether some room is open."""
        return any(record.room is RoomState.OPEN for record in self.offers.values())

    @property
    def lacks_rooms(self) -> bool:
        """Whether an offer would have a room for us if we needed it."""
        return any(record.is_here and record.room is RoomState.PARKED for record in self.offers.values())

    @property
    def next_wakeup(self) -> float | None:
        """When to look again."""
        if self.phase not in (Phase.OPENING, Phase.OPEN, Phase.RETIRING):
            return None
        times = [record.again_at for record in self.offers.values() if record.is_here and record.again_at is not None]
        if self._word_at is not None:
            times.append(self._word_at)
        if self.phase is Phase.OPENING and self.fail_at is not None:
            times.append(self.fail_at)
        return min(times, default=None)

    def take_effects(self) -> list[Effect]:
        """What is to be done now, in order."""
        effects, self._effects = self._effects, []
        return effects

    def handle(self, event: Event, now: float) -> None:
        """Change state."""
        if self.phase is Phase.CLOSED:
            return  # answers to what was asked before come late
        match event:
            case Connected():
                self.is_connected = True
            case OfferHere(offer, is_needed):
                self._on_here(offer, is_needed)
            case OfferGone(offer, for_ever, reason):
                self._on_gone(offer, for_ever, reason)
            case RoomOpened(offer):
                self._on_opened(offer)
            case RoomRefused(offer, reason, for_ever):
                self._on_refused(offer, reason, for_ever, now)
            case RoomEnded(offer, is_needed):
                self._on_ended(offer, is_needed)
            case Needed():
                for record in self.offers.values():
                    if record.room is RoomState.PARKED:
                        record.room = RoomState.NONE
            case Superseded():
                self.is_superseded = True
                if self.phase is Phase.OPEN:  # one that still opens has calls that want to run
                    self.phase = Phase.RETIRING
            case Resumed():
                self.is_superseded = False
                if self.phase is Phase.RETIRING:
                    self.phase = Phase.OPEN
            case CloseAsked():
                self._end()
            case Tick():
                self._on_tick(now)
        self._ask_rooms(now)
        self._decide(now)

    # ------------------------------------------------------------ offers and rooms

    def _record(self, offer: str) -> OfferRecord:
        record = self.offers.get(offer)
        if record is None:
            record = self.offers[offer] = OfferRecord()
        return record

    def _on_here(self, offer: str, is_needed: bool) -> None:
        record = self._record(offer)
        if record.room is RoomState.NONE and self.phase is Phase.RETIRING and not is_needed:
            record.room = RoomState.PARKED
        record.is_here, record.is_hopeless, record.again_at, record.again_s = True, False, None, 0.0

    def _on_gone(self, offer: str, for_ever: bool, reason: BaseException | None) -> None:
        record = self._record(offer)
        record.is_here, record.again_at = False, None
        record.is_hopeless = record.is_hopeless or for_ever
        record.reason = reason if reason is not None else record.reason
        if record.room is not RoomState.REFUSED:
            record.room = RoomState.NONE

    def _on_opened(self, offer: str) -> None:
        record = self._record(offer)
        if record.is_here and record.room is RoomState.ASKED:  # else it went meanwhile, and the room with it
            record.room, record.again_s, record.reason = RoomState.OPEN, 0.0, None

    def _on_ended(self, offer: str, is_needed: bool) -> None:
        record = self._record(offer)
        if record.room is RoomState.OPEN:
            record.room = RoomState.NONE if is_needed else RoomState.PARKED

    def _on_refused(self, offer: str, reason: BaseException, for_ever: bool, now: float) -> None:
        record = self._record(offer)
        if record.room is not RoomState.ASKED:
            return
        record.reason = reason
        if for_ever:
            record.room = RoomState.REFUSED
            return
        record.room = RoomState.NONE
        record.again_s = min(AGAIN_S_MAX, 2 * record.again_s or AGAIN_S_FIRST)
        record.again_at = now + record.again_s

    def _ask_rooms(self, now: float) -> None:
        if self.phase not in (Phase.OPENING, Phase.OPEN, Phase.RETIRING):
            return
        for offer, record in self.offers.items():
            if record.is_here and record.room is RoomState.NONE and (record.again_at is None or record.again_at <= now):
                record.room, record.again_at = RoomState.ASKED, None
                self._effects.append(AskRoom(offer))

    # ------------------------------------------------------------ phases

    def _decide(self, now: float) -> None:
        """What follows from all that is known now."""
        if self.phase is Phase.OPENING and self.is_connected and self.has_room:
            self.phase = Phase.RETIRING if self.is_superseded else Phase.OPEN
            self._effects.append(PlaceCalls())
        elif (reason := self._why_hopeless()) is not None:
            self._fail(reason)
        waits = self.phase in (Phase.OPENING, Phase.OPEN, Phase.RETIRING) and not self.has_room
        if not waits:
            self._word_at = None
        elif self._word_at is None:
            self._word_at = now + WORD_S

    def _why_hopeless(self) -> BaseException | None:
        """Why there will never be a room; None: there may be."""
        if self.is_hopeful or not self.offers or self.phase not in (Phase.OPENING, Phase.OPEN, Phase.RETIRING):
            return None
        records = self.offers.values()
        is_opening = self.phase is Phase.OPENING  # an offer that had a room for us and refuses another may be ending
        if not all(record.is_hopeless or (is_opening and record.room is RoomState.REFUSED) for record in records):
            return None
        return next((record.reason for record in records if record.reason is not None), None)

    def _on_tick(self, now: float) -> None:
        if self._word_at is not None and now >= self._word_at:
            self._word_at = now + WORD_S
            self._effects.append(SayWaiting())
        if self.phase is Phase.OPENING and self.fail_at is not None and now >= self.fail_at:
            reason = next((r.reason for r in self.offers.values() if r.reason is not None), None)
            self._fail(reason or TimeoutError("no worker was there in time"))

    def _fail(self, reason: BaseException) -> None:
        self.phase, self.failure = Phase.FAILED, reason
        self._effects.append(FailCalls(reason))

    def _end(self) -> None:
        self.phase = Phase.CLOSED
        self._effects.append(EndCrew())
