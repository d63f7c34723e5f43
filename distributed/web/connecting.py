"""How our programs reach our HTTP servers: with the user's token, over TLS only to a certificate that is the user's."""

from __future__ import annotations

import ssl

from distributed.comm.addresses import is_loopback
from distributed.errors import ConfigError
from distributed.security.certificates import BEYOND_LOOPBACK, certificates, has_certificates
from distributed.security.keys import Keyring, keyring
from distributed.security.permissions import CLIENT, WORKER
from distributed.web.tokens import token_of

__all__ = ["base_url", "headers", "ssl_context"]


def headers(keys: Keyring | None = None, *preferred: str) -> dict[str, str]:
    """The header that lets us in, with the token of the first of the `preferred` roles that we hold the key of.

    By default the one of ``worker``, which may do all that programs of ours do: should somebody else have taken the
    port of a server that is not running, the token that it is shown is not the strongest.
    """
    return {"Authorization": f"Bearer {token_of(keys or keyring(), *(preferred or (WORKER, CLIENT)))}"}


def base_url(host: str, port: int, insecure: bool = False) -> str:
    """Of a server at a pair of settings: ``http`` on loopback or if `insecure` is spelled out, else ``https``.

    Raises:
        ConfigError: https is needed, and this user has no certificate: the token must not cross a network in the clear.
    """
    if not is_loopback(host) and not insecure and not has_certificates():
        raise ConfigError("host", host, BEYOND_LOOPBACK)
    scheme = "http" if is_loopback(host) or insecure else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def ssl_context() -> ssl.SSLContext:
    """For ``https``: the server must show one of the user's own certificates; names and dates count for nothing.

    Raises:
        CertificateError: this user has none.
    """
    return certificates().pinned_context()
