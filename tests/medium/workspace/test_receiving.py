"""What an offer takes in: who has which right to contents, bounds, other offers; everything that comes is checked."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from distributed.core import Server
from distributed.errors import (
    BadRequestError,
    BlobMismatchError,
    BlobMissingError,
    ManifestError,
    PermissionDeniedError,
    QuotaExceededError,
    StoreFullError,
    UnknownWorkspaceError,
)
from distributed.security.credentials import Credential
from distributed.testing.workspaces import Desk, Project, desk_in
from distributed.workspace import holding, receiving
from distributed.workspace.incoming import PIECE_NBYTES
from distributed.workspace.manifest import Manifest
from distributed.workspace.receiving import Caller
from distributed.workspace.shipping import ship
from distributed.workspace.spaces import OWNER
from distributed.workspace.store import on_disk

ROOT = "tenant:alice"
KEY = secrets.token_bytes(32)


# ---------------------------------------------------------------- who gets what


async def test_to_know_a_digest_is_no_right_to_its_content(tmp_path: Path) -> None:
    """D07: what one credential sent, another one has to send itself."""
    project = Project({"secret": "s3cret"})
    async with desk_in(tmp_path, space_by_tenant={"mallory": "mallory"}) as desk:
        await desk.ship(project)
        call, manifest = desk.call_as("mallory"), project.manifest()
        assert await call("workspace_offer", workspace=manifest.id) == {"unknown": True}
        answer = await call("workspace_offer", workspace=manifest.id, manifest=manifest.to_wire())
        assert answer == {"lacks": list(manifest.digests())}
        with pytest.raises(BlobMissingError):
            await desk.lay_out(manifest, "mallory")
        assert (await call("workspace_get", workspace=manifest.id, digests=list(manifest.digests())))["blobs"] == []
        assert (await desk.ship(project, tenant="mallory")).blobs == 1
        assert await desk.lay_out(manifest, "mallory") == project.files


async def test_another_main_of_the_same_user_sends_nothing(tmp_path: Path) -> None:
    """D07: contents are shared between the Mains of one credential."""
    project = Project.of_count(5)
    async with desk_in(tmp_path) as desk:
        await desk.ship(project)
        assert (await desk.ship(project, tenant="bob")).blob_nbytes == 0


async def test_who_is_no_tenant_gets_nothing(tmp_path: Path) -> None:
    project = Project({"a": "a"})
    async with desk_in(tmp_path) as desk:
        with pytest.raises(PermissionDeniedError):
            await desk.ship(project, tenant="")


async def test_a_tenant_cannot_come_with_two_credentials(tmp_path: Path) -> None:
    project = Project({"a": "a"})
    async with desk_in(tmp_path) as desk:
        await desk.ship(project)
        desk.space_by_tenant["alice"] = "other"
        with pytest.raises(BadRequestError, match="another credential"):
            await desk.ship(project)


async def test_what_a_tenant_held_may_go_when_its_lease_has_ended(tmp_path: Path) -> None:
    project = Project.of_count(5)
    async with desk_in(tmp_path) as desk:
        await desk.ship(project)
        store = desk.spaces.of(OWNER)
        assert store.evict(1) == 0
        desk.receiver.forget("alice")
        desk.receiver.forget("nobody")
        while os.listdir(os.path.join(store.folder, "pins")):
            await asyncio.sleep(0)
        assert store.evict(2**30) > 0
        assert (await desk.ship(project)).blobs == 5


async def test_one_workspace_may_be_let_go_of(tmp_path: Path) -> None:
    first, second = Project({"a": "a"}), Project({"b": "b"})
    async with desk_in(tmp_path) as desk:
        await desk.ship(first)
        await desk.ship(second)
        desk.receiver.forget("alice", first.manifest().id)
        folder = os.path.join(desk.spaces.of(OWNER).folder, "pins")
        while len(os.listdir(folder)) > 1:
            await asyncio.sleep(0)
        assert os.listdir(folder)[0].endswith(second.manifest().id)


@pytest.mark.parametrize("bound", ["WORKSPACES_MAX", "ENTRIES_MAX"])
async def test_of_many_workspaces_the_latest_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(holding, bound, 2)
    async with desk_in(tmp_path) as desk:
        projects = [Project({"a": str(n)}) for n in range(4)]
        for project in projects:
            await desk.ship(project)
        held = {name[-64:] for name in os.listdir(os.path.join(desk.spaces.of(OWNER).folder, "pins"))}
        assert held == {project.manifest().id for project in projects[2:]}


# ---------------------------------------------------------------- bounds


async def test_a_tenant_makes_room_for_its_new_workspace_out_of_its_old_ones(tmp_path: Path) -> None:
    block = on_disk(1)
    old, new = Project.of_count(10, 50), Project({f"n{n}": f"new {n}" for n in range(10)})
    async with desk_in(tmp_path, nbytes_max=14 * block) as desk:
        await desk.ship(old)
        await desk.ship(new)
        assert await desk.lay_out(new.manifest()) == new.files
        with pytest.raises((BlobMissingError, UnknownWorkspaceError)):
            await desk.lay_out(old.manifest())


async def test_a_workspace_that_never_fits_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    project = Project.of_count(20, 50)
    async with desk_in(tmp_path, nbytes_max=10 * on_disk(1)) as desk:
        with pytest.raises(QuotaExceededError, match=r"bytes of a workspace, in blocks: 81,920 is over .* 40,960"):
            await desk.ship(project)
        assert desk.ops() == ["offer", "offer"]


async def test_guests_have_a_quarter_and_the_owner_what_is_left(tmp_path: Path) -> None:
    block = on_disk(1)
    async with desk_in(tmp_path, nbytes_max=40 * block, space_by_tenant={"guest": "guest"}) as desk:
        with pytest.raises(QuotaExceededError, match="40,960"):
            await desk.ship(Project.of_count(11, 50), tenant="guest")
        small = Project({f"g{n}": f"guest {n}" for n in range(8)})
        await desk.ship(small, tenant="guest")
        await desk.ship(Project.of_count(25, 50))
        assert desk.spaces.usage() <= 40 * block
        with pytest.raises(StoreFullError, match="workspaces in use fill all spaces together"):
            await desk.ship(Project.of_count(38, 60), tenant="bob")
        desk.receiver.forget("guest")
        desk.receiver.forget("alice")
        await desk.ship(Project.of_count(38, 60), tenant="bob")


@pytest.mark.parametrize(
    ("op", "content", "error", "text"),
    [
        ("workspace_offer", {"workspace": "../x"}, BadRequestError, "64 hex digits"),
        ("workspace_offer", {"workspace": 5}, BadRequestError, "64 hex digits"),
        ("workspace_offer", {"workspace": "ab" * 32, "manifest": []}, ManifestError, "columns"),
        ("workspace_offer", {"workspace": "ab" * 32, "delta": {}}, ManifestError, "delta"),
        ("workspace_offer", {"workspace": "ab" * 32, "manifest": Manifest([]).to_wire()}, ManifestError, "not of"),
        ("workspace_blobs", {"workspace": "ab" * 32}, UnknownWorkspaceError, "ship it first"),
        ("workspace_blobs", {"digests": [b"x"]}, BadRequestError, "32 bytes"),
        ("workspace_blobs", {"digests": "x"}, BadRequestError, "list of at most"),
        ("workspace_blobs", {"digests": [b"x" * 32] * 2000}, BadRequestError, "list of at most"),
        ("workspace_blobs", {"offsets": [-1]}, BadRequestError, "numbers of bytes"),
        ("workspace_blobs", {"offsets": []}, BadRequestError, "same length"),
        ("workspace_blobs", {"blobs": ["x"]}, BadRequestError, "are bytes"),
        ("workspace_blobs", {"digests": [b"x" * 32]}, BadRequestError, "none of workspace"),
        ("workspace_blobs", {"offsets": [1]}, BlobMismatchError, "bytes 1 to 2 of 1 came"),
        ("workspace_blobs", {"blobs": [b"xy"]}, BlobMismatchError, "bytes 0 to 2 of 1 came"),
        ("workspace_blobs", {"blobs": [b"x"]}, BlobMismatchError, "other bytes came"),
        ("workspace_blobs", {"blobs": [b"x" * (PIECE_NBYTES + 1)]}, QuotaExceededError, "in one message"),
        ("workspace_get", {"digests": [b"x" * 32]}, BadRequestError, "none of workspace"),
        ("workspace_get", {"offset": -1}, BadRequestError, "offset"),
        ("workspace_get", {"workspace": "ab" * 32}, UnknownWorkspaceError, "ship it first"),
        ("workspace_fetch", {"sources": [["tcp://127.0.0.1:1"]]}, BadRequestError, "pairs"),
        ("workspace_fetch", {"sources": [["a", "b"]] * 17}, BadRequestError, "at most 16 pairs"),
    ],
)
async def test_a_request_that_breaks_a_rule_is_refused_and_changes_nothing(
    tmp_path: Path, op: str, content: dict[str, Any], error: type[Exception], text: str
) -> None:
    """D07: everything from the wire is checked."""
    project = Project({"a": "a"})
    manifest = project.manifest()
    digests = list(manifest.digests())
    right: dict[str, Any] = {"workspace": manifest.id}
    right |= {"digests": digests, "offsets": [0], "blobs": [b"a"]} if op == "workspace_blobs" else {}
    right |= {"digests": digests} if op == "workspace_get" else {}
    async with desk_in(tmp_path) as desk:
        call = desk.call_as("alice")
        await call("workspace_offer", workspace=manifest.id, manifest=manifest.to_wire())
        with pytest.raises(error, match=text):
            await call(op, **{**right, **content})
        assert desk.spaces.of(OWNER).lacks(manifest.digests()) == digests
        await desk.ship(project)


async def test_a_tenant_cannot_have_more_handled_at_once_than_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "REQUESTS_MAX", 4)
    project = Project({"a": "a"})
    async with desk_in(tmp_path) as desk:
        await desk.ship(project)
        call = desk.call_as("alice")
        many = [call("workspace_offer", workspace=project.manifest().id) for _ in range(50)]
        answers = await asyncio.gather(*many, return_exceptions=True)
        assert any(isinstance(answer, QuotaExceededError) for answer in answers)
        assert {"lacks": []} in answers
        assert await call("workspace_offer", workspace=project.manifest().id) == {"lacks": []}


async def test_pieces_of_many_big_files_at_once_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "INCOMING_MAX", 2)
    project = Project({str(n): os.urandom(PIECE_NBYTES + 1) for n in range(4)})
    manifest = project.manifest()
    async with desk_in(tmp_path) as desk:
        call = desk.call_as("alice")
        await call("workspace_offer", workspace=manifest.id, manifest=manifest.to_wire())
        for digest in manifest.digests():
            blob = project.content_by_digest[digest][:PIECE_NBYTES]
            await call("workspace_blobs", workspace=manifest.id, digests=[digest], offsets=[0], blobs=[blob])
        assert len(os.listdir(os.path.join(desk.spaces.of(OWNER).folder, "incoming"))) == 2
        await desk.ship(project)
        assert os.listdir(os.path.join(desk.spaces.of(OWNER).folder, "incoming")) == []


async def test_a_cancelled_lay_out_leaves_nothing(tmp_path: Path) -> None:
    """D09: nothing stays of what is no longer wanted."""
    project = Project.of_count(300)
    async with desk_in(tmp_path) as desk:
        await desk.ship(project)
        parent = tmp_path / "rooms"
        parent.mkdir()
        for turns in (1, 3, 10):
            laying = asyncio.ensure_future(
                desk.receiver.lay_out(Caller("alice"), project.manifest().id, str(parent / "w"))
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            laying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await laying
            assert list(parent.iterdir()) == []


async def test_a_damaged_content_is_shipped_again(tmp_path: Path) -> None:
    """D08: the worker's half heals itself."""
    project = Project({"a": "right", "b": "b"})
    async with desk_in(tmp_path) as desk:
        await desk.ship(project)
        path = Path(desk.spaces.of(OWNER).path(hashlib.sha256(b"right").digest()))
        path.chmod(0o600)
        path.write_bytes(b"wrong")
        with pytest.raises(BlobMissingError):
            await desk.lay_out(project.manifest())
        assert (await desk.ship(project)).blobs == 1
        assert await desk.lay_out(project.manifest()) == project.files


