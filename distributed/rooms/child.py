"""The process of a room: a worker that knows its tenant's key only, and finds the modules of the workspace first.

Not here: the owner's side of it (`room`), references (`references`), working directories (`scratch`).
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
from typing import Any

from distributed.config import settings
from distributed.errors import FunctionLoadError
from distributed.rooms.entry import be_room, import_module
from distributed.rooms.scratch import Scratch, has_folder_per_thread
from distributed.security.keys import Keyring, adopt_keyring
from distributed.worker.loading import in_turn
from distributed.worker.process import run_worker_child
from distributed.worker.server import Worker

__all__ = ["RoomWorker", "run_room_child"]

logger = logging.getLogger(__name__)

# What tells of the owner's key and clusters. Others, such as limits and times, are the operator's wish for all.
PRIVATE = ("KEY_FILE", "CREDENTIAL", "CONFIG", "WORKERS", "SCHEDULER_ADDRESS", "SCHEDULER_FILE")


class RoomWorker(Worker):
    """A worker whose tasks begin in a folder of their own. Keywords of `Worker`.

    Args:
        scratch: makes the folders.
    """

    def __init__(self, *args: Any, scratch: Scratch, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.dress = scratch.dress


def run_room_child(options: dict[str, Any], status: int, life: int) -> None:
    """Child of a zygote, as `run_worker_child`, with one option more: ``room``, a dict of

    ``keys`` (see `room.keys_to_options`), ``workspace`` (its id), ``root`` (folder of its copy; None: there is none),
    ``roots`` (of modules, relative to it), ``entry``, ``entry_file`` and ``source`` (see `be_room`).
    """
    room, worker = options["room"], options["worker"]
    _become_the_tenants(room["keys"], worker["local_directory"])
    scratch = Scratch(_made(worker["local_directory"], "scratch"))
    os.chdir(scratch.shared)
    os.environ["TMPDIR"] = _made(worker["local_directory"], "tmp")  # what tasks forget there goes with the room
    tempfile.tempdir = None
    if worker["nthreads"] != 1 and not _threads_have_folders():
        logger.warning("threads cannot have working directories of their own here, so this room has one thread")
        worker["nthreads"] = 1
    if room["root"] is not None:
        be_room(room["workspace"], room["root"], room["roots"], room["entry"], room["entry_file"], room["source"])
        sys.argv = [os.path.join(room["root"], room["entry_file"] or "")]
        if room["entry"] is not None:
            threading.Thread(target=_import_early, args=(room["entry"],), daemon=True).start()
    run_worker_child(options, status, life, lambda **keywords: RoomWorker(**keywords, scratch=scratch))


def _become_the_tenants(keys: dict[str, str], folder: str) -> None:
    """Whoever connects from here is the tenant; programs that a task starts make a key of their own in `folder`."""
    by_role = {role: bytes.fromhex(key) for role, key in keys.items()}
    adopt_keyring(Keyring(by_role, needs_certificate=False))  # the Main may be another user's, with another one
    settings()  # as the owner has them, for good
    for name in PRIVATE:
        os.environ.pop(f"DISTRIBUTED_{name}", None)
    os.environ["DISTRIBUTED_KEY_FILE"] = os.path.join(folder, "key")


def _made(parent: str, name: str) -> str:
    folder = os.path.join(parent, name)
    os.mkdir(folder, 0o700)
    return folder


def _threads_have_folders() -> bool:
    """In a thread that ends: this one keeps the working directory that all others begin with."""
    answers: list[bool] = []
    asking = threading.Thread(target=lambda: answers.append(has_folder_per_thread()))
    asking.start()
    asking.join()
    return answers == [True]


def _import_early(entry: str) -> None:
    """While the room meets its scheduler. What fails is told to those whose function needs it, not here."""
    if not has_folder_per_thread():  # modules are imported in another folder than that of a call, which may run by now
        return
    try:
        with in_turn():
            import_module(entry)
    except FunctionLoadError as error:
        logger.info("%s", error)
