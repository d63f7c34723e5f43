"""From a Main to an offer over loopback: nothing is sent that is there."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

import pytest

from distributed.comm.stream import Stream
from distributed.errors import (
    BlobMismatchError,
    BlobMissingError,
    ProtocolError,
    ShippingTimeoutError,
)
from distributed.testing.workspaces import Project, desk_in
from distributed.workspace.incoming import PIECE_NBYTES
from distributed.workspace.shipping import Shipped, ship
from distributed.workspace.spaces import OWNER

ROOT = "tenant:alice"
KEY = secrets.token_bytes(32)


# ---------------------------------------------------------------- what is sent


async def test_a_workspace_arrives_whole_and_is_not_sent_again(tmp_path: Path) -> None:
    """D07: nothing is sent of a workspace that is there, but one small question."""
    project = Project({**Project.of_count(100).files, "run*": "#!", "link@": "run", "empty": ""})
    async with desk_in(tmp_path) as desk:
        first = await desk.ship(project)
        assert desk.ops() == ["offer", "offer", "blobs"]
        assert first.blob_nbytes == sum(project.manifest().digests().values())
        assert first.blobs == 103
        assert await desk.lay_out(project.manifest()) == project.files
        again = await desk.ship(project, project.manifest())
        assert again == Shipped(again.message_nbytes, 0, 0, 0, 1)
        assert again.message_nbytes < 200


async def test_a_restarted_offer_knows_its_workspaces(tmp_path: Path) -> None:
    """D07: the cache outlives processes."""
    project = Project.of_count(20)
    async with desk_in(tmp_path) as desk:
        await desk.ship(project)
    async with desk_in(tmp_path) as desk:
        assert await desk.lay_out(project.manifest()) == project.files
        shipped = await desk.ship(project)
        assert (shipped.blob_nbytes, shipped.rounds) == (0, 1)


async def test_an_edit_moves_the_file_and_a_delta(tmp_path: Path) -> None:
    """D08: one file of 1,000 touched: that file and at most 4 KiB."""
    project = Project.of_count(1000, nbytes=100)
    async with desk_in(tmp_path) as desk:
        await desk.ship(project)
        known = project.manifest()
        project.files["p3/m160.py"] = "edited"
        del project.files["p0/m0.py"]
        shipped = await desk.ship(project, known)
        assert shipped.blob_nbytes == len("edited")
        assert shipped.message_nbytes <= 4096
        assert (shipped.blobs, shipped.rounds) == (1, 2)
        assert len(project.manifest()) == 999


async def test_the_bytes_told_are_those_that_streams_carry(
    tmp_path: Path, change_settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D08: bytes are counted, not guessed."""
    change_settings(same_host="off")
    project = Project({**Project.of_count(50, nbytes=100).files, "big": "b" * 50_000})
    async with desk_in(tmp_path) as desk:
        await desk.rpc.call("ping")
        carried = 0
        write = Stream.write_buffers

        def count(stream: Stream, buffers: list[Any]) -> None:
            nonlocal carried
            carried += sum(len(memoryview(buffer)) for buffer in buffers)
            write(stream, buffers)

        monkeypatch.setattr(Stream, "write_buffers", count)
        shipped = await desk.ship(project)
        for_tenant = len(desk.ops()) * (len("tenant") + len("alice") + 2)  # added by the Main's `call`
        assert carried == shipped.message_nbytes + shipped.blob_nbytes + for_tenant


async def test_an_offer_that_forgot_the_base_gets_the_manifest(tmp_path: Path) -> None:
    """D08: a wrong guess costs a round, no more."""
    project = Project.of_count(20)
    async with desk_in(tmp_path) as desk:
        never_sent = project.manifest()
        project.files["p0/m1.py"] = "edited"
        await desk.ship(project, never_sent)
        assert desk.ops() == ["offer", "offer", "blobs"]
        assert await desk.lay_out(project.manifest()) == project.files


async def test_a_workspace_with_little_in_common_travels_as_a_manifest(tmp_path: Path) -> None:
    project, other = Project.of_count(20), Project({"a.py": "a", "p0/m0.py": "other"})
    async with desk_in(tmp_path) as desk:
        await desk.ship(project)
        desk.ops()
        await desk.ship(other, project.manifest())
        assert [sorted(content) for op, content in desk.sent if op == "workspace_offer"] == [
            ["workspace"],
            ["manifest", "workspace"],
        ]


