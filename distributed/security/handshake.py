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

A guest says after its hello as whom it comes: its name (`security.credentials`), filled up with zeros to
`NAME_NBYTES`; both proofs then cover the name too. A server that does not know the name, or no longer, answers as if it
had another key for it, so that nobody can find out which names there are.
"""

from __future__ import annotations

import hashlib
import hmac

from distributed.errors import AuthenticationError
from distributed.security.credentials import NAME_NBYTES, FindKey
from distributed.security.keys import Keyring
from distributed.security.permissions import GUEST, ROLES

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

NOT_ADMITTED = "ask its owner for a new one: this one was withdrawn, has expired, or is for another machine"

_ROLE_CODES = {role: bytes([code]) for code, role in enumerate((*ROLES, GUEST), start=1)}


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
        self._name = keyring.name
        self._nonce = nonce
        self._channel = hashlib.sha256(channel).digest()
        self._may_be_forwarded = may_be_forwarded

    def hello(self) -> bytes:
        """The first bytes to send."""
        return MAGIC + _ROLE_CODES[self._role] + self._nonce + self._written_name()

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
        bound = self._nonce + self._written_name() + challenge[len(MAGIC) : -PROOF_NBYTES]
        if not hmac.compare_digest(challenge[-PROOF_NBYTES:], _proof(self._key, b"server", self._role, bound)):
            if self._role == GUEST:
                raise AuthenticationError(
                    self.address, f"it does not admit {self._name!r} with this credential", NOT_ADMITTED
                )
            raise AuthenticationError(self.address, "the server has a different key")
        channel = challenge[-PROOF_NBYTES - CHANNEL_NBYTES : -PROOF_NBYTES]
        if not self._may_be_forwarded and not hmac.compare_digest(channel, self._channel):
            raise AuthenticationError(self.address, "the server was reached at another address than this", FORWARDED)
        return _proof(self._key, b"client", self._role, bound)

    def _written_name(self) -> bytes:
        return _written(self._name) if self._role == GUEST else b""


class ServerHandshake:
    """The side that listens; one instance per connection, `nonce` and `channel` as for the client.

    Args:
        find_key: of a guest's whole name; None: there are no guests here.
    Attributes:
        name: the guest's, once the role is proven; else empty.
    """

    def __init__(
        self, address: str, keyring: Keyring, nonce: bytes, channel: bytes = b"", find_key: FindKey | None = None
    ) -> None:
        self.address = address
        self.name = ""
        self.refusal: bytes | None = None  # to be sent before closing, when there is something polite to say
        self._keyring = keyring
        self._find_key = find_key
        self._nonce = nonce
        self._channel = hashlib.sha256(channel).digest()
        self._bound = b""
        self._role = ""
        self._key = b""

    def name_nbytes(self, hello: bytes) -> int:
        """How many bytes follow the `HELLO_NBYTES` of `hello` and belong to it."""
        return NAME_NBYTES if hello.startswith(MAGIC + _ROLE_CODES[GUEST]) else 0

    def challenge(self, hello: bytes) -> bytes:
        """The answer to the client's `HELLO_NBYTES` bytes and the name that follows them.

        Raises:
            AuthenticationError: not a client of ours, or one whose role we hold no key for.
        """
        if hello.startswith(TLS_HELLO):
            self.refusal = _refusal(NO_TLS)
            raise AuthenticationError(self.address, "what connects speaks TLS", "connect with tcp:// instead of tls://")
        role = next((role for role, code in _ROLE_CODES.items() if hello[len(MAGIC) : len(MAGIC) + 1] == code), None)
        if not hello.startswith(MAGIC) or role is None:
            raise AuthenticationError(self.address, "what connects is not a client of this version of distributed")
        key = self._key_of(role, hello)
        if key is None:
            self.refusal = _refusal(REFUSED)
            raise AuthenticationError(self.address, f"we hold no key for role {role!r}")
        self._role, self._key = role, key
        self._bound = hello[len(MAGIC) + 1 :] + self._nonce + self._channel
        return MAGIC + self._nonce + self._channel + _proof(key, b"server", role, self._bound)

    def accept(self, proof: bytes) -> str:
        """The role of a client that has proven it; `name` is known from now on.

        Raises:
            AuthenticationError: it has another key.
        """
        if not hmac.compare_digest(proof, _proof(self._key, b"client", self._role, self._bound)):
            raise AuthenticationError(self.address, "the client has a different key")
        if self._role == GUEST:
            self.name = self._bound[NONCE_NBYTES : NONCE_NBYTES + NAME_NBYTES].rstrip(b"\0").decode()
        return self._role

    def _key_of(self, role: str, hello: bytes) -> bytes | None:
        if role != GUEST:
            return self._keyring.key_by_role.get(role)
        if self._find_key is None:
            return None
        written = hello[HELLO_NBYTES:]
        key = self._find_key(written.rstrip(b"\0").decode("ascii", "replace"))
        # Who is not known is asked to prove a key that nobody has, always the same one, made of all that we hold.
        decoy = b"".join(self._keyring.key_by_role.values())
        return hmac.digest(decoy, b"distributed/2/nobody/" + written, "sha256") if key is None else key


def refusal_without_tls() -> bytes:
    """What a server that listens with TLS answers to a client that does not speak it."""
    return _refusal(TLS_ONLY)


def _refusal(reason: bytes) -> bytes:
    return reason.ljust(CHALLENGE_NBYTES, b"\0")


def _written(name: str) -> bytes:
    return name.encode("ascii").ljust(NAME_NBYTES, b"\0")


def _proof(key: bytes, side: bytes, role: str, bound: bytes) -> bytes:
    return hmac.digest(key, b"distributed/2/" + side + _ROLE_CODES[role] + bound, "sha256")
