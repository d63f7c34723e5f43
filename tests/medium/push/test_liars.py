"""Push workers that have a token and lie: they cost attempts, and keep nobody else from the files."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from distributed.constants import HTTP_HEADER_X_JOB
from distributed.recipes.naming import encode_path
from distributed.testing.recipes import made_folder, serving
from distributed.web.asking import Connection
from distributed.web.guard import GuardedApplication, GuardedHandler


async def test_a_worker_cannot_say_for_ever_that_it_did_not_begin(
    serve_worker: Any, serve_master: Any, tmp_path: Path
) -> None:
    """H20: what it says of a file that it was not given excuses nothing."""
    tree = made_folder(tmp_path / "tree", {b"a": b"1", b"b": b"2"})
    async with serve_worker(1) as (liar, port), serve_master(tree, port) as master:

        async def tell(job: Any, outcomes: Any) -> None:
            connection = Connection(master.url)
            told = {"none": {"error": "x"}, **{encode_path(path): None for path in job.paths}}
            given = {HTTP_HEADER_X_JOB: job.id}
            await connection.ask("PUT", "/update_file_hashes", given, json.dumps(told).encode())
            connection.close()

        liar._tell = tell
        await master.settled.wait()
        assert all("3 attempts" in reason for reason in master.homes.errors.values()), master.homes.errors


async def test_a_worker_that_takes_nothing_leaves_room_for_the_others(
    serve_worker: Any, serve_master: Any, tmp_path: Path
) -> None:
    """H19: it says that it has a thousand idle processes, and never takes what it is sent."""
    tree = made_folder(tmp_path / "tree", {b"%d" % number: b"x" for number in range(20)})
    end = asyncio.Event()

    class Status(GuardedHandler):
        def get(self) -> None:
            processes = {"total": 1000, "idle": 1000}
            self.answer_json({"id": "i", "processes": processes, "cpu_percent": 0, "jobs": []})

    class NewFile(GuardedHandler):
        async def post(self) -> None:
            await end.wait()

    app = GuardedApplication([("/status", Status), ("/new_file", NewFile)], {})
    settings = {"BATCH_MAX_FILES": 1, "WORKER_PROCESSING_TIMEOUT_SECONDS": 0.1}
    async with serving(app) as stuck, serve_worker(1) as (_, good), serve_master(tree, stuck, good, **settings) as m:
        await m.settled.wait()
        end.set()
        assert sorted(path for path, digest in m.homes.files.items() if digest) == sorted(os.listdir(tree))
