"""What a crew has on the Main's loop: its scheduler, its client and its rooms. `states` decides, this does it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from typing import Any, Protocol

from distributed.client.coordination.signals import Variable
from distributed.client.session import Session
from distributed.crews.base import Base
from distributed.crews.client import CrewClient
from distributed.crews.links import OfferLink, must_dial
from distributed.crews.matching import Lent, promised
from distributed.crews.passes import PASS_NAME, PASS_S, Pass
from distributed.crews.project import Project
from distributed.crews.states import (
    AskRoom,
    CloseAsked,
    Connected,
    CrewMachine,
    EndCrew,
    Event,
    FailCalls,
    OfferGone,
    OfferHere,
    Phase,
    PlaceCalls,
    RoomEnded,
    RoomOpened,
    RoomRefused,
    SayWaiting,
    Tick,
)
from distributed.crews.telling import shipping
from distributed.deploy.machine import split_cores
from distributed.driver import Driver
from distributed.errors import (
    CommClosedError,
    ConnectTimeoutError,
    DistributedError,
    LeaseOverError,
    OfferFullError,
    OfferWithdrawnError,
    UnknownWorkspaceError,
    WorkersLateError,
    WorkspaceChangedError,
)
from distributed.offers.wire import OpenRoom, RoomWish

__all__ = ["Crewed", "Staffing"]

logger = logging.getLogger(__name__)

# What may be otherwise in a while; anything else would come again: an environment that cannot be built, for example.
PASSING = (CommClosedError, ConnectTimeoutError, LeaseOverError, OfferFullError, OfferWithdrawnError, TimeoutError)
SHIP_ATTEMPTS = 3  # an offer under pressure may drop a workspace between its arrival and the room
SEAT = "#"  # between an offer's address and the number of a room there
SEATS_MAX = 32  # at one offer: as many rooms as a tenant may have there, whatever it says of its cores
SOURCE_S = 120.0  # for an offer to get a workspace from another one


class Crewed(Protocol):
    """The calls that a staffing is for; all called on the Main's loop."""

    def on_placed(self, session: Session) -> None:
        """They can run: there is a scheduler, with a room."""

    def on_failed(self, reason: BaseException) -> None:
        """They never will."""

    def on_outdated(self) -> None:
        """Files have changed before they could be sent: calls that wait belong to a newer crew."""

    def lose(self, reason: DistributedError) -> None:
        """What they need has ended, and does not come back."""

    def has_demand(self) -> bool:
        """Whether some are not decided."""

    def on_rooms(self) -> None:
        """What `Staffing.lacks_rooms` and `Staffing.rooms` say may have changed."""


