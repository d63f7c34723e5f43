"""Named credentials: what lets somebody in who is not this user; and tickets, which are worth less. Pure but for files.

A *name* has a root and, each after a slash, what narrows it:

    alice                                   a grant, which the owner of an offer made for another user
    tenant:3f9c...                          whoever a server has been told of, by a key that they share
    alice/w=9be1...,e=1795211000,d=2        a ticket of alice's: for one workspace, until then, two levels deep
    alice/w=9be1...,e=1795211000,d=2/d=1    and what its holder may pass on

The key of a root is 32 random bytes that the server can look up. The key of a ticket is the HMAC of its last part under
the key of what is before it: whoever holds a credential makes tickets of it alone, a server that knows the root
recomputes them, and nobody gets from a ticket to what it was made of. Parts only ever take rights away.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from pathlib import Path

from distributed.dataclass import dataclass
from distributed.errors import CredentialError
from distributed.security.keys import KEY_NBYTES, Keyring, read_private_file, write_private_file
from distributed.security.permissions import GUEST

__all__ = ["NAME_NBYTES", "NO_CLAIMS", "Claims", "Credential", "FindKey", "claims_of", "is_root", "key_of", "root_of"]

NAME_NBYTES = 512  # of a name with all its parts; a root and five tickets fit
CLOCKS_DIFFER_S = 60  # by that much the clock of a server may be ahead of the one by which a ticket was made
LINE_NBYTES_MAX = 2000
PREFIX = "guest"

FindKey = Callable[[str], bytes | None]

_ROOT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,95}")
_ORDERS = ("w", "e", "d", "we", "wd", "ed", "wed")  # of what a part says; one spelling for one meaning
_WORKSPACE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,11}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True, frozen=True)
class Claims:
    """What a name is narrowed to; None: not in that respect.

    Attributes:
        workspace: the only workspace id that may be used.
        expires_unix_s: when it ends, by the wall clock.
        depth: how many levels of calls may still be made from calls; 0: none.
    """

    workspace: str | None = None
    expires_unix_s: int | None = None
    depth: int | None = None


NO_CLAIMS = Claims()


@dataclass(slots=True, frozen=True, repr=False)
class Credential:
    """A name, the key that proves it, and how to know the servers it is for. Its repr shows no secret.

    Attributes:
        name: with all its parts.
        key: 32 bytes.
        fingerprint: of the only TLS certificate to take of these servers; None: any, the key proves them anyway.
    """

    name: str
    key: bytes
    fingerprint: str | None = None

    def __repr__(self) -> str:
        return f"<Credential {self.name}>"

    @staticmethod
    def load(path: str | Path) -> Credential:
        """The one in a file that only its owner can read.

        Raises:
            CredentialError: there is none, others can read it, or it holds something else; the text says what to do.
        """
        path = Path(path).expanduser()
        try:
            text = read_private_file(path, LINE_NBYTES_MAX, CredentialError)
        except OSError as error:
            raise CredentialError(str(path), f"it cannot be read: {error.strerror or error}") from None
        return Credential.parse(text, str(path))

    @staticmethod
    def parse(text: str, source: str = "the given text") -> Credential:
        """The one that `line` wrote. Errors as `load`, which name `source`."""
        prefix, _, rest = text.strip().partition(":")
        name, _, tail = rest.rpartition(":")
        name, _, digits = name.rpartition(":")
        fingerprint = None if tail == "-" else tail
        try:
            key = bytes.fromhex(digits)
        except ValueError:
            key = b""
        is_complete = prefix == PREFIX and len(key) == KEY_NBYTES and claims_of(name) is not None
        if not is_complete or not (fingerprint is None or _FINGERPRINT.fullmatch(fingerprint)):
            raise CredentialError(
                source, "it holds no credential; ask for the file that `distributed grant NAME` makes"
            )
        return Credential(name, key, fingerprint)

    def line(self) -> str:
        """As text, with its secret: what a file holds, or a process is handed."""
        return f"{PREFIX}:{self.name}:{self.key.hex()}:{self.fingerprint or '-'}"

    def save(self, path: str | Path, replace: bool = False) -> None:
        """Write it to a file that only its owner can read; one that is there stays, unless `replace`."""
        write_private_file(Path(path), self.line() + "\n", replace)

    def keyring(self) -> Keyring:
        """What to connect with: ``connect_address(..., keys=credential.keyring())``, ``rpc(..., keys=...)``."""
        return Keyring({GUEST: self.key}, self.name, self.fingerprint, needs_certificate=False)

    @property
    def claims(self) -> Claims:
        """What it is narrowed to."""
        claims = claims_of(self.name)
        assert claims is not None  # checked where credentials are made
        return claims

    def ticket(
        self, workspace: str | None = None, expires_unix_s: float | None = None, depth: int | None = None
    ) -> Credential:
        """One that is worth less: for one workspace, for some time, or for calls of so many levels. Nobody is asked.

        Raises:
            CredentialError: it would not be narrower (another workspace, no less depth), or the name gets too long.
        """
        parts = [f"w={workspace}"] if workspace is not None else []
        parts += [f"e={int(expires_unix_s)}"] if expires_unix_s is not None else []
        parts += [f"d={depth}"] if depth is not None else []
        part = ",".join(parts)
        name = f"{self.name}/{part}"
        if claims_of(name) is None:
            raise CredentialError(self.name, f"no ticket of it can say {part!r}: a ticket narrows what it is made of")
        return Credential(name, _narrowed(self.key, part), self.fingerprint)


def is_root(name: str) -> bool:
    """Whether `name` may be that of somebody, without parts."""
    return _ROOT.fullmatch(name) is not None


def root_of(name: str) -> str:
    """Whose name it is, without what narrows it."""
    return name.partition("/")[0]


def claims_of(name: str) -> Claims | None:
    """What `name` is narrowed to; None: it is no name, or its parts contradict each other."""
    root, *parts = name.split("/")
    if len(name) > NAME_NBYTES or not is_root(root):
        return None
    claims: Claims | None = NO_CLAIMS
    for part in parts:
        claims = claims and _narrow(claims, part)
    return claims


def key_of(name: str, find: FindKey, now_unix_s: float) -> bytes | None:
    """The key that proves `name` now; None: nobody's, or it has expired.

    Args:
        find: the key of a root, None if there is none.
    """
    claims = claims_of(name)
    if claims is None or (claims.expires_unix_s is not None and now_unix_s > claims.expires_unix_s + CLOCKS_DIFFER_S):
        return None
    root, *parts = name.split("/")
    key = find(root)
    for part in parts:
        key = key and _narrowed(key, part)
    return key


def _narrow(claims: Claims, part: str) -> Claims | None:
    pairs = [piece.partition("=") for piece in part.split(",")]
    said = {what: value for what, _, value in pairs}
    if "".join(what for what, _, _ in pairs) not in _ORDERS:
        return None
    if not all((_WORKSPACE if what == "w" else _NUMBER).fullmatch(value) for what, value in said.items()):
        return None
    workspace = said.get("w", claims.workspace)
    expires, depth = (int(said[what]) if what in said else None for what in "ed")
    if claims.workspace not in (None, workspace):
        return None
    if depth is not None and claims.depth is not None and depth >= claims.depth:
        return None
    times = [time for time in (claims.expires_unix_s, expires) if time is not None]
    return Claims(workspace, min(times) if times else None, claims.depth if depth is None else depth)


def _narrowed(key: bytes, part: str) -> bytes:
    return hmac.digest(key, b"distributed/2/ticket/" + part.encode(), "sha256")
