"""What all crews of a Main stand on: a loop in a thread of its own, the process of schedulers, and links to offers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

from distributed.calls import rpc
from distributed.client.loop_thread import LoopThread
from distributed.comm.addresses import parse_address
from distributed.config import SCHEDULER_PORT
from distributed.crews.backlog import Backlog
from distributed.crews.links import OfferLink, Tenant, must_dial
from distributed.crews.matching import Lent
from distributed.crews.options import MainSettings
from distributed.crews.passes import DEPTH_MAX
from distributed.crews.processes import Processes
from distributed.errors import CommClosedError, DistributedError, NoOfferError, WorkerStartError
from distributed.offers.local import LocalOffer
from distributed.offers.wire import LEASE_S, OFFER_PORT
from distributed.process.restart_policy import RestartPolicy
from distributed.process.running import Background
from distributed.security.credentials import Credential
from distributed.security.keys import KEY_NBYTES, Keyring, keyring

__all__ = ["Base"]

logger = logging.getLogger(__name__)

CLOSE_S = 15.0
END_S = 3.0  # of it, for crews to end in order
QUIET_S = 2.0  # at most that crews which nobody needs wait for rooms that are being opened
WATCH_S = 0.5  # between two looks whether our processes live
DEATHS_MAX = 3  # of one of them, in a row and within ten seconds each
LOOK_S = 5.0  # between two questions to a running scheduler for the offers of its workers
NAME_LENGTH = 60


class Base:
    """Starts processes at once, and returns before they are up.

    Args:
        settings: of the Main.
        crews: told what happens at offers, see `LinkEvents`, and by ``on_trouble`` why there are none.
        passes: what lets us in at each offer, by address, if we are the Main of a room; else the settings tell.
        depth: levels of calls from calls that may be made directly.
        lease_s: see `Tenant`.
        processes: of this Main, if they were started already; ours from now on.

    Attributes:
        loop: on which everything but users' calls happens.
        keys: of this Main alone, for its schedulers, its rooms, and its offer.
        crews, depth: as the arguments.
        tenant: who we are for offers.
        links: to offers, by address, in the order in which they were named.
        finding: offers may be named that are not in `links` yet.
        trouble: why there is no offer at all.
        backlog: of the calls of all crews.
    """

    def __init__(
        self,
        settings: MainSettings,
        crews: Any,
        passes: Mapping[str, Credential] | None = None,
        depth: int = DEPTH_MAX,
        lease_s: float = LEASE_S,
        processes: Processes | None = None,
    ) -> None:
        self.settings = settings
        self._processes = processes or Processes(settings, has_offers=bool(passes))
        self._thread: LoopThread | None = None
        try:
            self._prepare(settings, passes, lease_s)
            self._thread = LoopThread("distributed-main")
        except BaseException:
            self.close()
            raise
        self.crews = crews
        self.depth = depth
        self.loop = self._thread.loop
        self.call_soon(self._begin)

    def _prepare(self, settings: MainSettings, passes: Mapping[str, Credential] | None, lease_s: float) -> None:
        self.keys = self._processes.keys
        self._opening = 0  # rooms
        self._local_link: OfferLink | None = None
        self._is_leaving = False
        self.name = settings.ident or _program_name()
        self.backlog = Backlog(settings.queued_calls_max, settings.queued_nbytes_max)
        self.links: dict[str, OfferLink] = {}
        self.finding = True
        self.trouble: BaseException | None = None
        self.tenant = Tenant(secrets.token_hex(16), self.name, self.keys, os.urandom(KEY_NBYTES), lease_s)
        self._credential = None if settings.credential is None else Credential.load(settings.credential).keyring()
        named = [str(parse_address(address, OFFER_PORT)) for address in settings.workers]
        self._passes = passes
        self._named: dict[str, Keyring | None] = dict.fromkeys(named, self._credential)
        if passes is not None:
            self._named = {address: credential.keyring() for address, credential in passes.items()}

    # ------------------------------------------------------------ the loop

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Call it on the loop; from any thread. Nothing once the loop has ended."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function, *args)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run it beside; on the loop. What it raises is our own fault, and logged."""
        self._background.spawn(coroutine)

    def spawn_ending(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """As `spawn`, for what is waited for before the Main leaves its offers."""
        self._endings.spawn(coroutine)

    @contextlib.contextmanager
    def opening_room(self) -> Iterator[None]:
        """Around what somebody waits for. On the loop."""
        self._opening += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._opening -= 1
            if not self._opening:
                self._quiet.set()

    async def until_quiet(self) -> None:
        """Until no room is being opened: ending others keeps the same disks and cores busy. Not for long, nor when we
        leave."""
        if not self._is_leaving:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUIET_S):
                    await self._quiet.wait()

    def _begin(self) -> None:
        self._background = Background(_on_failure)
        self._endings = Background(_on_failure)
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._greet()
        self.spawn(self._watch_schedulers())
        for address, credential in self._named.items():
            self._add(address, credential)
        if self._processes.offer is not None:
            self.spawn(self._meet_local(self._processes.offer))
            self.spawn(self._watch_local())
        elif self.settings.scheduler is not None:
            self.spawn(self._find(self.settings.scheduler))
        else:
            self.finding = False

    # ------------------------------------------------------------ schedulers

    def _greet(self) -> None:
        self._hello = asyncio.ensure_future(asyncio.to_thread(self._processes.schedulers.hello))
        self._hello.add_done_callback(lambda done: done.cancelled() or done.exception())  # for who opens a scheduler
        self._host: rpc | None = None

    async def _watch_schedulers(self) -> None:
        """One that is killed takes its calls with it; another one is there for the next calls."""
        policy = RestartPolicy(DEATHS_MAX)
        while True:
            if not await _has_ended(self._processes.schedulers.is_running, policy) or _is_ending():
                return  # who opens a scheduler hears of it
            host = self._host
            self._processes.renew_schedulers()
            self._greet()
            why = "its process has ended (was it killed?); make the calls again that were not decided"
            self.crews.on_lost(CommClosedError("the scheduler of this program", why))
            if host is not None:
                await host.close()

    async def open_scheduler(self) -> str:
        """Address of a new scheduler.

        Raises:
            WorkerStartError: the process of schedulers did not come up, or has ended.
        """
        address, first = await self._hello
        if self._host is None:
            self._host = rpc(address, keys=self.keys, patient=False)
            return first
        opened: str = await self._host.call("open_scheduler")
        return opened

    async def scheduler_for(self, scheduler: str, link: OfferLink) -> str:
        """Under which address rooms of this offer find a scheduler of ours: it dials those on other machines."""
        if not must_dial(link.address) or self._host is None:
            return scheduler
        keys = link.credential or keyring()
        credential = [dict(keys.key_by_role), keys.name, keys.pinned, keys.needs_certificate]
        address: str = await self._host.call("dial_offer", address=scheduler, offer=link.address, credential=credential)
        return address

    async def close_scheduler(self, address: str) -> None:
        """It is not needed any more; no error if it is gone."""
        if self._host is not None:
            with contextlib.suppress(DistributedError):
                await self._host.call("close_scheduler", address=address)

    # ------------------------------------------------------------ offers

    def lent(self) -> list[Lent]:
        """What all offers that we have been at lend, wherever they are now."""
        return [
            Lent(link.address, tuple(link.info.tags), link.info.cores, link.info.memory_nbytes)
            for link in list(self.links.values())
            if link.info is not None
        ]

    @property
    def may_find(self) -> bool:
        """Whether there may be offers that we have not been at yet."""
        return self.finding or any(link.info is None and not link.is_hopeless for link in list(self.links.values()))

    def _add(self, address: str, credential: Keyring | None) -> OfferLink:
        if address not in self.links:
            link = self.links[address] = OfferLink(address, self.tenant, credential, self.crews)
            self.spawn(link.run())
        return self.links[address]

    async def _meet_local(self, local: LocalOffer) -> None:
        try:
            address = await asyncio.to_thread(local.address)
        except DistributedError as error:
            self._fail(error)
            return
        self._local_link = self._add(address, self.keys)
        self.finding = False

    async def _watch_local(self) -> None:
        """One that is killed is replaced: it was ours, so nobody else starts it again."""
        policy = RestartPolicy(DEATHS_MAX)
        while (local := self._processes.offer) is not None:
            is_started_again = await _has_ended(local.is_running, policy)
            if _is_ending():
                return
            error = WorkerStartError(
                "the offer of this machine has ended: was it killed, or is there too little memory? setup() begins anew"
            )
            self.finding = is_started_again
            if self._local_link is not None:
                self._local_link.give_up(error)
            if not is_started_again:
                self._fail(error)
                self.crews.on_lost(error)
                return
            self.trouble, self._local_link = None, None
            await self._meet_local(self._processes.renew_offer(self.settings))

    async def _find(self, scheduler: str) -> None:
        """The offers of a running scheduler's workers, again and again: workers come and go."""
        address = str(parse_address(scheduler, SCHEDULER_PORT))
        async with rpc(address) as server:
            while True:
                try:
                    info = await server.call("scheduler_info")
                except DistributedError as error:
                    if not self.links:
                        self._fail(error)
                    await asyncio.sleep(LOOK_S)
                    continue
                for offer in _offers_in(info):
                    self._add(offer, self._credential)
                self.finding = False
                if not self.links:
                    self._fail(NoOfferError(address, len(info["workers"])))
                await asyncio.sleep(LOOK_S)

    def tickets(self, workspace: str, seconds: float, depth: int) -> dict[str, str]:
        """The line of a ticket for each offer: for this workspace, so many seconds and levels; never more than ours."""
        made: dict[str, str] = {}
        for address, link in self.links.items():
            if self._passes is not None:
                made[address] = self._passes[address].ticket(depth=depth).line()
            elif not link.is_hopeless:
                made[address] = self.tenant.credential.ticket(workspace, time.time() + seconds, depth).line()
        return made

    def _fail(self, reason: BaseException) -> None:
        self.trouble = reason
        self.crews.on_trouble(reason)

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """Leave offers, end processes and thread; from any thread but the loop's. May be called twice."""
        thread, self._thread = self._thread, None
        if thread is not None:
            with contextlib.suppress(TimeoutError):  # what hangs there ends with its lease
                thread.run(self._leave(), CLOSE_S)
            thread.stop()
        self._processes.close()

    async def _leave(self) -> None:
        self._is_leaving = True
        self._quiet.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await self._endings.wait_ended()
        await asyncio.gather(*(link.close() for link in self.links.values()))
        self._background.cancel()
        if self._host is not None:
            await self._host.close()


