"""Two strangers prove to each other that they hold the same role key, before any other byte is parsed.

    client                                             server
      "dstrbtd2" role nonce_c            (41 bytes) ──▶
      ◀── (104 bytes)  "dstrbtd2" nonce_s channel HMAC(key, "server" role nonce_c nonce_s channel)
      HMAC(key, "client" role nonce_c nonce_s channel)  (32) ──▶     then messages

Both machines are pure: nonces are arguments, bytes go in and out, sizes are fixed. HMAC is HMAC-SHA256. The server
proves itself first, so a client never says anything to an impostor. This authenticates the ends; it does not encrypt.

`channel` is the SHA-256 of what only the two ends of one connection have in common: the TLS session, else the address
at which the server was reached. Somebody in between who passes these bytes on to another server has another one, and
the client leaves. An address does not tell a forwarded port from such a somebody, so that has to be allowed.
"""

from __future__ import annotations

import hashlib
import hmac

from distributed.errors import AuthenticationError
from distributed.security.keys import Keyring
from distributed.security.permissions import ROLES

__all__ = [
    "BRAND",
    "CHALLENGE_NBYTES",
    "HELLO_NBYTES",
    "PROOF_NBYTES",
    "ClientHandshake",
    "ServerHandshake",
    "refusal_without_tls",
]

BRAND = b"dstrbtd"
MAGIC = BRAND + b"2"  # the last byte is the version of everything that follows
REFUSED = BRAND + b"-"  # no key for that role
TLS_ONLY = BRAND + b"T"  # said in plain bytes by who listens with TLS
NO_TLS = BRAND + b"P"  # and by who listens without
TLS_HELLO = b"\x16\x03"  # how every TLS connection begins
NONCE_NBYTES = 32
PROOF_NBYTES = 32
HELLO_NBYTES = len(MAGIC) + 1 + NONCE_NBYTES
CHANNEL_NBYTES = 32
CHALLENGE_NBYTES = len(MAGIC) + NONCE_NBYTES + CHANNEL_NBYTES + PROOF_NBYTES

FORWARDED = (
    "somebody is in between: if that is a forwarded port of yours (ssh -L, containers), use tls://, "
    "or set DISTRIBUTED_ALLOW_FORWARDING=1"
)

_ROLE_CODES = {role: bytes([code]) for code, role in enumerate(ROLES, start=1)}


class ClientHandshake:
    """The side that connects.

    Args:
        address: whom we call, for error texts.
        role: what we want to be there; `keyring` must hold its key.
        nonce: 32 random bytes, never used before.
        channel: what this connection is, as both ends see it.
        may_be_forwarded: it may be another one at the other end.
    """

    def __init__(
        self,
        address: str,
        role: str,
        keyring: Keyring,
        nonce: bytes,
        channel: bytes = b"",
        may_be_forwarded: bool = False,
    ) -> None:
        if role not in keyring.key_by_role:
            raise AuthenticationError(address, f"the key file here holds no key for role {role!r}")
        self.address = address
        self._role = role
        self._key = keyring.key_by_role[role]
        self._nonce = nonce
        self._channel = hashlib.sha256(channel).digest()
        self._may_be_forwarded = may_be_forwarded

    def hello(self) -> bytes:
        """The first bytes to send."""
        return MAGIC + _ROLE_CODES[self._role] + self._nonce

    def prove(self, challenge: bytes) -> bytes:
        """The answer to the server's `CHALLENGE_NBYTES` bytes.

        Raises:
            AuthenticationError: not a server of ours, one that refuses the role, one with another key, or one that was
                reached through somebody in between.
        """
        if challenge.startswith(REFUSED):
            raise AuthenticationError(self.address, f"the server holds no key for role {self._role!r}")
        if challenge.startswith(TLS_ONLY):
            raise AuthenticationError(self.address, "it listens with TLS", "connect with tls:// instead of tcp://")
        if not challenge.startswith(MAGIC):
            raise AuthenticationError(self.address, "what listens there is not a server of this version of distributed")
        bound = self._nonce + challenge[len(MAGIC) : -PROOF_NBYTES]
        if not hmac.compare_digest(challenge[-PROOF_NBYTES:], _proof(self._key, b"server", self._role, bound)):
            raise AuthenticationError(self.address, "the server has a different key")
        channel = challenge[-PROOF_NBYTES - CHANNEL_NBYTES : -PROOF_NBYTES]
        if not self._may_be_forwarded and not hmac.compare_digest(channel, self._channel):
            raise AuthenticationError(self.address, "the server was reached at another address than this", FORWARDED)
        return _proof(self._key, b"client", self._role, bound)


class ServerHandshake:
    """The side that listens; one instance per connection, `nonce` and `channel` as for the client."""

    def __init__(self, address: str, keyring: Keyring, nonce: bytes, channel: bytes = b"") -> None:
        self.address = address
        self.refusal: bytes | None = None  # to be sent before closing, when there is something polite to say
        self._keyring = keyring
        self._nonce = nonce
        self._channel = hashlib.sha256(channel).digest()
        self._bound = b""
        self._role = ""

    def challenge(self, hello: bytes) -> bytes:
        """The answer to the client's `HELLO_NBYTES` bytes.

        Raises:
            AuthenticationError: not a client of ours, or one whose role we hold no key for.
        """
        if hello.startswith(TLS_HELLO):
            self.refusal = _refusal(NO_TLS)
            raise AuthenticationError(self.address, "what connects speaks TLS", "connect with tcp:// instead of tls://")
        role = next((role for role, code in _ROLE_CODES.items() if hello[len(MAGIC) : len(MAGIC) + 1] == code), None)
        if not hello.startswith(MAGIC) or role is None:
            raise AuthenticationError(self.address, "what connects is not a client of this version of distributed")
        if role not in self._keyring.key_by_role:
            self.refusal = _refusal(REFUSED)
            raise AuthenticationError(self.address, f"we hold no key for role {role!r}")
        self._role = role
        self._bound = hello[len(MAGIC) + 1 :] + self._nonce + self._channel
        proof = _proof(self._keyring.key_by_role[role], b"server", role, self._bound)
        return MAGIC + self._nonce + self._channel + proof

    def accept(self, proof: bytes) -> str:
        """The role of a client that has proven it.

        Raises:
            AuthenticationError: it has another key.
        """
        expected = _proof(self._keyring.key_by_role[self._role], b"client", self._role, self._bound)
        if not hmac.compare_digest(proof, expected):
            raise AuthenticationError(self.address, "the client has a different key")
        return self._role


def refusal_without_tls() -> bytes:
    """What a server that listens with TLS answers to a client that does not speak it."""
    return _refusal(TLS_ONLY)


def _refusal(reason: bytes) -> bytes:
    return reason.ljust(CHALLENGE_NBYTES, b"\0")


def _proof(key: bytes, side: bytes, role: str, bound: bytes) -> bytes:
    return hmac.digest(key, b"distributed/2/" + side + _ROLE_CODES[role] + bound, "sha256")
