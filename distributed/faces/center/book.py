"""What a center has been told: its members, and which keys lie where. Pure.

Two kinds of addresses are in it: members, who registered by the plain op, and workers of the engine, of whom only those
keys stand here that the engine did not put there. Not here: what the engine itself knows (`scheduler.snapshot`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from distributed.dataclass import dataclass, field
from distributed.errors import CoordinationLimitError, InvariantError

__all__ = ["CenterBook", "Member"]

MEMBERS_MAX = 10_000
ENTRIES_MAX = 1_000_000  # pairs of a key and an address: some 200 MB


@dataclass(slots=True)
class Member:
    """Somebody who registered: his cores, and the ports of his services by name."""

    ncores: int
    services: dict[str, int] = field(default_factory=dict)


class CenterBook:
    """See the module. Each key is told of in the order in which it was added.

    Attributes:
        members: by address, in the order in which they registered.
        keys_by_address, addresses_by_key: the two sides of who has what; neither has empty entries.
    """

    def __init__(self, members_max: int = MEMBERS_MAX, entries_max: int = ENTRIES_MAX) -> None:
        self.members: dict[str, Member] = {}
        self.keys_by_address: dict[str, dict[str, None]] = {}
        self.addresses_by_key: dict[str, dict[str, None]] = {}
        self._members_max = members_max
        self._entries_max = entries_max
        self._entries = 0

    def register(self, address: str, member: Member, keys: Sequence[str] = ()) -> None:
        """A member is there, with these keys; one that registers again begins anew.

        Raises:
            CoordinationLimitError: too many members or keys; nothing has changed then.
        """
        if address not in self.members and len(self.members) >= self._members_max:
            raise CoordinationLimitError("the center", f"it knows {self._members_max:,} members already")
        new = dict.fromkeys(keys)
        self._check_room(len(new) - len(self.keys_by_address.get(address, ())))
        self.forget(address)
        self.members[address] = member
        for key in new:
            self._link(address, key)

    def forget(self, address: str) -> bool:
        """Nobody is at `address` any more; whether a member was."""
        for key in list(self.keys_by_address.get(address, ())):
            self._unlink(address, key)
        return self.members.pop(address, None) is not None

    def add_keys(self, address: str, keys: Iterable[str]) -> None:
        """These lie there now.

        Raises:
            CoordinationLimitError: too many keys; nothing has changed then.
        """
        held = self.keys_by_address.get(address, {})
        new = [key for key in dict.fromkeys(keys) if key not in held]
        self._check_room(len(new))
        for key in new:
            self._link(address, key)

    def remove_keys(self, address: str, keys: Iterable[str]) -> None:
        """These do not lie there any more; unknown ones are no error."""
        for key in dict.fromkeys(keys):
            if key in self.keys_by_address.get(address, ()):
                self._unlink(address, key)

    def delete_keys(self, keys: Iterable[str]) -> dict[str, list[str]]:
        """Forget keys wherever they lie: ``{address: [key, ...]}`` of those that were somewhere."""
        found: dict[str, list[str]] = {}
        for key in dict.fromkeys(keys):
            for address in list(self.addresses_by_key.get(key, ())):
                self._unlink(address, key)
                found.setdefault(address, []).append(key)
        return found

    def check(self) -> None:
        """Raise InvariantError unless both sides say the same, in bounds."""
        pairs = {(address, key) for address, keys in self.keys_by_address.items() for key in keys}
        others = {(address, key) for key, addresses in self.addresses_by_key.items() for address in addresses}
        if pairs != others or len(pairs) != self._entries:
            raise InvariantError("the two sides of who has what differ")
        if not all(self.keys_by_address.values()) or not all(self.addresses_by_key.values()):
            raise InvariantError("an empty entry is kept")
        if len(self.members) > self._members_max or self._entries > self._entries_max:
            raise InvariantError("the book has passed its bounds")

    def _check_room(self, more: int) -> None:
        if self._entries + more > self._entries_max:
            raise CoordinationLimitError("the center", f"it would know more than {self._entries_max:,} keys")

    def _link(self, address: str, key: str) -> None:
        self.keys_by_address.setdefault(address, {})[key] = None
        self.addresses_by_key.setdefault(key, {})[address] = None
        self._entries += 1

    def _unlink(self, address: str, key: str) -> None:
        keys, addresses = self.keys_by_address[address], self.addresses_by_key[key]
        del keys[key], addresses[address]
        if not keys:
            del self.keys_by_address[address]
        if not addresses:
            del self.addresses_by_key[key]
        self._entries -= 1
