"""Grants: whom the owner of an offer lets in besides itself. One private file each, in a folder beside the key.

A grant is a name and a key of its own, which says nothing about the owner's. Every server of the owner that admits
guests reads the folder at each connect, so a grant counts at once, and ends at once: when it is withdrawn, replaced or
has expired. Who is connected then is found by `watch`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed.dataclass import dataclass
from distributed.errors import CredentialError, GrantError
from distributed.security.certificates import certificates, has_certificates
from distributed.security.credentials import Credential
from distributed.security.keys import KEY_NBYTES, key_path, read_private_file, write_private_file

__all__ = ["Grant", "Grants", "grants_folder", "is_grant_name"]

LOOK_S = 1.0  # between two looks for what has ended; one costs some 20 us and 10 us for each grant
FILE_NBYTES_MAX = 2000
SUFFIX = ".json"
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")  # no capitals: some file systems see no difference


@dataclass(slots=True, frozen=True, repr=False)
class Grant:
    """Who is let in. Its repr shows no secret.

    Attributes:
        made_unix_s: when it was made, by the wall clock.
        expires_unix_s: when it ends; None: when it is withdrawn.
    """

    name: str
    key: bytes
    made_unix_s: int
    expires_unix_s: int | None

    def __repr__(self) -> str:
        return f"<Grant {self.name}>"

    def has_expired(self, now_unix_s: float) -> bool:
        """Whether its time is over."""
        return self.expires_unix_s is not None and now_unix_s >= self.expires_unix_s


def grants_folder() -> Path:
    """``<key file>.grants``."""
    path = key_path()
    return path.with_name(f"{path.name}.grants")


def is_grant_name(name: str) -> bool:
    """Whether a grant may be called so: at most 64 small letters, digits and ``. _ @ + -``, no sign first."""
    return _NAME.fullmatch(name) is not None


class Grants:
    """Those in a folder; None: of this user."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = grants_folder() if folder is None else folder
        self._used: dict[str, set[bytes]] = {}  # keys that were found, by name

    def make(self, name: str, expires_s: float | None = None, replace: bool = False) -> Credential:
        """Let somebody in as `name`; the credential to hand over.

        Args:
            expires_s: for how long; None: until it is withdrawn.
            replace: whether there may be one already, whose credential is worth nothing then.
        Raises:
            GrantError: no such name can be given, there is one, or the folder cannot be written.
        """
        self._check(name)
        if expires_s is not None and expires_s <= 0:
            raise GrantError(name, f"it cannot last for {expires_s:g} s")
        now = int(time.time())
        key = secrets.token_bytes(KEY_NBYTES)
        end = None if expires_s is None else int(now + expires_s + 1)
        text = json.dumps({"format": 1, "name": name, "key": key.hex(), "made": now, "expires": end})
        path = self._path(name)
        is_over = self._read(name, now) is None  # expired ones are no obstacle
        try:
            write_private_file(path, text + "\n", replace or is_over)
            kept = self._read(name, 0.0)
        except OSError as error:
            raise GrantError(name, f"{path}: {error.strerror or error}") from None
        if kept is None or kept.key != key:
            raise GrantError(name, "there is one of that name; withdraw it, or replace it with --force")
        fingerprint = certificates().fingerprint if has_certificates() else None
        return Credential(name, key, fingerprint)

    def withdraw(self, name: str) -> None:
        """Let nobody in as `name` any more.

        Raises:
            GrantError: there is none, or its file cannot be removed.
        """
        self._check(name)
        try:
            self._path(name).unlink()
        except FileNotFoundError:
            raise GrantError(name, f"there is none of that name in {self.folder}") from None
        except OSError as error:
            raise GrantError(name, f"{self._path(name)}: {error.strerror or error}") from None

    def all(self) -> list[Grant]:
        """Those that count, by name; files that cannot be used are left out.

        Raises:
            GrantError: the folder cannot be read.
        """
        now = time.time()
        found = (self._read(name, now) for name in sorted(self._names()))
        return [grant for grant in found if grant is not None]

    def find_key(self, name: str) -> bytes | None:
        """For ``Server(find_key=...)``: the key of the grant, None if there is none that counts."""
        grant = self._read(name, time.time()) if is_grant_name(name) else None
        if grant is None:
            return None
        self._used.setdefault(name, set()).add(grant.key)
        return grant.key

    async def watch(self, on_ended: Callable[[str], object], look_s: float = LOOK_S) -> None:
        """Call `on_ended` with the name of each grant that ends, within `look_s`; runs until cancelled.

        It looks after those that this instance's `find_key` has found: whoever is connected is among them. One whose
        key was replaced has ended, too. Pass the name on to `Server.cut_off`.
        """
        while True:
            await asyncio.sleep(look_s)
            keys = await asyncio.to_thread(self._keys) if self._used else {}
            for name, used in list(self._used.items()):
                if used != {keys.get(name)} and not self._is_as_found(name, used):
                    del self._used[name]
                    on_ended(name)

    def _is_as_found(self, name: str, used: set[bytes]) -> bool:
        """A second look, since it may have been made, or made anew, while the first one was taken."""
        grant = self._read(name, time.time())
        return grant is not None and used == {grant.key}

    def _keys(self) -> dict[str, bytes]:
        try:
            return {grant.name: grant.key for grant in self.all()}
        except GrantError:  # nobody can be let in, then nobody stays
            return {}

    def _names(self) -> list[str]:
        try:
            found = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise GrantError("*", f"{self.folder}: {error.strerror or error}") from None
        names = (name.removesuffix(SUFFIX) for name in found if name.endswith(SUFFIX))
        return [name for name in names if is_grant_name(name)]

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}"

    def _read(self, name: str, now_unix_s: float) -> Grant | None:
        """The grant, unless it has expired, is damaged, or others can read its file."""
        try:
            told: dict[str, Any] = json.loads(read_private_file(self._path(name), FILE_NBYTES_MAX, CredentialError))
            key, end = bytes.fromhex(told["key"]), told["expires"]
            grant = Grant(name, key, int(told["made"]), None if end is None else int(end))
        except (OSError, CredentialError, ValueError, KeyError, TypeError):
            return None
        return None if len(key) != KEY_NBYTES or grant.has_expired(now_unix_s) else grant

    def _check(self, name: str) -> None:
        if not is_grant_name(name):
            raise GrantError(name, "a name has at most 64 small letters, digits and . _ @ + -, and no sign first")
