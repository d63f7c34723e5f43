"""An offer with all its parts, as its owner describes it; used by the processes that serve one."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from distributed.dataclass import dataclass, field
from distributed.environments.builder import Environments
from distributed.environments.zygotes import Zygotes
from distributed.errors import DistributedError
from distributed.offers.housing import Housing, Order
from distributed.offers.opening import RoomOpener
from distributed.offers.records import Limits
from distributed.offers.server import Offer
from distributed.offers.sharing import Sharing
from distributed.process.folders import make_folder, remove_leftovers
from distributed.process.running import on_signals, read_lines, report
from distributed.process.zygote import Zygote
from distributed.rooms.kind import ROOM_MAINS
from distributed.security.grants import Grants
from distributed.security.keys import Keyring
from distributed.units import GiB
from distributed.versions import platform_tags
from distributed.workspace.laying import remove
from distributed.workspace.receiving import Receiver
from distributed.workspace.spaces import Spaces

__all__ = ["STORE_NBYTES", "OfferOptions", "build_offer", "serve_beside", "serve_guests", "serve_offer"]

logger = logging.getLogger(__name__)

PARENT_WATCH_S = 1.0
STORE_NBYTES = 10 * GiB  # of contents on disk, where the owner names no bound


@dataclass(slots=True)
class OfferOptions:
    """What an owner says of an offer.

    Attributes:
        cores, memory_nbytes, rooms_max: see `Limits`; rooms_max None: its default.
        tags: beside those of the machine.
        store, store_nbytes_max: folder and bound of the blob store; None: the user's own, and `STORE_NBYTES`.
        environments: folder of what is built; None: the user's own. pythons: paths of further interpreters.
        folder: where rooms have theirs; None: the system's place for temporary files.
        admits: names of grants that let somebody in; None: all of this user's.
        port: None: the offer's default; host, insecure, tls: where offer and rooms listen, see `Server.listen`.
        log_level: of rooms.
        grants: where grants are found.
    """

    cores: int
    memory_nbytes: int | None = None
    rooms_max: int | None = None
    tags: Sequence[str] = ()
    store: str | None = None
    store_nbytes_max: int | None = None
    environments: str | None = None
    pythons: Sequence[str] = ()
    folder: str | None = None
    admits: Sequence[str] | None = ()
    port: Any = None
    host: str = "127.0.0.1"
    insecure: bool = False
    tls: bool = False
    log_level: str = "WARNING"
    keys: Keyring | None = field(default=None, repr=False)
    grants: Grants = field(default_factory=Grants, repr=False)


async def build_offer(options: OfferOptions, zygote: Zygote) -> Offer:
    """The offer, listening; `zygote` is attached to the running loop.

    Raises:
        StoreFolderError, ConfigError, PortTakenError, CertificateError: what is said of it cannot be.
    """
    limits = Limits(options.cores, options.memory_nbytes)
    if options.rooms_max is not None:
        limits = Limits(options.cores, options.memory_nbytes, rooms_max=options.rooms_max)
    tags = [*platform_tags(), *options.tags]
    spaces = Spaces(options.store, options.store_nbytes_max or STORE_NBYTES)
    receiver = Receiver(spaces, lambda stream, tenant: offer.caller_of(stream, tenant))
    environments = Environments(options.environments, pythons=options.pythons)
    minors = await environments.minors()
    opener = RoomOpener(
        zygote, environments, Zygotes(ROOM_MAINS, tuple(ROOM_MAINS)), tags=options.tags, host=options.host,
        insecure=options.insecure, tls=options.tls, log_level=options.log_level,
    )  # fmt: skip
    sockets = make_folder()  # not below `folder`: the path of a socket must be short

    async def lay_out(order: Order, folder: str) -> None:
        assert order.wish.workspace is not None
        await receiver.lay_out(offer.caller_by_tenant(order.tenant), order.wish.workspace, folder)

    async def clear() -> None:
        await receiver.close()
        spaces.close()
        sockets.remove()

    def find_key(name: str) -> bytes | None:
        return options.grants.find_key(name) if options.admits is None or name in options.admits else None

    housing = Housing(opener, lay_out, remove, Sharing(sockets.path, options.cores), options.folder, clear)
    offer = Offer(
        limits,
        housing,
        tags=tags,
        pythons=list(minors),
        workspace_ops=receiver.handlers,
        forget=receiver.forget,
        keys=options.keys,
        find_key=find_key,
    )
    try:
        offer.start(options.port, options.host, options.insecure, options.tls)
    except BaseException:
        await housing.close()
        raise

    def end() -> None:
        logger.error("the process that forks rooms has ended (was it killed?), so this offer ends; start it again")
        offer.close_soon("the process that forks its rooms has ended")

    zygote.on_gone = end
    return offer


async def serve_offer(options: OfferOptions, zygote: Zygote, grace_s: float) -> int:
    """Serve until SIGTERM (rooms have `grace_s` to hand on what they hold) or SIGINT (they end at once).

    Raises:
        DistributedError: it cannot be served, see `build_offer`.
    """
    zygote.attach()
    offer = await build_offer(options, zygote)
    on_signals(lambda name: offer.close_soon(name, 0.0 if name == "SIGINT" else grace_s))
    await serve_guests(offer, options)
    return int(zygote.has_ended)


async def serve_guests(offer: Offer, options: OfferOptions) -> None:
    """Until it is finished: say where it is, clean up after killed ones, and show out those whose grant ends."""
    logger.info("lends %d core(s) at %s", options.cores, offer.address)

    watching = asyncio.ensure_future(options.grants.watch(lambda name: offer.dismiss(name, "its grant has ended")))
    cleaning = asyncio.ensure_future(asyncio.to_thread(remove_leftovers, options.folder))
    waited: list[asyncio.Future[Any]] = [watching, offer.finished]
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    watching.cancel()
    await cleaning
    if not offer.finished.done():  # the watch has failed, and nobody could be shown out any more
        await offer.close("it cannot look after its grants")
        await watching
    await offer.finished


async def serve_beside(given: dict[str, Any], keys: Keyring, zygote: Zygote) -> int:
    """Serve the program that started us until it is gone. `given`: see `distributed.offers.local`."""
    zygote.attach()
    try:
        offer = await build_offer(
            OfferOptions(**given["offer"], port=0, log_level=given["log_level"], keys=keys), zygote
        )
    except DistributedError as error:
        report(given["answer"], {"error": str(error)})
        return 1
    parent_gone = asyncio.Event()
    listening = asyncio.ensure_future(read_lines(os.dup(sys.stdin.fileno()), lambda line: None))
    listening.add_done_callback(lambda done: parent_gone.set())
    watching = asyncio.ensure_future(_watch_parent(os.getppid(), parent_gone))
    report(given["answer"], {"address": offer.address, "pid": os.getpid()})
    cleaning = asyncio.ensure_future(asyncio.to_thread(remove_leftovers, given["offer"]["folder"]))
    gone = asyncio.ensure_future(parent_gone.wait())
    waited: list[asyncio.Future[Any]] = [gone, offer.finished]
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    for task in (listening, watching, gone):
        task.cancel()
    await offer.close("its Main has ended")
    await cleaning
    await offer.finished
    return 0


async def _watch_parent(parent: int, gone: asyncio.Event) -> None:
    """Closing stdin tells first; but whatever the parent forked may hold the other end open when it is killed."""
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_WATCH_S)
    gone.set()
