"""Main: what a program that calls `@distributed` functions is, one per process; any thread may use it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from distributed.crews.base import Base
from distributed.crews.call import Call
from distributed.crews.crew import Crew
from distributed.crews.links import OfferLink
from distributed.crews.options import CallOptions, MainSettings
from distributed.crews.processes import Processes
from distributed.crews.project import Project
from distributed.crews.states import Phase
from distributed.crews.telling import building
from distributed.errors import CommClosedError, DistributedError

__all__ = ["Main"]

logger = logging.getLogger(__name__)

ANYTHING = CallOptions()
IDLE_MAX = 2  # crews of older versions of the workspace that are kept although nobody wants anything of them


class Main:
    """Gives calls to the crew of the workspace as it is now, and opens that crew at the first call.

    Args:
        settings: what `setup` was told.
        processes: of this Main, if they were started already; ours from now on.
    """

    def __init__(self, settings: MainSettings | None = None, processes: Processes | None = None) -> None:
        self.settings = settings or MainSettings()
        self._processes = processes
        self._lock = threading.RLock()
        self._base: Base | None = None
        self._project: Project | None = None
        self._changed: Callable[[], bool] = lambda: False  # whether the workspace may be another one by now
        self._crews: list[Crew] = []  # oldest use first, the current one last
        self._current: Crew | None = None
        self._is_closed = False

    def submit(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        options: CallOptions = ANYTHING,
    ) -> Call:
        """Call ``function(*args, **kwargs)`` in a room; returns at once, unless very many calls wait already.

        Args:
            function: a `Reference`, or any callable; it goes by name where it has one, else by value.
            args, kwargs: as for `Client.submit`; a `Call` in them, also inside list, tuple, dict and set, stands for
                its result.
        Raises:
            UnpicklableError: an argument cannot be sent. CommClosedError: this Main is closed.
            WorkspaceError: the workspace cannot be sent as it is.
        """
        return self._crew().submit(function, args, kwargs or {}, options)

    def map(
        self,
        function: Callable[..., Any],
        arguments: Iterable[tuple[Any, ...]],
        kwargs: dict[str, Any] | None = None,
        options: CallOptions = ANYTHING,
    ) -> list[Call]:
        """`submit` for many calls, one per tuple of arguments, in order."""
        crew, given = self._crew(), kwargs or {}
        return [crew.submit(function, args, given, options) for args in arguments]

    def close(self) -> None:
        """End every crew, room and process of this Main. May be called twice."""
        with self._lock:
            crews, self._crews, self._current, self._is_closed = self._crews, [], None, True
            base, self._base = self._base, None
            processes, self._processes = self._processes, None
        for crew in crews:
            crew.end()
        if base is not None:
            base.close()
        if processes is not None:
            processes.close()

    # ------------------------------------------------------------ which crew

    def _crew(self) -> Crew:
        crew = self._current
        if crew is None or crew.has_failed or self._changed():
            return self._renewed()
        return crew

    def _renewed(self) -> Crew:
        """The crew of the workspace as it is now."""
        with self._lock:
            if self._is_closed:
                raise CommClosedError("this Main", "it was closed; call setup() to begin anew")
            base, project = self._begun()
            manifest = project.scan()
            current = self._current
            if current is not None and current.has_failed:  # no worker was there in time, perhaps: one may be now
                self._crews.remove(current)
                current.end()
                current = None
            if current is not None and current.id == manifest.id:
                return current
            crew = next((each for each in self._crews if each.id == manifest.id and each.is_usable()), None)
            is_new = crew is None
            crew = crew or Crew(base, project, manifest)
            # At once, and before it is begun: what the loop tells all crews meanwhile is for this one, too.
            self._crews = [*(each for each in self._crews if each is not crew), crew]
            if is_new:
                crew.begin()
            else:
                crew.resume()
            self._current = crew
            if current is not None:
                logger.info("the workspace has changed: %s instead of %s", crew.id[:12], current.id[:12])
                current.supersede()
            self._end_idle()
            return crew

    def _begun(self) -> tuple[Base, Project]:
        if self._base is None:
            self._base = self.make_base()  # first: its processes start while the workspace is looked at
        if self._project is None:
            try:
                self._project = self.make_project()
            except BaseException:
                base, self._base = self._base, None
                base.close()
                raise
            self._changed = self._project.changed
        return self._base, self._project

    def make_base(self) -> Base:
        """What its crews stand on; once."""
        processes, self._processes = self._processes, None
        return Base(self.settings, self, processes=processes)

    def make_project(self) -> Project:
        """What it sends to workers; once."""
        return Project(self.settings)

    def _end_idle(self) -> None:
        """Older crews of which nobody wants anything: the last few are kept, should an edit be taken back."""
        idle = [crew for crew in self._crews if crew is not self._current and crew.is_idle()]
        for crew in idle[: max(0, len(idle) - IDLE_MAX)]:
            self._crews.remove(crew)
            crew.end()

    # ------------------------------------------------------------ what happens at offers, on the loop

    def on_here(self, link: OfferLink) -> None:
        """See `LinkEvents`."""
        for crew in self._staffed():
            crew.on_here(link)

    def on_gone(self, link: OfferLink, for_ever: bool, reason: BaseException) -> None:
        """See `LinkEvents`."""
        if for_ever:
            logger.warning("the offer at %s cannot be used: %s", link.address, reason)
        for crew in self._staffed():
            crew.on_gone(link, for_ever, reason)

    def on_room_ended(self, link: OfferLink, room: str) -> None:
        """See `LinkEvents`."""
        for crew in self._staffed():
            crew.on_room_ended(link, room)

    def on_progress(self, link: OfferLink, line: str) -> None:
        """See `LinkEvents`."""
        building(link.address, line)

    def on_outdated(self, crew: Crew) -> None:
        """A workspace has changed before it could be sent: what waits for it is for the one that there is now."""
        threading.Thread(target=self._hand_over, args=(crew,), name="distributed-hand-over", daemon=True).start()

    def _hand_over(self, crew: Crew) -> None:
        try:
            newer = self._renewed()
        except Exception as error:  # of the workspace as it is now, or this Main is closed: for whoever waits
            crew.on_failed(error)
            return
        if newer is not crew:  # else it is as it was
            crew.hand_over(newer)
            with self._lock:
                if crew in self._crews and crew.is_idle():
                    self._crews.remove(crew)
                    crew.end()

    def on_trouble(self, reason: BaseException) -> None:
        """There are no offers, and this is why."""
        for crew in self._staffed():
            crew.on_trouble(reason)

    def on_lost(self, reason: DistributedError) -> None:
        """Our schedulers, or all of our workers, are gone for good; the next call makes a new crew."""
        for crew in list(self._crews):
            crew.lose(reason)

    def _staffed(self) -> list[Any]:
        """The staffings of all crews that have begun."""
        staffings = [crew.staffing for crew in list(self._crews)]
        return [each for each in staffings if each is not None and each.phase is not Phase.CLOSED]
