"""What lets a room submit calls by itself: tickets for its Main's offers, for one workspace, some time and some depth.

The Main puts a `Pass` for each of its crews where only the crew's rooms can read it: a variable of the crew's
scheduler. It is made anew long before its tickets expire, and when other offers are there. Who uses one is a Main of
its own, see `inside`, and gives its own rooms a pass that is one level less deep.
"""

from __future__ import annotations

from typing import Any

from distributed.crews.matching import Lent
from distributed.dataclass import dataclass
from distributed.security.credentials import Credential

__all__ = ["DEPTH_MAX", "PASS_NAME", "PASS_S", "Pass"]

DEPTH_MAX = 4  # levels of calls that give calls to workers directly; the name of a ticket has room for five parts
PASS_S = 3600.0  # how long tickets are good for; they are made anew after half of it
PASS_NAME = "distributed.crews.pass"


@dataclass(slots=True, frozen=True, repr=False)
class Pass:
    """See the module. Its repr shows no secret.

    Attributes:
        name: of the Main, for the owners of offers.
        tickets: the line of a credential for each offer, by address.
        workspace, entry, entry_file, roots, source, environment: of a wish for a room.
        lent: what the offers lend, where it is known for good; else nothing.
        depth: levels that are left, this one counted.
        expires_unix_s: when the tickets end.
    """

    name: str
    tickets: dict[str, str]
    workspace: str
    entry: str | None
    entry_file: str | None
    roots: list[str]
    source: str
    environment: Any
    lent: list[Lent]
    depth: int
    expires_unix_s: float

    def __repr__(self) -> str:
        return f"<Pass for {len(self.tickets)} offers, {self.depth} levels deep>"

    def credential(self, address: str) -> Credential:
        """What to show at an offer. CredentialError: it is none."""
        return Credential.parse(self.tickets[address], f"the ticket for {address}")
