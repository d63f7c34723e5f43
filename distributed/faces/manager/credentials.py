"""What a worker needs to reach its manager: ``(address, family, authkey)``, as `get_client_args` returns it.

The authkey is the only secret. Keys for the handshake are derived from it, and it never travels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distributed.comm.addresses import Address, is_loopback, parse_address
from distributed.errors import AddressError, ConfigError, KeyFileError
from distributed.security.keys import Keyring, read_private_file, role_key, write_private_file
from distributed.security.permissions import WORKER

__all__ = ["PUBLISHED", "ClientArgs", "keys_of", "load_authkey", "place_of", "read_client_args", "save_authkey"]

PUBLISHED = b"secret password"  # the default that was printed in a manual: everybody knows it
FILE_NBYTES_MAX = 10_000
_PLAIN = "tcp://"  # before a host beyond loopback: without TLS, as its manager was told to be

ClientArgs = tuple[Any, str, bytes]


def keys_of(authkey: Any, host: str) -> Keyring:
    """The keys that both sides prove at `host`.

    Raises:
        ConfigError: no key at all, or a published one where other machines can connect.
    """
    if not isinstance(authkey, (bytes, bytearray)) or not authkey:
        raise ConfigError("authkey", type(authkey).__name__, "it is bytes, at least one; None makes a random one")
    if bytes(authkey) == PUBLISHED and not is_loopback(host):
        raise ConfigError("authkey", "a published constant", "who can connect could run code; leave it out")
    return Keyring({WORKER: role_key(bytes(authkey), WORKER)})


def read_client_args(client_args: Any) -> tuple[Address, Keyring]:
    """Where the manager is, and what to prove to it.

    Raises:
        ConfigError: not what `get_client_args` returns. AddressError: its address is none.
    """
    if not isinstance(client_args, (tuple, list)) or len(client_args) != 3:
        raise ConfigError("client_args", type(client_args).__name__, "it is what manager.get_client_args() returns")
    address, family, authkey = client_args
    if family not in ("AF_INET", "AF_INET6", None):
        raise ConfigError("client_args", family, "the second of them is 'AF_INET'")
    place = place_of(address)
    return place, keys_of(authkey, place.host)


def place_of(address: Any) -> Address:
    """Where to connect: with TLS beyond loopback, unless the host is written ``tcp://host``."""
    if isinstance(address, (tuple, list)) and len(address) == 2 and str(address[0]).startswith(_PLAIN):
        return parse_address((str(address[0]).removeprefix(_PLAIN), address[1]))
    is_plain = isinstance(address, str) and address.startswith(_PLAIN)
    place = parse_address(address)
    if place.scheme not in ("tcp", "tls"):
        raise AddressError(address, "a manager listens at a host and a port")
    return place if is_plain or is_loopback(place.host) else place._replace(scheme="tls")


def shown_host(host: str, is_plain: bool) -> str:
    """The host as client args have it; see `place_of`."""
    return f"{_PLAIN}{host}" if is_plain and not is_loopback(host) else host


def save_authkey(path: str | Path, authkey: bytes) -> None:
    """Write the key to a file that only its owner can read. Raises OSError: it cannot be written."""
    write_private_file(Path(path), authkey.hex() + "\n", replace=True)


def load_authkey(path: str | Path) -> bytes:
    """The key that `save_authkey` wrote.

    Raises:
        KeyFileError: there is none, others can read it, or it holds something else.
    """
    try:
        text = read_private_file(Path(path), FILE_NBYTES_MAX, KeyFileError)
    except OSError as error:
        raise KeyFileError(str(path), f"{error.strerror}; manager.save_authkey(path) writes one") from error
    try:
        authkey = bytes.fromhex(text)
    except ValueError:
        authkey = b""
    if not authkey:
        raise KeyFileError(str(path), "it holds no authkey in hex digits; manager.save_authkey(path) writes one")
    return authkey
