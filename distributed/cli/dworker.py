"""The console script ``dworker``: one or more workers until SIGINT or SIGTERM, or until the scheduler ends."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import random
from collections.abc import Sequence
from typing import Any

import click

from distributed.cli.offering import offer_settings, with_offer_options
from distributed.client.connecting import find_by_file
from distributed.comm.addresses import is_loopback, parse_address
from distributed.config import CENTER_PORT, SCHEDULER_PORT
from distributed.deploy.machine import cores_available, memory_limit_nbytes
from distributed.errors import ConfigError
from distributed.log import LEVELS, log_to_stderr
from distributed.nanny import Nanny, RestartPolicy
from distributed.process.ending import guarded
from distributed.process.running import on_signals, run_loop
from distributed.process.zygote import Zygote
from distributed.rooms.kind import ROOM_MAINS, ROOM_PRELOAD
from distributed.security.keys import keyring
from distributed.units import parse_seconds
from distributed.worker.process import LIFETIME_OVER, run_worker_child, serve_worker
from distributed.worker.server import Worker

__all__ = ["main"]

logger = logging.getLogger("distributed.worker")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("address", required=False)
@click.option("--scheduler-file", type=click.Path(dir_okay=False), help="Read the scheduler's address from this file.")
@click.option(
    "--center", is_flag=True, help=f"ADDRESS is a center's: its port is {CENTER_PORT} unless ADDRESS has one."
)
@click.option("--nworkers", type=click.IntRange(1), default=1, show_default=True, help="Worker processes.")
@click.option("--nthreads", type=click.IntRange(1), help="Tasks at once in each worker. [default: cores / nworkers]")
@click.option("--memory-limit", default="auto", show_default=True, help="Per worker: auto (its share), 0 (none), 4GiB.")
@click.option("--name", help="Unique among the scheduler's workers; with --nworkers, NAME-0 and so on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Interface to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the worker. [default: any free one]")
@click.option(
    "--http-port", type=click.IntRange(0, 65535), default=0, help="Of its JSON routes. [default: any free one]"
)
@click.option("--http/--no-http", default=True, help="Answer HTTP, for whoever has the token.  [default: http]")
@click.option("--resources", default="", metavar="NAME=AMOUNT,...", help="What tasks may ask for, such as GPU=1.")
@click.option("--tags", default="", metavar="TAG,...", help="What platform= may match, beside linux and linux-x86_64.")
@click.option("--local-directory", type=click.Path(file_okay=False), help="Where temporary folders are made.")
@click.option("--lifetime", metavar="DURATION", help="Retire after 2h, 30m, 90s, before a batch system ends the job.")
@click.option(
    "--lifetime-stagger", default="0", metavar="DURATION", help="Up to so much earlier, each worker by chance."
)
@click.option(
    "--grace", default="30s", show_default=True, help="How long a retiring worker waits for others to take over."
)
@click.option("--nanny/--no-nanny", default=True, help="Guard each worker with a process that starts it again.")
@click.option(
    "--restarts-max",
    type=click.IntRange(0),
    default=RestartPolicy().quick_deaths_max,
    show_default=True,
    help="End when a worker has died so often in a row, soon after its start and without a task; 0: never.",
)
@click.option("--tls", is_flag=True, help="Encrypt on loopback too. [default: if the scheduler does]")
@click.option("--insecure", is_flag=True, help="Encrypt nothing, even if others can reach --host.")
@click.option(
    "--preload", multiple=True, metavar="MODULE|FILE.py", help="Each worker loads it, and calls its setup(worker)."
)
@click.option("--log-level", type=click.Choice(LEVELS, case_sensitive=False), default="INFO", show_default=True)
@with_offer_options
@click.version_option(package_name="distributed")
def main(
    address: str | None, scheduler_file: str | None, center: bool, nworkers: int, nthreads: int | None,
    memory_limit: str, name: str | None, host: str, port: int, http_port: int, http: bool, resources: str, tags: str,
    local_directory: str | None, lifetime: str | None, lifetime_stagger: str, grace: str, nanny: bool,
    restarts_max: int, tls: bool, insecure: bool, preload: tuple[str, ...], log_level: str, offer: bool | None,
    **about_offer: Any,
) -> None:  # fmt: skip
    """Start workers for the scheduler at ADDRESS (host:port), waiting for it if it is not there yet.

    Exit codes: 0 after SIGINT, SIGTERM or the scheduler's end; 1 if a worker cannot start or dies again and again; 3 if
    the scheduler has another key.
    """
    log_to_stderr(log_level)
    is_alone = bool(offer) and address is None and scheduler_file is None
    if not is_alone and (address is None) == (scheduler_file is None):
        raise click.UsageError("name the scheduler: either ADDRESS or --scheduler-file; or only lend, with --offer")
    if tls and insecure:
        raise click.UsageError("--tls and --insecure contradict each other")
    if nworkers > 1 and (port or http_port or not nanny):
        raise click.UsageError("--port, --http-port and --no-nanny are for a single worker")
    if offer and not nanny:
        raise click.UsageError("--offer needs the process of the nanny")
    listen = {"port": port, "address": host, "insecure": insecure, "tls": tls}
    tag_list = [tag.strip() for tag in tags.split(",") if tag.strip()]
    offered = functools.partial(
        offer_settings, memory_limit=memory_limit, nworkers=nworkers, nthreads=nthreads, tags=tag_list,
        local_directory=local_directory, log_level=log_level, listen=listen, **about_offer,
    )  # fmt: skip

    def run() -> int:
        keyring()
        if is_alone:
            return _lend_alone(offered(), parse_seconds(grace, "--grace"))
        place = parse_address(_scheduler(address, scheduler_file), CENTER_PORT if center else SCHEDULER_PORT)
        if is_loopback(host) and not is_loopback(place.host):
            logger.warning("listens on %s: others reach it only if they run on this machine; see --host", host)
        scheduler, listen["tls"] = str(place), tls or place.scheme == "tls"
        common = {
            "nthreads": nthreads or max(1, cores_available() // nworkers),
            "memory_limit_nbytes": memory_limit_nbytes(memory_limit, 1 / nworkers),
            "resources": parse_resources(resources),
            "grace_s": parse_seconds(grace, "--grace"),
            "http_port": http_port if http else None,
            "tags": tag_list,
        }
        workers = [{**common, "name": each} for each in _names(name, nworkers)]
        lifetimes_s = draw_lifetimes(lifetime, lifetime_stagger, nworkers)
        if not nanny:
            alone = {**workers[0], "local_directory": local_directory}
            return run_loop(_serve_worker(scheduler, alone, listen, lifetimes_s[0], preload))
        lends = not center if offer is None else offer
        zygote = Zygote({"worker": run_worker_child, **(ROOM_MAINS if lends else {})}, ROOM_PRELOAD if lends else ())
        try:
            lending = _lending(offered(beside=True), zygote, common["grace_s"]) if lends else None
            return run_loop(
                _serve_nannies(
                    scheduler, workers, listen, local_directory, restarts_max, log_level, zygote, lifetimes_s, preload,
                    lending,
                )
            )  # fmt: skip
        finally:
            zygote.close()

    guarded(run)


def _lend_alone(settings: dict[str, Any], grace_s: float) -> int:
    from distributed.cli.lending import lend_alone  # lazy: see tidy.py

    return lend_alone(settings, grace_s)


def _lending(settings: dict[str, Any], zygote: Zygote, grace_s: Any) -> Any:
    from distributed.cli.lending import Lending  # lazy: see tidy.py

    return Lending(settings, zygote, grace_s)


def _names(name: str | None, count: int) -> list[str | None]:
    return [name] if count == 1 else [name if name is None else f"{name}-{number}" for number in range(count)]


async def _serve_worker(
    scheduler: str, options: dict[str, Any], listen: dict[str, Any], lifetime_s: float | None, preload: Sequence[str]
) -> int:
    await serve_worker(Worker(scheduler, **options), listen, lifetime_s, preload)
    return 0


async def _serve_nannies(
    scheduler: str, workers: Sequence[dict[str, Any]], listen: dict[str, Any], local_directory: str | None,
    restarts_max: int, log_level: str, zygote: Zygote, lifetimes_s: Sequence[float | None], preload: Sequence[str],
    lending: Any,
) -> int:  # fmt: skip
    zygote.attach()
    announced = {} if lending is None else await lending.start()
    nannies = [
        Nanny(
            scheduler, zygote, worker_options={**options, "announced": announced}, worker_port=listen["port"],
            host=listen["address"], insecure=listen["insecure"], tls=listen["tls"], local_directory=local_directory,
            log_level=log_level, preload=preload, policy=RestartPolicy(quick_deaths_max=restarts_max),
        )
        for options in workers
    ]  # fmt: skip
    closing: list[asyncio.Task[Any]] = []

    def stop(nanny: Nanny, reason: str) -> None:
        closing.append(asyncio.ensure_future(nanny.close(reason, graceful=reason != "SIGINT")))

    def stop_all(name: str) -> None:
        for nanny in nannies:
            stop(nanny, name)
        if lending is not None:
            lending.stop(name)

    on_signals(stop_all)
    for nanny, lifetime_s in zip(nannies, lifetimes_s, strict=True):
        if lifetime_s is not None:
            asyncio.get_running_loop().call_later(lifetime_s, stop, nanny, LIFETIME_OVER)
    for nanny in nannies:
        await nanny.start()
    try:
        await asyncio.gather(*(nanny.finished for nanny in nannies))
    finally:
        await asyncio.gather(*(nanny.close("another worker failed") for nanny in nannies), *closing)
        if lending is not None:
            await lending.close()
    return 0


def draw_lifetimes(lifetime: str | None, stagger: str, count: int) -> list[float | None]:
    """Seconds that each of `count` workers lives: up to `stagger` less than `lifetime`, by chance; None: for ever.

    Raises:
        ConfigError: no such duration, or a stagger that may be longer than the life.
    """
    if lifetime is None:
        return [None] * count
    lifetime_s, stagger_s = parse_seconds(lifetime, "--lifetime"), parse_seconds(stagger, "--lifetime-stagger")
    if stagger_s > lifetime_s:
        raise ConfigError("--lifetime-stagger", stagger, f"it must not be longer than --lifetime {lifetime}")
    return [lifetime_s - random.uniform(0.0, stagger_s) for _ in range(count)]


def parse_resources(text: str) -> dict[str, float]:
    """``"GPU=1,disk=20"`` as amounts by name. Raises ConfigError."""
    amounts: dict[str, float] = {}
    for part in filter(None, text.replace(" ", "").split(",")):
        name, separator, amount = part.partition("=")
        try:
            amounts[name] = float(amount)
        except ValueError:
            separator = ""
        if not separator or not name or not 0 <= amounts[name] < math.inf:
            raise ConfigError("--resources", text, "write NAME=AMOUNT,NAME=AMOUNT with finite amounts >= 0")
    return amounts


def _scheduler(address: str | None, scheduler_file: str | None) -> str:
    if address is not None:
        return address
    assert scheduler_file is not None
    return find_by_file(scheduler_file)


if __name__ == "__main__":
    main()
