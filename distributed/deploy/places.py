"""Where the servers of a cluster shall run: what users write as pairs of host and port, checked. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from distributed.comm.addresses import parse_address
from distributed.errors import AddressError, ConfigError

__all__ = ["Place", "place_of_host", "plan"]

ANY_PORT = 0


class Place(NamedTuple):
    """A host and a port; port 0: any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host and self.port else self.host
        return f"{host}:{self.port}" if self.port else host


def plan(hosts: Iterable[Any], center: Any, center_port: int) -> tuple[list[Place], Place]:
    """The places of the workers, and that of the center.

    Args:
        hosts: of the workers: ``'host'``, ``'host:port'`` or pairs; without a port: any free one.
        center: likewise; None: at the first of `hosts`. Without a port: `center_port`.
    Raises:
        ConfigError: no host, the same one twice, or the center's place among them.
        AddressError: what is no host.
    """
    if isinstance(hosts, (str, bytes)):
        raise ConfigError("hosts", hosts, "a list of hosts, also of a single one")
    places = [place_of_host(host, ANY_PORT) for host in hosts]
    if not places:
        raise ConfigError("hosts", [], "a cluster needs at least one")
    middle = Place(places[0].host, center_port) if center is None else place_of_host(center, center_port)
    for number, place in enumerate(places):
        if place in places[:number]:
            cure = "" if place.port else "; give each a port of its own to have several there"
            raise ConfigError("hosts", str(place), f"it is there twice{cure}")
        if place.port and place == middle:
            raise ConfigError("center", str(middle), "a worker is to listen there; give one of them another port")
    return places, middle


def place_of_host(value: Any, default_port: int) -> Place:
    """The place that a text or a pair names. Raises AddressError."""
    if isinstance(value, (tuple, list)) and len(value) == 2 and value[1] is None:
        value = value[0]
    address = parse_address(value, default_port)
    if address.scheme != "tcp" or (isinstance(value, str) and "://" in value):
        raise AddressError(value, "write host or host:port; whether it is encrypted is decided by where it listens")
    host = (
        "127.0.0.1" if address.host == "localhost" else address.host
    )  # one spelling, so that the same is seen as such
    return Place(host, address.port)
