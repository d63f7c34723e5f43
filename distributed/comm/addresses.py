"""Addresses: ``tcp://host:port``, ``tls://host:port``, ``unix:///path``, ``inproc://name``; and what people write.

``dialled://name`` is a server that has connected to us, see `comm.dialled`.
"""

from __future__ import annotations

import socket
from typing import Any, NamedTuple

from distributed.errors import AddressError

__all__ = ["Address", "is_loopback", "is_numeric", "parse_address", "place_of"]


_LOOPBACK_6 = bytes(15) + b"\x01"
_NAMES = ("unix", "inproc", "dialled")  # schemes without host and port


class Address(NamedTuple):
    """A place to connect to. ``host`` is a host, a path (unix) or a name (inproc, dialled); ``port`` is 0 for these."""

    scheme: str
    host: str
    port: int = 0

    def __str__(self) -> str:
        if self.scheme in _NAMES:
            return f"{self.scheme}://{self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_address(value: Any, default_port: int | None = None) -> Address:
    """Understand any accepted spelling.

    Args:
        value: canonical text, ``"host:port"``, ``"host"`` (with `default_port`), the same as bytes, ``(host, port)``.
        default_port: for spellings without a port; None: they are an error.
    Raises:
        AddressError: none of these; the text names what is wrong.
    """
    if isinstance(value, Address):
        return value
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise AddressError(value, "a pair is (host, port)")
        host, port = _text(value[0]), _port(value[1], value)
        if not host or "/" in host:
            raise AddressError(value, "the first of a pair is a host")
        return Address("tcp", host, port)
    text = _text(value).strip()
    scheme, separator, rest = text.rpartition("://")
    scheme = scheme.lower() if separator else "tcp"
    if scheme in _NAMES:
        if not rest:
            raise AddressError(value, f"{scheme}:// wants a name after it")
        return Address(scheme, rest)
    if scheme not in ("tcp", "tls"):
        raise AddressError(value, f"unknown scheme {scheme!r}, use tcp, tls, unix or inproc")
    host, port_text = _split_port(rest)
    if not host:
        raise AddressError(value, "the host is missing, write host:port")
    if "/" in host or (":" in host and not _is_ipv6(host)):
        raise AddressError(value, "write host:port or tcp://host:port")
    if port_text:
        return Address(scheme, host, _port(port_text, value))
    if default_port is None:
        raise AddressError(value, "the port is missing, write host:port")
    return Address(scheme, host, default_port)


def is_loopback(host: str) -> bool:
    """Whether only processes of this machine can reach `host`."""
    if host == "localhost":
        return True
    packed = _packed(host)
    return packed == _LOOPBACK_6 or (len(packed) == 4 and packed[0] == 127)


def is_numeric(host: str) -> bool:
    """Whether `host` is an address rather than a name."""
    return _packed(host) != b""


def place_of(host: str, port: int) -> tuple[Any, ...] | None:
    """What `socket.getaddrinfo` says of a numeric host, without its 5 ms (it imports tables of names); None: ask it."""
    packed = _packed(host)
    if len(packed) == 4:
        return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)
    if packed and "%" not in host:
        usual = socket.inet_ntop(socket.AF_INET6, packed)
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (usual, port, 0, 0)
    return None


def _is_ipv6(host: str) -> bool:
    return len(_packed(host)) == 16


def _packed(host: str) -> bytes:
    """The bytes of a numeric address, empty: it is none. (The module ipaddress takes a millisecond to import.)"""
    try:
        if ":" in host:
            return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])  # what follows names a network card
        return socket.inet_pton(socket.AF_INET, host)
    except (OSError, ValueError):  # ValueError: a null character, or a letter that no host has
        return b""


def _split_port(text: str) -> tuple[str, str]:
    if text.startswith("["):  # [::1]:80, the only form in which an IPv6 address may carry a port
        host, bracket, port = text[1:].partition("]")
        return (host, port.removeprefix(":")) if bracket else ("", "")
    if text.count(":") > 1:
        return text, ""
    host, _, port = text.partition(":")
    return host, port


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, str):
        return value
    raise AddressError(value, "it is neither text nor a (host, port) pair")


def _port(value: Any, whole: Any) -> int:
    try:
        port = int(value)
    except (TypeError, ValueError):
        raise AddressError(whole, f"{value!r} is no port number") from None
    if not 0 <= port <= 65535:
        raise AddressError(whole, "a port is between 0 and 65535")
    return port