# ---------------------------------------------------------------- from other offers


def ticket(manifest: Manifest, root: str = ROOT) -> str:
    return Credential(root, KEY).ticket(workspace=manifest.id, expires_unix_s=time.time() + 60).line()


@contextlib.asynccontextmanager
async def two_desks(folder: Path) -> AsyncIterator[tuple[Desk, Desk]]:
    (folder / "near").mkdir()
    (folder / "far").mkdir()
    async with desk_in(folder / "far") as far, desk_in(folder / "near") as near:
        yield near, far


def open_to_guests(desk: Desk) -> Server:
    server = Server(desk.receiver.handlers, find_key=lambda name: KEY if name == ROOT else None)
    server.listen(0)
    return server


async def test_offers_get_contents_from_each_other_and_the_rest_from_the_main(tmp_path: Path) -> None:
    """D07: contents come from other offers first, and what those lack from the Main."""
    project = Project({**Project.of_count(40).files, "big": os.urandom(2 * PIECE_NBYTES + 5)})
    async with two_desks(tmp_path) as (near, far):
        await far.ship(project)
        guests = open_to_guests(far)
        manifest = project.manifest()
        lost = manifest.entries[3]
        far.spaces.of(OWNER).discard(lost.digest)
        sources = [("tcp://127.0.0.1:1", ticket(manifest)), (guests.address, ticket(manifest))]
        project.reads.clear()
        shipped = await ship(near.call_as("alice"), project, manifest, sources=sources)
        assert project.reads == [lost.digest]
        assert shipped.blob_nbytes == lost.nbytes
        assert shipped.fetched_nbytes == manifest.nbytes - lost.nbytes
        assert near.spaces.of(OWNER).lacks(manifest.digests()) == []
        guests.stop()


