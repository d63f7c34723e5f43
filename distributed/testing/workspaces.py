"""A workspace in memory, and an offer's desk that takes it in, for tests of what is done with workspaces."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from distributed.core import Server, rpc
from distributed.errors import PermissionDeniedError
from distributed.workspace.manifest import EXECUTABLE, FILE, SYMLINK, Entry, Manifest
from distributed.workspace.receiving import Caller, Receiver
from distributed.workspace.shipping import Shipped, ship
from distributed.workspace.spaces import OWNER, Spaces

__all__ = ["Desk", "Project", "desk_in", "entry_of", "read_tree"]


def entry_of(path: str, content: bytes, mode: int = FILE) -> Entry:
    """The entry of a file with that content."""
    return Entry(path, mode, len(content), hashlib.sha256(content).digest())


class Project:
    """Files by path, as text or bytes; a path that ends with ``*`` is executable, one that ends with ``@`` a link.

    Attributes:
        content_by_digest: of all contents that it ever had, so that they can be spoilt.
        reads: digests that were asked for, in order.
    """

    def __init__(self, files: Mapping[str, str | bytes]) -> None:
        self.files = dict(files)
        self.content_by_digest: dict[bytes, bytes] = {}
        self.reads: list[bytes] = []

    @staticmethod
    def of_count(count: int, nbytes: int = 2000) -> Project:
        """`count` small modules, fifty in a package."""
        return Project({f"p{n // 50}/m{n}.py": f"# {n}\n".ljust(nbytes, "x") for n in range(count)})

    def manifest(self) -> Manifest:
        """What it holds now."""
        entries = []
        for path, content in self.files.items():
            data = content.encode() if isinstance(content, str) else content
            mode = {"*": EXECUTABLE, "@": SYMLINK}.get(path[-1], FILE)
            entries.append(entry_of(path.rstrip("*@"), data, mode))
            self.content_by_digest[entries[-1].digest] = data
        return Manifest(entries)

    def read(self, digest: bytes) -> bytes:
        """The whole content."""
        self.reads.append(digest)
        return self.content_by_digest[digest]

    def open(self, digest: bytes) -> BinaryIO:
        """To read it in pieces."""
        self.reads.append(digest)
        return io.BytesIO(self.content_by_digest[digest])


def read_tree(folder: str) -> dict[str, str]:
    """Files below a folder by path, as `Project` writes them."""
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in [*names, *(f for f in folders if os.path.islink(os.path.join(parent, f)))]:
            path = os.path.join(parent, name)
            relative = os.path.relpath(path, folder).replace(os.sep, "/")
            if os.path.islink(path):
                found[f"{relative}@"] = os.readlink(path)
            else:
                with open(path, encoding="utf-8", errors="replace") as file:
                    found[relative + ("*" if os.stat(path).st_mode & 0o100 else "")] = file.read()
    return found


class Desk:
    """An offer's server with a receiver, and the Mains that call it.

    Attributes:
        space_by_tenant: of tenants whose credential is not the owner's.
        ticket_root: whoever comes with a ticket of that name fetches for the tenant ``alice``.
        sent: op and content of each request.
    """

    def __init__(self, folder: Path, nbytes_max: int = 2**30, space_by_tenant: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.spaces = Spaces(str(folder / "store"), nbytes_max)
        self.ticket_root = "tenant:alice"
        self.space_by_tenant = space_by_tenant or {}
        self.receiver = Receiver(self.spaces, self.caller_of)
        self.server = Server(self.receiver.handlers)
        self.server.listen(0)
        self.rpc = rpc(self.server.address)
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self._numbers = itertools.count()

    def caller_of(self, stream: Any, tenant: str) -> Caller:
        """As an `Offer` has it."""
        if not tenant and stream.peer.name == self.ticket_root:
            tenant = "alice"
        if not tenant:
            raise PermissionDeniedError("workspace_offer", "nobody")
        return Caller(tenant, self.space_by_tenant.get(tenant, OWNER))

    def call_as(self, tenant: str) -> Callable[..., Any]:
        """What `ship` calls the offer by."""

        async def call(op: str, /, **content: Any) -> Any:
            self.sent.append((op, content))
            return await self.rpc.call(op, tenant=tenant, **content)

        return call

    async def ship(self, project: Project, known: Manifest | None = None, tenant: str = "alice") -> Shipped:
        """Ship what `project` holds now."""
        return await ship(self.call_as(tenant), project, project.manifest(), known)

    async def lay_out(self, manifest: Manifest, tenant: str = "alice") -> dict[str, str]:
        """Lay a workspace out in a new folder, and read it."""
        folder = str(self.folder / f"w{next(self._numbers)}")
        await self.receiver.lay_out(Caller(tenant, self.space_by_tenant.get(tenant, OWNER)), manifest.id, folder)
        return read_tree(folder)

    def ops(self) -> list[str]:
        """Names of the ops that were called since the last time."""
        names = [op.removeprefix("workspace_") for op, _ in self.sent]
        self.sent.clear()
        return names

    async def close(self) -> None:
        """End all of it."""
        await self.rpc.close()
        self.server.stop()
        await self.receiver.close()


@contextlib.asynccontextmanager
async def desk_in(folder: Path, **options: Any) -> AsyncIterator[Desk]:
    """A desk for the time of a block."""
    desk = Desk(folder, **options)
    try:
        yield desk
    finally:
        await desk.close()
