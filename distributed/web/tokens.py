"""Tokens: what a request over HTTP shows to be let in. One per role, derived from the user's key; pure.

A token is 64 hex digits. It tells nothing about the key, and nobody can make another role's token from it.
"""

from __future__ import annotations

import hmac
from functools import lru_cache

from distributed.security.keys import Keyring

__all__ = ["role_of", "token_of"]

_PURPOSE = b"distributed/1/http"


def token_of(keys: Keyring, *preferred: str) -> str:
    """The token of the first of the `preferred` roles that we hold the key of, else of any."""
    return _token(keys.key_by_role[keys.strongest_role(*preferred)])


def role_of(keys: Keyring, token: str) -> str | None:
    """The role that `token` is of; None: of none. Takes as long for every token."""
    shown = token.encode(errors="replace")
    found = None
    for role in keys.key_by_role:
        if hmac.compare_digest(token_of(keys, role).encode(), shown):
            found = role
    return found


@lru_cache(maxsize=16)
def _token(key: bytes) -> str:
    return hmac.digest(key, _PURPOSE, "sha256").hex()
