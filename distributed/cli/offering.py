"""What owners do with an offer: ``dworker --offer`` lends, ``distributed withdraw`` takes back, ``return`` undoes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from distributed.calls import rpc
from distributed.cli.asking import ask
from distributed.comm.addresses import parse_address
from distributed.deploy.machine import cores_available, memory_limit_nbytes
from distributed.errors import ConfigError
from distributed.offers.wire import OFFER_PORT
from distributed.process.ending import guarded
from distributed.units import format_nbytes, parse_nbytes, parse_seconds

__all__ = ["OFFER_OPTIONS", "described", "offer_settings", "return_command", "with_offer_options", "withdraw"]

Command = TypeVar("Command", bound=Callable[..., Any])

EVERYBODY, NOBODY = "everybody", "nobody"

OFFER_OPTIONS: list[Callable[[Any], Any]] = [
    click.option(
        "--offer/--no-offer", default=None, help="Lend to Mains (@distributed). [default: if ADDRESS is a scheduler's]"
    ),
    click.option("--cores", type=click.IntRange(1), help="Slots of the offer. [default: as many as the workers have]"),
    click.option("--offer-port", type=click.IntRange(0, 65535), help=f"Of the offer. [default: {OFFER_PORT}, or any]"),
    click.option(
        "--admit", default=EVERYBODY, show_default=True, metavar="NAME,...",
        help="Whose grants count; everybody who has one; or nobody. You yourself are always let in.",
    ),
    click.option("--rooms-max", type=click.IntRange(1), help="Interpreters of the offer at once. [default: 64]"),
    click.option("--store-limit", default="10GiB", show_default=True, help="Files of Mains that it keeps on disk."),
    click.option("--python", "pythons", multiple=True, metavar="PATH", help="Another interpreter that Mains may want."),
]  # fmt: skip


def with_offer_options(command: Command) -> Command:
    """A click command with these options."""
    for option in reversed(OFFER_OPTIONS):
        command = option(command)
    return command


def offer_settings(
    *,
    beside: bool = False,
    nworkers: int,
    nthreads: int | None,
    memory_limit: str,
    tags: Sequence[str],
    local_directory: str | None,
    log_level: str,
    listen: Mapping[str, Any],
    cores: int | None,
    offer_port: int | None,
    admit: str,
    rooms_max: int | None,
    store_limit: str,
    pythons: Sequence[str],
) -> dict[str, Any]:
    """Keywords of `OfferOptions` from what was typed.

    Args:
        beside: there are workers too, whose port is another one.
    Raises:
        ConfigError: a size that is none, or names that contradict each other.
    """
    names = [name.strip() for name in admit.split(",") if name.strip()]
    if not names or (len(names) > 1 and {EVERYBODY, NOBODY} & set(names)):
        raise ConfigError("--admit", admit, f"names of grants, or {EVERYBODY}, or {NOBODY}")
    limit = memory_limit_nbytes(memory_limit, 1.0)
    port = offer_port if beside or offer_port is not None else (listen["port"] or None)
    return {
        "cores": cores or (nthreads * nworkers if nthreads else cores_available()),
        "memory_nbytes": limit if limit is None or memory_limit == "auto" else limit * nworkers,
        "admits": None if names == [EVERYBODY] else [] if names == [NOBODY] else names,
        "rooms_max": rooms_max,
        "store_nbytes_max": parse_nbytes(store_limit, "--store-limit"),
        "pythons": list(pythons),
        "tags": list(tags),
        "folder": local_directory,
        "log_level": log_level,
        "port": port,
        "host": listen["address"],
        "insecure": listen["insecure"],
        "tls": listen["tls"],
    }


@click.command()
@click.argument("address")
@click.option("--cores", type=click.IntRange(1), help="Take back so many. [default: everything]")
@click.option("--memory", metavar="SIZE", help="Take back so much, such as 4GiB. [default: everything]")
@click.option("--grace", default="30s", show_default=True, help="After that what still runs too much is killed.")
def withdraw(address: str, cores: int | None, memory: str | None, grace: str) -> None:
    """Take cores or memory of your offer at ADDRESS back from the Mains that use it; without options, all of it.

    Idle rooms end at once. What runs may go on for the grace; Mains run elsewhere what was not done by then.
    """
    nbytes = None if memory is None else parse_nbytes(memory, "--memory")
    _tell(address, "withdraw_offer", cores=cores, memory_nbytes=nbytes, grace_s=parse_seconds(grace, "--grace"))


@click.command(name="return")
@click.argument("address")
def return_command(address: str) -> None:
    """Lend everything of your offer at ADDRESS again."""
    _tell(address, "return_offer")


def described(info: dict[str, Any]) -> str:
    """What an offer lends, in a line."""
    if info["is_withdrawn"]:
        return f"{info['address']} lends nothing"
    memory = "any memory" if info["memory_nbytes"] is None else format_nbytes(info["memory_nbytes"])
    return f"{info['address']} lends {info['cores']} core(s) and {memory}"


def _tell(address: str, op: str, **content: Any) -> None:
    async def run() -> int:
        async with rpc(str(parse_address(address, OFFER_PORT))) as offer:
            print(described(await ask(offer, op, **content)))
        return 0

    guarded(lambda: asyncio.run(run()))