class Staffing:
    """See the module; made on the loop.

    Args:
        base: of the Main.
        project, manifest: what rooms are for.
        crew: whose calls run in them.

    Attributes:
        rooms: that are open, by their *seat*: the address of the offer, and a number where it has several for us.
        trouble: the last refusal of a room, by the address of the offer.
    """

    def __init__(self, base: Base, project: Project, manifest: Any, crew: Crewed) -> None:
        self.rooms: dict[str, OpenRoom] = {}
        self.trouble: dict[str, BaseException] = {}
        self._base = base
        self._project = project
        self._manifest = manifest
        self._crew = crew
        self._scheduler: str | None = None
        self._client: CrewClient | None = None
        self._session: Session | None = None
        self._has_placed = False
        self._ready = asyncio.Event()  # there is a scheduler, or never will be
        self._lent: list[Lent] = []  # as rooms know it, by their pass
        self._is_pass_old = asyncio.Event()
        timeout_s = base.settings.timeout_s
        self._machine = CrewMachine(fail_at=None if timeout_s is None else base.loop.time() + timeout_s)
        self._driver = Driver(
            self._machine,
            {
                AskRoom: lambda effect: self._spawn(self._open_room(effect.offer)),
                PlaceCalls: lambda effect: self._place(),
                FailCalls: lambda effect: self._fail(self._explained(effect.reason)),
                SayWaiting: lambda effect: self._say_waiting(),
                EndCrew: lambda effect: base.spawn_ending(self._end()),
            },
            Tick,
        )

    def begin(self) -> None:
        """Open; the crew hears of it from here on, so it must know us."""
        self._spawn(self._open())
        self.look_for_offers()
        if self._base.trouble is not None:
            self.on_trouble(self._base.trouble)

    # ------------------------------------------------------------ events

    @property
    def phase(self) -> Phase:
        """Of the machine."""
        return self._machine.phase

    @property
    def lacks_rooms(self) -> bool:
        """Whether an offer would open a room for us if we needed it."""
        return self._machine.lacks_rooms

    def handle(self, event: Event) -> None:
        """Something happened."""
        self._driver.handle(event)
        self._crew.on_rooms()

    def look_for_offers(self) -> None:
        """Hear of those that are here already, and whether others may come."""
        self._machine.is_hopeful = self._base.may_find
        if self._lent_for_good() != self._lent:
            self._is_pass_old.set()
        links = list(self._base.links.values())
        for link in links:
            if link.trouble is not None:
                self.trouble.setdefault(link.address, link.trouble)
            if link.is_here:
                self._look_at(link)
        if all(link.is_hopeless for link in links):
            for link in links:
                if link.address not in self._machine.offers:  # they were given up before this crew was
                    self.handle(OfferGone(link.address, True, link.trouble))

    def _look_at(self, link: OfferLink) -> None:
        """Hear of its seats; of further ones when the first is taken, which would be there later beside them."""
        seats = _seats(link)
        for seat in [seat for seat in self._machine.offers if _address(seat) == link.address]:
            if seat not in seats:  # its owner lends less by now
                self.handle(OfferGone(seat))
        for seat in seats:
            if seat == link.address or seat in self._machine.offers or link.address in self.rooms:
                self.handle(OfferHere(seat, self._crew.has_demand()))

    def on_here(self, link: OfferLink) -> None:
        """See `LinkEvents`."""
        self.look_for_offers()

    def on_gone(self, link: OfferLink, for_ever: bool, reason: BaseException) -> None:
        """See `LinkEvents`."""
        self.trouble[link.address] = reason
        self.look_for_offers()
        known = [seat for seat in self._machine.offers if _address(seat) == link.address]
        for seat in known or [link.address]:
            self.rooms.pop(seat, None)
            self.handle(OfferGone(seat, for_ever, reason))

    def on_room_ended(self, link: OfferLink, room: str) -> None:
        """See `LinkEvents`."""
        for seat in [seat for seat, open_room in self.rooms.items() if open_room.room == room]:
            if _address(seat) == link.address:
                del self.rooms[seat]
                self.handle(RoomEnded(seat, self._crew.has_demand()))

    def on_trouble(self, reason: BaseException) -> None:
        """There is no offer at all, and this is why."""
        self.trouble["offers"] = reason
        self._machine.is_hopeful = False
        self.handle(OfferGone("offers", True, reason))

    def lose(self, reason: DistributedError) -> None:
        """What it needs has ended."""
        if self._session is not None:
            why = reason.reason if isinstance(reason, CommClosedError) else str(reason)
            self._session.link.finish(CommClosedError(self._session.scheduler_address, why))
        self.handle(CloseAsked())

    def why_waiting(self) -> str:
        """For people: what has to happen before calls can run."""
        if self.phase is Phase.CLOSED:
            return "it was closed"
        served = set(map(_address, self.rooms))
        told = {address: str(reason).removeprefix(f"{address}: ") for address, reason in self.trouble.items()}
        troubles = [f"{address}: {text}" for address, text in told.items() if address not in served]
        if troubles:
            return "no room is open; " + "; ".join(troubles)
        if self._session is None:
            return "the scheduler is being started"
        links = self._base.links
        if not links:
            return "no offer of workers is known yet"
        names = ", ".join(links)
        return f"a room is being opened at {names}" if any(link.is_here for link in links.values()) else (
            f"{names} cannot be reached yet"
        )  # fmt: skip

    # ------------------------------------------------------------ performers

    def _explained(self, reason: BaseException) -> BaseException:
        timeout_s = self._base.settings.timeout_s
        if type(reason) is not TimeoutError or timeout_s is None:
            return reason
        return WorkersLateError(timeout_s, self.why_waiting())

    def _fail(self, reason: BaseException) -> None:
        if self._has_placed and isinstance(reason, DistributedError):  # calls are with the scheduler, and wait there
            self._base.call_soon(self._crew.lose, reason)
        else:
            self._crew.on_failed(reason)

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._base.spawn(coroutine)

    def _place(self) -> None:
        assert self._session is not None
        self._has_placed = True
        self._crew.on_placed(self._session)
        self._spawn(self._give_passes())

    async def _give_passes(self) -> None:
        """Let rooms submit calls by themselves, as long as this crew lives."""
        while (client := self._client) is not None:
            base, project = self._base, self._project
            self._is_pass_old.clear()
            self._lent = self._lent_for_good()
            given = Pass(
                base.name,
                base.tickets(self._manifest.id, PASS_S, base.depth),
                self._manifest.id,
                project.entry,
                project.entry_file,
                project.roots,
                project.source,
                project.environment,
                self._lent,
                base.depth,
                time.time() + PASS_S,
            )
            try:
                await asyncio.to_thread(Variable(PASS_NAME, client=client).set, given)
            except DistributedError as error:  # the session has ended, and with it the crew; or it will come again
                logger.info("no pass for rooms of %s: %s", base.name, error)
            except RuntimeError:  # the program ends just now, and no thread can be asked any more
                logger.info("no pass for rooms of %s: the program ends", base.name)
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PASS_S / 2):
                    await self._is_pass_old.wait()

    def _lent_for_good(self) -> list[Lent]:
        """What calls can be matched with; nothing while more may be found."""
        return [] if self._base.may_find else self._base.lent()

    async def _open(self) -> None:
        try:
            self._scheduler = await self._base.open_scheduler()
            client = CrewClient(self._scheduler, self._base.keys, self._base.name)
            self._session = await client.open()
            self._client = client
        except DistributedError as error:  # the process of schedulers is gone, or never came
            self._crew.on_failed(error)
            self.handle(CloseAsked())
            return
        finally:
            self._ready.set()
        if self.phase is Phase.CLOSED:
            await self._end()
        else:
            self.handle(Connected())

    async def _open_room(self, seat: str) -> None:
        link = self._base.links[_address(seat)]
        try:
            with self._base.opening_room():
                room = await self._ship_and_open(link, int(seat.partition(SEAT)[2] or 0))
        except PASSING as error:
            self._refuse(seat, error, False)
        except WorkspaceChangedError as error:
            self._refuse(seat, error, False)
            self._crew.on_outdated()
        except Exception as error:  # whatever the offer raised there: it is told to whoever waits
            self._refuse(seat, error, True)
        else:
            if self.phase in (Phase.CLOSED, Phase.FAILED):
                await link.close_room(room.room)
                return
            self.rooms[seat] = room
            self.trouble.pop(link.address, None)
            self.handle(RoomOpened(seat))
            if seat == link.address and link.is_here:
                self._look_at(link)

    def _refuse(self, seat: str, error: BaseException, for_ever: bool) -> None:
        self.trouble[_address(seat)] = error
        if for_ever:
            logger.warning("the offer at %s opens no room: %s", _address(seat), error)
        self.handle(RoomRefused(seat, error, for_ever))

    async def _ship_and_open(self, link: OfferLink, number: int) -> OpenRoom:
        for attempt in range(SHIP_ATTEMPTS):
            if self._project.contents is not None:  # while the scheduler starts
                progress = shipping(link.address)
                await link.ship(self._project.contents, self._manifest, self._sources(link), progress)
            try:
                return await link.open_room(await self._wish(link, number))
            except UnknownWorkspaceError:
                if attempt + 1 == SHIP_ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _wish(self, link: OfferLink, number: int) -> RoomWish:
        await self._ready.wait()
        if self._scheduler is None or link.info is None:
            raise CommClosedError(self._base.name, "its scheduler did not start")
        return RoomWish(
            scheduler=await self._base.scheduler_for(self._scheduler, link),
            workspace=self._manifest.id,
            entry=self._project.entry,
            entry_file=self._project.entry_file,
            roots=self._project.roots,
            source=self._project.source if not must_dial(link.address) else None,
            number=number,
            environment=self._project.environment,
            resources=promised(link.info.memory_nbytes, number),
        )

    def _sources(self, link: OfferLink) -> list[tuple[str, str]]:
        """Other offers that have this workspace, and a ticket for each."""
        having = [each for each in self._base.links.values() if each.is_here and each.shipped == self._manifest]
        if not having or link.shipped == self._manifest:
            return []
        ticket = self._base.tenant.credential.ticket(self._manifest.id, time.time() + SOURCE_S, 0)
        return [(each.address, ticket.line()) for each in having]

    def _say_waiting(self) -> None:
        if self._crew.has_demand():
            logger.warning("calls of %s wait: %s", self._base.name, self.why_waiting())

    async def _end(self) -> None:
        await self._base.until_quiet()
        rooms, self.rooms = self.rooms, {}
        client, self._client = self._client, None
        if client is not None:
            await client.end()
            client.close()
        for seat, room in rooms.items():
            await self._base.links[_address(seat)].close_room(room.room)
        if self._scheduler is not None:
            await self._base.close_scheduler(self._scheduler)
        self._driver.stop()


def _seats(link: OfferLink) -> list[str]:
    """What a crew asks an offer for: rooms in which together Python code can use all of its cores.

    Each may use any of these cores, and the offer sees to it that they do not use more than there are.
    """
    assert link.info is not None
    count, _ = split_cores(max(1, link.info.cores))
    return [link.address, *(f"{link.address}{SEAT}{number}" for number in range(1, min(count, SEATS_MAX)))]


def _address(seat: str) -> str:
    return seat.partition(SEAT)[0]
