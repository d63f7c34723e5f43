"""The user's key: 32 random bytes in a file only its owner can read, made on first use; and the keys of the roles.

The file holds 64 hex digits, or ``role:`` and 64 hex digits for the key of a single role, as
``python -m distributed key --role worker`` exports it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from distributed.config import settings
from distributed.dataclass import dataclass
from distributed.errors import KeyFileError
from distributed.security.permissions import ROLES

__all__ = [
    "KEY_NBYTES",
    "Keyring",
    "adopt_keyring",
    "key_path",
    "keyring",
    "keyring_from_master",
    "load_keyring",
    "read_private_file",
    "role_key",
    "shared_keyring",
    "write_private_file",
]

KEY_NBYTES = 32


@dataclass(slots=True, frozen=True, repr=False)
class Keyring:
    """The keys that this process can prove, by role. Its repr shows no secret.

    Attributes:
        name: as whom; not empty for the role guest only, see `security.credentials`.
        needs_certificate: whether with TLS both sides show certificates of this user's file beside the key. False
            where two users share keys, and not a certificate: who connects shows none, and any is taken of the server.
        pinned: the fingerprint of the only certificate to take of servers then; None: any.
    """

    key_by_role: Mapping[str, bytes]
    name: str = ""
    pinned: str | None = None
    needs_certificate: bool = True

    def __repr__(self) -> str:
        return f"<Keyring for {self.name or ', '.join(self.key_by_role)}>"

    def strongest_role(self, *preferred: str) -> str:
        """The first of `preferred` we hold the key of, else any that we hold."""
        return next((role for role in preferred if role in self.key_by_role), next(iter(self.key_by_role)))

    def fingerprint(self) -> str:
        """Sixteen hex digits to compare two files by; tells nothing about the key."""
        parts = b"".join(self.key_by_role[role] for role in ROLES if role in self.key_by_role)
        return hashlib.sha256(b"distributed/1/fingerprint" + parts).hexdigest()[:16]


def role_key(master: bytes, role: str) -> bytes:
    """The key of a role: HKDF-SHA256 (RFC 5869) with no salt and info ``distributed/1/<role>``."""
    extracted = hmac.digest(bytes(32), master, "sha256")
    return hmac.digest(extracted, f"distributed/1/{role}".encode() + b"\x01", "sha256")


def keyring_from_master(master: bytes) -> Keyring:
    """All role keys of one master key."""
    return Keyring({role: role_key(master, role) for role in ROLES})


def shared_keyring(master: bytes) -> Keyring:
    """All role keys of a master key that processes of several users get, such as a Main's rooms on others' machines."""
    return Keyring(keyring_from_master(master).key_by_role, needs_certificate=False)


def key_path() -> Path:
    """``$DISTRIBUTED_KEY_FILE``, else ``distributed/key`` below the user's configuration folder."""
    if settings().key_file:
        return Path(str(settings().key_file)).expanduser()
    folder = os.environ.get("XDG_CONFIG_HOME", "")  # the XDG rule: relative paths count as unset
    return (Path(folder) if os.path.isabs(folder) else Path.home() / ".config") / "distributed" / "key"


def load_keyring(path: Path) -> Keyring:
    """Read the key file, or make it: several first starts at once agree on one key.

    Raises:
        KeyFileError: not a plain file of ours with mode 0600, no key in it, or its folder cannot be written.
    """
    try:
        if not path.exists():
            write_private_file(path, secrets.token_hex(KEY_NBYTES) + "\n")
        return _parse(path, read_private_file(path, 1000, KeyFileError))
    except OSError as error:
        reason = f"{error.strerror or error}; set DISTRIBUTED_KEY_FILE to a file that can be used"
        raise KeyFileError(str(path), reason) from error


_keyrings: dict[Path, Keyring] = {}
_adopted: Keyring | None = None


def adopt_keyring(keys: Keyring) -> None:
    """From now on `keyring` is these: this process works for somebody else than its user, whose key it never reads."""
    global _adopted
    _keyrings.clear()
    _adopted = keys


def keyring() -> Keyring:
    """The keys of this process's user, read once per path; or those that it has adopted."""
    if _adopted is not None:
        return _adopted
    path = key_path()
    if path not in _keyrings:
        _keyrings[path] = load_keyring(path)
    return _keyrings[path]


def write_private_file(path: Path, text: str, replace: bool = False) -> None:
    """Make a file that only its owner can read, at once and whole; one that is there stays, unless `replace`.

    Raises:
        OSError: folder or file cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        try:
            (os.replace if replace else os.link)(temporary, path)
        except FileExistsError:  # somebody was first: then theirs counts
            return
    finally:
        temporary.unlink(missing_ok=True)


def read_private_file(path: Path, nbytes_max: int, error: type[KeyFileError]) -> str:
    """The beginning of a file, if only its owner can use it; else raises `error`, which says why; OSError as usual."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise error(str(path), "it is not a regular file")
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as file:
        if hasattr(os, "geteuid"):
            if status.st_uid != os.geteuid():
                raise error(str(path), f"it belongs to user id {status.st_uid}, not to you ({os.geteuid()})")
            if status.st_mode & 0o077:
                mode = f"{status.st_mode & 0o777:04o}"
                raise error(str(path), f"its mode is {mode}, others can use it; chmod 600 it")
        return file.read(nbytes_max).strip()


def _parse(path: Path, text: str) -> Keyring:
    role, _, digits = text.rpartition(":")
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        key = b""
    if len(key) != KEY_NBYTES or role not in ("", *ROLES):
        raise KeyFileError(str(path), f"it holds no key ({2 * KEY_NBYTES} hex digits); delete it and a new one is made")
    return Keyring({role: key}) if role else keyring_from_master(key)