async def test_a_ticket_for_one_workspace_opens_no_other(tmp_path: Path) -> None:
    first, second = Project({"a": "a"}), Project({"b": "b"})
    async with two_desks(tmp_path) as (near, far):
        await far.ship(first)
        await far.ship(second)
        guests = open_to_guests(far)
        sources = [(guests.address, ticket(first.manifest()))]
        shipped = await ship(near.call_as("alice"), second, second.manifest(), sources=sources)
        assert (shipped.fetched_nbytes, shipped.blob_nbytes) == (0, 1)
        guests.stop()


@pytest.mark.parametrize("source", ["unix:///tmp/x", "inproc://x", "nonsense://"])
async def test_a_source_is_never_a_socket_of_this_machine(tmp_path: Path, source: str) -> None:
    project = Project({"a": "a"})
    async with desk_in(tmp_path) as desk:
        sources = [(source, ticket(project.manifest()))]
        assert (await ship(desk.call_as("alice"), project, project.manifest(), sources=sources)).fetched_nbytes == 0


async def test_a_source_that_lies_harms_nobody(tmp_path: Path) -> None:
    """D07: another offer is trusted with nothing: what it sends is checked like what a Main sends."""
    project = Project({"a": "a", "b": "b"})
    manifest = project.manifest()
    first, second = manifest.digests()
    answers: list[Any] = [
        {"digests": [first], "offsets": [0], "blobs": [b"x"]},
        {"digests": [b"\0" * 32], "offsets": [0], "blobs": [b"x"]},
        {"digests": [first, second], "offsets": [0], "blobs": [b"a"]},
        {"digests": first},
        "nonsense",
        None,
        {"digests": [first], "offsets": [0], "blobs": [b"x" * (9 * 2**20)]},
    ]
    async with desk_in(tmp_path) as desk:
        for answer in answers:
            liar = Server({"workspace_get": lambda stream, answer=answer, **_: answer},
                          find_key=lambda name: KEY if name == ROOT else None)  # fmt: skip
            liar.listen(0)
            call = desk.call_as("alice")
            await call("workspace_offer", workspace=manifest.id, manifest=manifest.to_wire())
            told = await call("workspace_fetch", workspace=manifest.id, sources=[[liar.address, ticket(manifest)]])
            assert told == {"lacks": [first, second], "failed": [liar.address]}
            liar.stop()
        await desk.ship(project)