async def test_a_big_file_travels_in_pieces(tmp_path: Path) -> None:
    """D07: no message has more than 4 MiB of contents."""
    big = os.urandom(2 * PIECE_NBYTES + 12_345)
    project = Project({"big": big, "exact": big[:PIECE_NBYTES], "small": "s"})
    async with desk_in(tmp_path) as desk:
        progress: list[tuple[int, int]] = []
        manifest = project.manifest()
        shipped = await ship(desk.call_as("alice"), project, manifest, progress=lambda *told: progress.append(told))
        assert shipped.blob_nbytes == manifest.nbytes
        assert [sum(map(len, c["blobs"])) for op, c in desk.sent if op == "workspace_blobs"] == [
            PIECE_NBYTES, PIECE_NBYTES, 12_345, PIECE_NBYTES, 1,
        ]  # fmt: skip
        assert progress[-1] == (manifest.nbytes, manifest.nbytes)
        store = desk.spaces.of(OWNER)
        assert store.read(hashlib.sha256(big).digest(), len(big)) == big


async def test_two_who_ship_the_same_at_once_do_not_harm_each_other(tmp_path: Path) -> None:
    project = Project({**Project.of_count(30).files, "big": os.urandom(PIECE_NBYTES + 1)})
    async with desk_in(tmp_path) as desk:
        await asyncio.gather(desk.ship(project), desk.ship(project), desk.ship(project, tenant="bob"))
        assert desk.spaces.of(OWNER).lacks(project.manifest().digests()) == []


async def test_a_broken_off_shipment_goes_on_where_it_was(tmp_path: Path) -> None:
    """D08: what arrived before is not sent again."""
    project = Project.of_count(10)
    async with desk_in(tmp_path) as desk:
        call, manifest = desk.call_as("alice"), project.manifest()
        await call("workspace_offer", workspace=manifest.id, manifest=manifest.to_wire())
        digests = list(manifest.digests())[:4]
        blobs = [project.content_by_digest[digest] for digest in digests]
        answer = await call("workspace_blobs", workspace=manifest.id, digests=digests, offsets=[0] * 4, blobs=blobs)
        assert answer == {"lacks": 6}
        assert (await desk.ship(project)).blobs == 6


@pytest.mark.parametrize("nbytes", [10, PIECE_NBYTES + 10])
async def test_a_file_that_changes_on_its_way_is_refused(tmp_path: Path, nbytes: int) -> None:
    project = Project({"file": b"x" * nbytes})
    manifest = project.manifest()
    (digest,) = manifest.digests()
    async with desk_in(tmp_path) as desk:
        for changed in (b"y" * nbytes, b"x" * (nbytes - 5)):
            project.content_by_digest[digest] = changed
            with pytest.raises(BlobMismatchError, match="scan the workspace again"):
                await ship(desk.call_as("alice"), project, manifest)
        assert desk.spaces.of(OWNER).lacks(manifest.digests()) == [digest]


async def test_an_offer_that_does_not_answer_is_given_up() -> None:
    async def call(op: str, /, **content: Any) -> Any:
        await asyncio.Event().wait()

    project = Project({"a": "a"})
    with pytest.raises(ShippingTimeoutError, match=r"did not answer workspace_offer for 0\.01 s"):
        await ship(call, project, project.manifest(), timeout_s=0.01)


@pytest.mark.parametrize(
    "answer", [None, {"lacks": None}, {"lacks": [b"\0" * 32]}, {"lacks": ["x"]}, {"unknown": True}, []]
)
async def test_an_offer_that_talks_nonsense_is_refused(answer: Any) -> None:
    async def call(op: str, /, **content: Any) -> Any:
        return answer

    project = Project({"a": "a"})
    with pytest.raises(ProtocolError):
        await ship(call, project, project.manifest())


async def test_an_offer_that_loses_what_it_gets_is_given_up() -> None:
    project = Project({"a": "a"})
    manifest = project.manifest()

    async def call(op: str, /, **content: Any) -> Any:
        return {"lacks": list(manifest.digests())} if op == "workspace_offer" else {"lacks": 1}

    with pytest.raises(BlobMissingError):
        await ship(call, project, manifest)


async def test_an_offer_that_names_a_content_often_gets_it_once() -> None:
    project = Project({"a": "a"})
    manifest = project.manifest()
    sent: list[bytes] = []

    async def call(op: str, /, **content: Any) -> Any:
        sent.extend(content.get("blobs", []))
        return {"lacks": [*manifest.digests()] * 10_000} if op == "workspace_offer" else {"lacks": 0}

    assert (await ship(call, project, manifest)).blob_nbytes == 1
    assert sent == [b"a"]
