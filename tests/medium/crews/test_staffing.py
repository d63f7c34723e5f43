"""Which seats of an offer a crew asks for and when, and when it gives them up."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from distributed.crews.base import Base
from distributed.crews.staffing import Staffing
from distributed.crews.states import RoomState

ADDRESS = "tcp://127.0.0.1:8788"


def make(cores: int) -> tuple[Any, list[str]]:
    """A `Staffing` with one offer that is here, and the names of the coroutines that it starts."""
    started: list[str] = []

    def spawn(coroutine: Any) -> None:
        started.append(coroutine.__name__)
        coroutine.close()

    info = SimpleNamespace(cores=cores)
    link = SimpleNamespace(address=ADDRESS, info=info, trouble=None, is_here=True, is_hopeless=False)
    loop = SimpleNamespace(time=lambda: 0.0, call_at=lambda *args: SimpleNamespace(cancel=lambda: None))
    base: Any = SimpleNamespace(
        settings=SimpleNamespace(timeout_s=None),
        loop=loop,
        links={ADDRESS: link},
        may_find=False,
        spawn=spawn,
        lent=list,
    )
    crew: Any = SimpleNamespace(has_demand=lambda: True, on_rooms=lambda: None, on_failed=lambda reason: None)
    project: Any = SimpleNamespace()
    return Staffing(base, project, None, crew), started


async def test_the_second_room_of_an_offer_is_asked_for_when_the_first_is_open() -> None:
    staffing, started = make(cores=2)
    staffing.look_for_offers()
    assert started == ["_open_room"]
    assert list(staffing._machine.offers) == [ADDRESS]
    staffing.rooms[ADDRESS] = SimpleNamespace(room="r")
    staffing.look_for_offers()
    assert started == ["_open_room"] * 2
    assert staffing._machine.offers[f"{ADDRESS}#1"].room is RoomState.ASKED


async def test_seats_that_an_offer_does_not_lend_any_more_are_gone() -> None:
    staffing, _ = make(cores=2)
    staffing.rooms[ADDRESS] = SimpleNamespace(room="r")
    staffing.look_for_offers()
    staffing._base.links[ADDRESS].info.cores = 1
    staffing.look_for_offers()
    assert not staffing._machine.offers[f"{ADDRESS}#1"].is_here


async def test_what_ends_waits_for_rooms_that_are_being_opened_unless_all_ends() -> None:
    base: Any = Base.__new__(Base)
    base._opening, base._is_leaving, base._quiet = 0, False, asyncio.Event()
    with base.opening_room():
        waiting = asyncio.ensure_future(base.until_quiet())
        with base.opening_room():
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting
    with base.opening_room():
        base._is_leaving = True
        await base.until_quiet()
