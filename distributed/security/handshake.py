"""Two strangers prove to each other that they hold the same role key, before any other byte is parsed.

    client                                            server
      "dstrbtd1" role nonce_c           (41 bytes) ──▶
      ◀── (72 bytes)  "dstrbtd1" nonce_s HMAC(key, "server" role nonce_c nonce_s)
      HMAC(key, "client" role nonce_c nonce_s)  (32) ──▶     then messages

Both machines are pure: nonces are arguments, bytes go in and out, sizes are fixed. HMAC is HMAC-SHA256. The server
proves itself first, so a client never says anything to an impostor. This authenticates the ends; it does not encrypt.
"""

from __future__ import annotations

import hmac

from distributed.errors import AuthenticationError
from distributed.security.keys import Keyring
from distributed.security.permissions import ROLES

__all__ = ["CHALLENGE_NBYTES", "HELLO_NBYTES", "PROOF_NBYTES", "ClientHandshake", "ServerHandshake"]

MAGIC = b"dstrbtd1"  # the last byte is the version of everything that follows
REFUSAL = b"dstrbtd-"
NONCE_NBYTES = 32
PROOF_NBYTES = 32
HELLO_NBYTES = len(MAGIC) + 1 + NONCE_NBYTES
CHALLENGE_NBYTES = len(MAGIC) + NONCE_NBYTES + PROOF_NBYTES

_ROLE_CODES = {role: bytes([code]) for code, role in enumerate(ROLES, start=1)}


class ClientHandshake:
    """The side that connects.

    Args:
        address: whom we call, for error texts.
        role: what we want to be there; `keyring` must hold its key.
        nonce: 32 random bytes, never used before.
    """

    def __init__(self, address: str, role: str, keyring: Keyring, nonce: bytes) -> None:
        if role not in keyring.key_by_role:
            raise AuthenticationError(address, f"the key file here holds no key for role {role!r}")
        self.address = address
        self._role = role
        self._key = keyring.key_by_role[role]
        self._nonce = nonce

    def hello(self) -> bytes:
        """The first bytes to send."""
        return MAGIC + _ROLE_CODES[self._role] + self._nonce

    def prove(self, challenge: bytes) -> bytes:
        """The answer to the server's `CHALLENGE_NBYTES` bytes.

        Raises:
            AuthenticationError: not a server of ours, one that refuses the role, or one with another key.
        """
        if challenge.startswith(REFUSAL):
            raise AuthenticationError(self.address, f"the server holds no key for role {self._role!r}")
        if not challenge.startswith(MAGIC):
            raise AuthenticationError(self.address, "what listens there is not a server of this version of distributed")
        nonces = self._nonce + challenge[len(MAGIC) : -PROOF_NBYTES]
        if not hmac.compare_digest(challenge[-PROOF_NBYTES:], _proof(self._key, b"server", self._role, nonces)):
            raise AuthenticationError(self.address, "the server has a different key")
        return _proof(self._key, b"client", self._role, nonces)


class ServerHandshake:
    """The side that listens; one instance per connection, `nonce` as for the client."""

    def __init__(self, address: str, keyring: Keyring, nonce: bytes) -> None:
        self.address = address
        self.refusal: bytes | None = None  # to be sent before closing, when there is something polite to say
        self._keyring = keyring
        self._nonce = nonce
        self._nonces = b""
        self._role = ""

    def challenge(self, hello: bytes) -> bytes:
        """The answer to the client's `HELLO_NBYTES` bytes.

        Raises:
            AuthenticationError: not a client of ours, or one whose role we hold no key for.
        """
        role = next((role for role, code in _ROLE_CODES.items() if hello[len(MAGIC) : len(MAGIC) + 1] == code), None)
        if not hello.startswith(MAGIC) or role is None:
            raise AuthenticationError(self.address, "what connects is not a client of this version of distributed")
        if role not in self._keyring.key_by_role:
            self.refusal = REFUSAL + bytes(CHALLENGE_NBYTES - len(REFUSAL))
            raise AuthenticationError(self.address, f"we hold no key for role {role!r}")
        self._role = role
        self._nonces = hello[len(MAGIC) + 1 :] + self._nonce
        return MAGIC + self._nonce + _proof(self._keyring.key_by_role[role], b"server", role, self._nonces)

    def accept(self, proof: bytes) -> str:
        """The role of a client that has proven it.

        Raises:
            AuthenticationError: it has another key.
        """
        expected = _proof(self._keyring.key_by_role[self._role], b"client", self._role, self._nonces)
        if not hmac.compare_digest(proof, expected):
            raise AuthenticationError(self.address, "the client has a different key")
        return self._role


def _proof(key: bytes, side: bytes, role: str, nonces: bytes) -> bytes:
    return hmac.digest(key, b"distributed/1/" + side + _ROLE_CODES[role] + nonces, "sha256")
