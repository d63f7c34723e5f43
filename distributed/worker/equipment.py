"""Takes equipment in: files that tasks import or read, and plugins; in order, users' code in threads of its own.

Every content of a file has a folder of its own, named by its digest: so Python never mistakes a new version for the old
one, neither by the time of a compiled file nor by the directory of a zip that it remembers.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib
import logging
import os
import queue
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from distributed.errors import BadRequestError
from distributed.messages import Failure
from distributed.messages.equipment import FILE, PLUGIN
from distributed.protocol.failure import failure_from_exception
from distributed.protocol.serialize import loads_payload
from distributed.uploads import ARCHIVES, check_file_name
from distributed.worker.effects import Equip, EquipItem
from distributed.worker.events import Equipped, Outcome
from distributed.worker.loading import in_turn
from distributed.worker.visiting import Visits, finish

__all__ = ["Equipment", "transitions_of"]

logger = logging.getLogger(__name__)

TAKE_IN_S = 60.0  # for one item; a plugin whose setup takes longer goes on, but tasks wait for it no longer
TEARDOWN_S = 2.0  # for all plugins, when the worker ends
TRANSITIONS_MAX = 10_000  # that wait for plugins that look at them; more are not told

Transition = tuple[str, str, str]  # key, start, finish


class Equipment:
    """What one worker has been given.

    Args:
        owner: the worker's server, which plugins get.
        visits: runs code of users.
        folder: where a folder for files is made; None: the system's for temporary files.
        owns_process: the modules of this process are the worker's to replace; else a program lives here too.
        on_loaded: called when a module was imported anew.

    Attributes:
        is_watched: whether a plugin wants to hear of transitions.
    """

    def __init__(
        self, owner: Any, visits: Visits, folder: str | None, owns_process: bool, on_loaded: Callable[[], object]
    ) -> None:
        self._owner = owner
        self._visits = visits
        self._parent = folder
        self._owns_process = owns_process
        self._on_loaded = on_loaded
        self._folder: Path | None = None
        self._places: dict[str, str] = {}  # by name of a file: what of it is on sys.path
        self._contents: dict[str, bytes] = {}  # likewise: digest of what is there
        self._plugins: dict[str, Any] = {}
        self._turn = asyncio.Lock()
        self._transitions: queue.Queue[list[Transition] | None] = queue.Queue(TRANSITIONS_MAX)
        self._watcher: threading.Thread | None = None
        self.is_watched = False

    # ------------------------------------------------------------ loop

    async def take_in(self, effect: Equip, handle: Callable[[Equipped], object]) -> None:
        """Perform the effect, after those before; its answer goes to `handle`."""
        failures: dict[int, Failure] = {}
        async with self._turn:
            for item in effect.items:
                error = await self._error_of(item)
                if error is not None:
                    logger.warning("%s: %s %s: %r", self._owner.address, item.kind, item.name, error)
                    failures[item.serial] = failure_from_exception(error)
        handle(Equipped(effect.ticket, failures))

    async def _error_of(self, item: EquipItem) -> Exception | None:
        """Take one item in; what was raised."""
        try:
            async with asyncio.timeout(TAKE_IN_S) as bound:
                await self._visits.call("equip", lambda: self._take_in(item))
        except Exception as error:  # whatever code of users raises
            if bound.expired():
                return TimeoutError(f"{item.kind} {item.name} was not ready within {TAKE_IN_S:g} s")
            return error
        return None

    def files(self) -> list[str]:
        """Names of the files that are here."""
        return list(self._places)

    async def drop(self) -> None:
        """End all plugins: their scheduler is gone."""
        async with self._turn:
            await self._teardown_all()

    async def close(self) -> None:
        """End plugins, within 2 s, and remove files."""
        if self._plugins:
            await self._teardown_all()
        if self._watcher is not None:
            with contextlib.suppress(queue.Full):  # it is a daemon, and ends with the process
                self._transitions.put_nowait(None)
        for place in self._places.values():
            if place in sys.path:
                sys.path.remove(place)
        self._places.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def tell(self, transitions: list[Transition]) -> None:
        """Plugins that want it hear of these, in a thread of theirs; any that are too many are left out."""
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="distributed-plugins", daemon=True)
            self._watcher.start()
        try:
            self._transitions.put_nowait(transitions)
        except queue.Full:
            logger.debug("plugins do not keep up: %d transitions are not told", len(transitions))

    async def _teardown_all(self) -> None:
        names = list(self._plugins)
        try:
            async with asyncio.timeout(TEARDOWN_S):
                await self._visits.call("equip", lambda: self._unplug_all(reversed(names)))
        except Exception as error:  # whatever code of users raises, or takes too long for
            logger.warning("%s: plugins did not end well: %r", self._owner.address, error)
        self._plugins.clear()
        self.is_watched = False

    # ------------------------------------------------------------ a thread for each call, one at a time

    def _take_in(self, item: EquipItem) -> None:
        if item.kind == FILE:
            content = loads_payload(item.payload)
            self._take_file(item.name, content["content"], content["load"])
        elif item.kind == PLUGIN:
            plugin = loads_payload(item.payload)
            self._unplug_quietly(item.name)
            if hasattr(plugin, "setup"):
                finish(plugin.setup(self._owner))
            self._plugins[item.name] = plugin
            self.is_watched = any(hasattr(each, "transition") for each in self._plugins.values())
        else:
            self._unplug(item.name)

    def _unplug(self, name: str) -> None:
        plugin = self._plugins.pop(name, None)
        self.is_watched = any(hasattr(each, "transition") for each in self._plugins.values())
        if hasattr(plugin, "teardown"):
            finish(plugin.teardown(self._owner))

    def _unplug_all(self, names: Iterable[str]) -> None:
        for name in names:
            self._unplug_quietly(name)

    def _unplug_quietly(self, name: str) -> None:
        try:
            self._unplug(name)
        except Exception:  # the old one's fault must not keep the next one out
            logger.exception("%s: teardown of plugin %s", self._owner.address, name)

    def _take_file(self, name: str, content: bytes, is_loaded: bool) -> None:
        check_file_name(name)
        digest = hashlib.blake2b(content, digest_size=16).digest()
        folder = self._own_folder()
        path = folder / name
        if self._contents.get(name) != digest or not path.exists():
            _write(path, content)
        suffix = path.suffix.lower()
        if suffix in (".py", *ARCHIVES):
            versioned = folder / digest.hex() / name
            versioned.parent.mkdir(exist_ok=True)
            _write(versioned, content)
            place = str(versioned if suffix in ARCHIVES else versioned.parent)
            is_new = self._places.get(name) != place
            with in_turn():  # another worker of this process must not take away what this one is importing
                if is_new:
                    self._put_on_path(name, place)
                if is_loaded:
                    for module in _modules_in(versioned):
                        self._load(module, is_new, place)
        self._contents[name] = digest

    def _own_folder(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="distributed-files-", dir=self._parent))
        return self._folder

    def path_of(self, name: str) -> str:
        """Where the file `name` lies. FileNotFoundError: it was not uploaded."""
        path = None if self._folder is None else self._folder / name
        if path is None or name not in self._contents:
            raise FileNotFoundError(f"{name!r} was not uploaded to this worker; there are: {sorted(self._contents)}")
        return str(path)

    def _put_on_path(self, name: str, place: str) -> None:
        old = self._places.get(name)
        if old in sys.path:
            sys.path.remove(old)
        self._places[name] = place
        sys.path.insert(0, place)
        importlib.invalidate_caches()

    def _load(self, module: str, is_new: bool, place: str) -> None:
        """Import it; of a new version anew, with all below it."""
        present = sys.modules.get(module)
        if present is not None and (not is_new or not self._may_replace(present)):
            return
        names = [name for name in sys.modules if name == module or name.startswith(f"{module}.")]
        before = {name: sys.modules.pop(name) for name in names}
        try:
            importlib.import_module(module)
        except BaseException:  # those who use the old one go on with it
            sys.modules.update(before)
            raise
        if before:
            self._on_loaded()

    def _may_replace(self, module: Any) -> bool:
        origin = str(getattr(module, "__file__", None) or "")
        return self._owns_process or (self._folder is not None and origin.startswith(str(self._folder)))

    # ------------------------------------------------------------ the thread that tells of transitions

    def _watch(self) -> None:
        while (transitions := self._transitions.get()) is not None:
            for name, plugin in list(self._plugins.items()):
                watch = getattr(plugin, "transition", None)
                if watch is None:
                    continue
                for transition in transitions:
                    try:
                        watch(*transition)
                    except Exception:  # a plugin's fault is nobody else's
                        logger.exception("plugin %s: transition %r", name, transition)


def transitions_of(outcomes: list[Outcome]) -> list[Transition]:
    """What these mean for plugins that look at transitions."""
    return [
        (outcome.key, "ready", "memory" if outcome.failure is None and outcome.missing is None else "error")
        for outcome in outcomes
    ]


def _write(path: Path, content: bytes) -> None:
    """In one step: whoever reads it finds the old or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _modules_in(path: Path) -> list[str]:
    """Names of the modules and packages at the top of a file.

    Raises:
        BadRequestError: there are none.
    """
    if path.suffix.lower() == ".py":
        return [path.stem]
    import zipfile  # lazy: 8 ms of import, and few archives are uploaded

    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    tops = {name.removesuffix(".py") for name in names if "/" not in name and name.endswith(".py")}
    tops |= {name.split("/")[0] for name in names if name.count("/") == 1 and name.endswith("/__init__.py")}
    modules = sorted(name for name in tops - {"__main__", "setup"} if name.isidentifier())
    if not modules:
        raise BadRequestError(f"{path.name} has no module or package at its top; upload it with load=False")
    return modules