def _is_ending() -> bool:
    """Whether the program ends: then no thread can be begun any more."""
    return not threading.main_thread().is_alive()


async def _has_ended(is_running: Callable[[], bool], policy: RestartPolicy) -> bool:
    """Wait until a process of ours has ended; whether another one is to be started."""
    began = time.monotonic()
    while is_running():
        await asyncio.sleep(WATCH_S)
    pause_s = policy.pause_s(time.monotonic() - began)
    if pause_s is not None:
        await asyncio.sleep(pause_s)
    return pause_s is not None


def _on_failure(error: BaseException) -> None:
    logger.error("a Main's own task failed", exc_info=error)


def _offers_in(info: dict[str, Any]) -> list[str]:
    """Addresses of the offers that a scheduler's workers told of, in order."""
    found: dict[str, None] = {}
    for address, worker in info["workers"].items():
        port = worker.get("services", {}).get("offer")
        if port is not None:
            found[str(parse_address(address)._replace(port=port))] = None
    return list(found)


def _program_name() -> str:
    """Who we are, for the owners of offers: program, user's machine and process."""
    program = Path(getattr(sys.modules["__main__"], "__file__", None) or sys.argv[0] or "python").name[:NAME_LENGTH]
    printable = "".join(letter if letter.isprintable() else "?" for letter in program)
    return f"{printable or 'python'}@{socket.gethostname()}:{os.getpid()}"
