"""One offer asks another one for a tenant's contents, with a ticket that the tenant made for that.

Address and ticket come from a tenant, who may be hostile: the other side is trusted with nothing. Its answers are
bounded and hold no pickles, and the only thing that is proved to it is the ticket.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from distributed.calls import exchange
from distributed.comm.addresses import parse_address
from distributed.comm.connect import connect_address
from distributed.errors import AddressError
from distributed.protocol.codec import Limits
from distributed.security.credentials import Credential
from distributed.security.permissions import GUEST
from distributed.units import MiB
from distributed.workspace.shipping import BLOBS_MAX, Call

__all__ = ["dial"]

ANSWER_LIMITS = Limits(8 * MiB, BLOBS_MAX, 8 * MiB)
CONNECT_S = 2.0  # another offer that does not answer by then is left out: the Main has the contents, too
SCHEMES = ("tcp", "tls")  # no sockets and names of this machine


@contextlib.asynccontextmanager
async def dial(address: str, ticket: str) -> AsyncIterator[Call]:
    """Another offer, to be asked one thing after the other.

    Args:
        address: of the offer.
        ticket: a line of `Credential`.
    Raises:
        AddressError, CredentialError: these are none. ConnectTimeoutError, AuthenticationError, CommClosedError: see
        `connect_address`.
    """
    if parse_address(address).scheme not in SCHEMES:
        raise AddressError(address, f"another offer is reached by {' or '.join(SCHEMES)}")
    keys = Credential.parse(ticket, "the ticket for another offer").keyring()
    stream = await connect_address(address, CONNECT_S, GUEST, keys, patient=False, limits=ANSWER_LIMITS)

    async def call(op: str, /, **content: Any) -> Any:
        return await exchange(stream, {**content, "op": op})

    try:
        yield call
    finally:
        stream.close()