async def test_a_workspace_of_an_earlier_life_is_laid_out_and_not_held_after_it(tmp_path: Path) -> None:
    """D07: what an offer laid out before it was restarted, it lays out again without a word of the Main."""
    project = Project({"a": "a"})
    async with desk_in(tmp_path) as desk:
        await desk.ship(project)
    async with desk_in(tmp_path) as desk:
        assert await desk.lay_out(project.manifest(), "nobody told of it") == project.files
        pins = os.path.join(desk.spaces.of(OWNER).folder, "pins")
        while os.listdir(pins):
            await asyncio.sleep(0)
        with pytest.raises(UnknownWorkspaceError):
            await desk.lay_out(Project({"b": "b"}).manifest())


async def test_an_offer_that_closes_stops_what_is_being_laid_out(tmp_path: Path) -> None:
    """D09: nothing stays half-made."""
    project = Project.of_count(300)
    desk = Desk(tmp_path)
    await desk.ship(project)
    (tmp_path / "rooms").mkdir()
    laying = asyncio.ensure_future(
        desk.receiver.lay_out(Caller("alice"), project.manifest().id, str(tmp_path / "rooms" / "w"))
    )
    await asyncio.sleep(0)
    await desk.close()
    with pytest.raises(UnknownWorkspaceError):
        await laying
    assert list((tmp_path / "rooms").iterdir()) == []
