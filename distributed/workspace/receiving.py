"""The offer's half of shipping: ops that take in manifests and contents, tenant by tenant, and lay workspaces out.

Mount it on any server: ``server.add_handlers(receiver.handlers)``. What is *not* here: who a tenant is, and how other
offers are reached; `Offer` tells both by callables.

Rights: what one credential sent, it (and nobody else) need not send again; see `distributed.workspace.spaces`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from distributed.core import Handler
from distributed.dataclass import dataclass

__all__ = ["Caller", "Receiver"]


@dataclass(slots=True, frozen=True)
class Caller:
    """Who calls an op.

    Attributes:
        tenant: the Main's lease; what it pins ends with it.
        space: the credential it showed: ``owner``, or the name of a grant. Contents are shared within a space only.
    """

    tenant: str
    space: str = "owner"


class Receiver:
    """The workspaces of an offer's tenants.

    Args:
        spaces: where contents lie.
        caller_of: ``caller_of(stream, tenant)``: who calls, from the stream and the request's ``tenant``; raises
            what the caller shall get if it is no tenant here.
        dial: ``await dial(address, caller)``: another offer, as ``await call(op, **content)``, entered with that
            tenant's credential; None: other offers are never asked.

    Attributes:
        handlers: the ops ``workspace_offer``, ``workspace_blobs``, ``workspace_get``, ``workspace_fetch``.
    """

    def __init__(
        self,
        spaces: Any,
        caller_of: Callable[[Any, str], Caller],
        dial: Callable[[str, Caller], Awaitable[Any]] | None = None,
    ) -> None:
        self.handlers: dict[str, Handler] = {
            "workspace_offer": self.workspace_offer,
            "workspace_blobs": self.workspace_blobs,
            "workspace_get": self.workspace_get,
            "workspace_fetch": self.workspace_fetch,
        }

    # ------------------------------------------------------------ ops

    async def workspace_offer(
        self, stream: Any, workspace: str, tenant: str = "", base: str | None = None, delta: Any = None,
        manifest: Any = None,
    ) -> dict[str, Any]:  # fmt: skip
        """What is lacking here of a workspace: ``{"lacks": [digest, ...]}``, or how to tell us of it.

        ``{"unknown": True}``: send the manifest, or a delta; ``{"unknown_base": True}``: send the manifest. What is
        lacking is kept for this tenant from then on, as it comes.
        """
        raise NotImplementedError

    async def workspace_blobs(
        self, stream: Any, workspace: str, digests: list[bytes], offsets: list[int], blobs: list[bytes],
        tenant: str = "",
    ) -> dict[str, Any]:  # fmt: skip
        """Take in contents, or pieces of them from `offsets` on; ``{"lacks": count}`` that are still incomplete."""
        raise NotImplementedError

    async def workspace_get(
        self, stream: Any, workspace: str, digests: list[bytes], offset: int = 0, tenant: str = ""
    ) -> dict[str, Any]:
        """Contents for another offer of the same tenant, as many as fit: ``{"digests", "offsets", "blobs"}``."""
        raise NotImplementedError

    async def workspace_fetch(
        self, stream: Any, workspace: str, digests: list[bytes], sources: list[str], tenant: str = ""
    ) -> dict[str, Any]:
        """Get contents from other offers, for some seconds; ``{"lacks": [digest, ...]}`` of them after that."""
        raise NotImplementedError

    # ------------------------------------------------------------ for the offer

    async def lay_out(self, caller: Caller, workspace: str, folder: str) -> Any:
        """Make `folder`, a writable copy of the workspace; its `Manifest`. Cancelled: nothing stays.

        Raises:
            UnknownWorkspaceError, BlobMissingError: it must be shipped again first.
            LayOutError: this file system cannot hold it.
            StoreFullError: no room on the disk.
        """
        raise NotImplementedError

    def forget(self, tenant: str, workspace: str | None = None) -> None:
        """Its lease has ended, or it needs `workspace` no more: nothing is kept for it any longer."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of everything, and wait for what threads still do."""
        raise NotImplementedError
