"""Environments of a worker machine: each built once, kept for the next one who wants it, and removed again some day.

    FOLDER/DIGEST/                the virtual environment, with `behind/`, see `interpreters`
    FOLDER/DIGEST/complete.json   written last: without it a builder was killed, and the next one begins anew
    FOLDER/DIGEST.lock            shared by who uses it, exclusive for who builds or removes it

The locks are the kernel's (`flock`): several processes of one user may share the folder, and end as they like.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from distributed.dataclass import dataclass
from distributed.environments.installing import fill, find_uv, in_short, python_of
from distributed.environments.interpreters import Interpreter, link_behind, look_at, own_interpreter
from distributed.environments.spec import EnvironmentSpec
from distributed.errors import ConfigError, EnvironmentBuildError
from distributed.process.fresh import import_paths
from distributed.units import GiB

__all__ = ["INHERITED", "Environment", "Environments"]

INHERITED = "inherit"
COUNT_MAX = 32
NBYTES_MAX = 32 * GiB
BUILD_TIMEOUT_S = 1800.0  # big packages from a slow index take minutes; nobody waits for ever
LOCK_LOOK_S = 0.05  # between two tries for a lock that another process holds
MARK = "complete.json"


@dataclass(slots=True, frozen=True)
class Environment:
    """One that is ready.

    Attributes:
        python: its interpreter's path.
        version: of that, such as ``"3.11.7"``.
        digest: what it is known by; ``"inherit"``: nothing was built.
        is_built: whether it was made of requirements; else it is an interpreter's own packages.
    """

    python: str
    version: str
    digest: str
    is_built: bool

    @property
    def minor(self) -> str:
        """Such as ``"3.11"``."""
        return ".".join(self.version.split(".")[:2])


class Environments:
    """Gives out environments; builds those that are not there.

    Args:
        folder: where they are, made with mode 0700 when it is needed; None: ``distributed/environments`` in the user's
            cache folder.
        pythons: paths of further interpreters, of other minor versions, each with this version of this package.
        count_max, nbytes_max: above these, the ones that were not used for the longest time are removed.
        options: of the installer, such as ``("--no-index", "--find-links", folder)``.
        uses_uv: False: pip even where uv is.
        timeout_s: for one build.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        pythons: Sequence[str] = (),
        count_max: int = COUNT_MAX,
        nbytes_max: int = NBYTES_MAX,
        options: Sequence[str] = (),
        uses_uv: bool = True,
        timeout_s: float = BUILD_TIMEOUT_S,
    ) -> None:
        self.folder = Path(folder or _default_folder()).absolute()
        self._pythons = list(pythons)
        self._count_max, self._nbytes_max = count_max, nbytes_max
        self._options = tuple(options)
        self._uses_uv = uses_uv
        self._timeout_s = timeout_s
        self._looks: dict[str, asyncio.Task[Interpreter]] = {}
        self._builds: dict[str, asyncio.Task[Environment]] = {}
        self._told: dict[str, list[Callable[[str], object]]] = {}
        self._locks: dict[str, int] = {}  # descriptors of the shared locks on what is in use
        self._used: dict[str, int] = {}  # how often

    async def minors(self) -> dict[str, Interpreter]:
        """The interpreters that can be had, by minor version; this process's own comes first.

        Raises:
            ConfigError: one of `pythons` cannot be used; the text says what to do.
        """
        own = own_interpreter()
        found = {own.minor: own}
        for python in self._pythons:
            interpreter = await self._look(python)
            found.setdefault(interpreter.minor, interpreter)
        return found

    async def get(self, spec: EnvironmentSpec, progress: Callable[[str], object] = lambda line: None) -> Environment:
        """The environment for `spec`; give it back with `release`. Those who ask for the same one share its build.

        A minor version that is not here is not looked for: the answer has the version of this process, and who asked
        must look at it. Cancelling leaves the build to others who wait for it, and ends it if there are none.

        Args:
            progress: called with what the installer says, if something is built.
        Raises:
            EnvironmentBuildError: it cannot be built; nothing of it is kept.
            ConfigError: one of `pythons` cannot be used.
        """
        minors = await self.minors()
        own = next(iter(minors))
        base = minors.get(spec.python) or minors[own]
        if spec.is_inherited:
            return Environment(base.python, base.version, INHERITED, False)
        digest = _digest(spec, base)
        waiting = self._told.setdefault(digest, [])
        waiting.append(progress)
        build = self._builds.get(digest)
        if build is None:
            build = self._builds[digest] = asyncio.ensure_future(self._ready(digest, spec, base))
            build.add_done_callback(lambda done: self._forget(digest))
        try:
            environment = await asyncio.shield(build)
        except asyncio.CancelledError:
            waiting.remove(progress)
            if not waiting and not build.cancel() and digest not in self._used:
                self._unlock(digest)  # it was ready just now
            raise
        self._used[digest] = self._used.get(digest, 0) + 1
        return environment

    def release(self, environment: Environment) -> None:
        """Say that one use of it has ended: once for each `get`."""
        digest = environment.digest
        if digest not in self._used:
            return
        self._used[digest] -= 1
        if not self._used[digest] and digest not in self._builds:
            del self._used[digest]
            self._unlock(digest)

    def close(self) -> None:
        """Give all of them back and end what is being built."""
        for build in list(self._builds.values()):
            build.cancel()
        for look in self._looks.values():
            look.cancel()
        for digest in list(self._locks):
            self._unlock(digest)
        self._used.clear()

    # ------------------------------------------------------------ one of them

    async def _look(self, python: str) -> Interpreter:
        """Once per interpreter."""
        look = self._looks.get(python)
        if look is None or (look.done() and (look.cancelled() or look.exception() is not None)):
            paths = import_paths() if python == own_interpreter().python else None
            look = self._looks[python] = asyncio.ensure_future(look_at(python, paths))
        return await asyncio.shield(look)

    async def _ready(self, digest: str, spec: EnvironmentSpec, base: Interpreter) -> Environment:
        """It, with a shared lock on it held by us."""
        _make_private(self.folder)
        home = self.folder / digest
        while True:
            if digest not in self._locks:
                self._locks[digest] = await self._lock(digest, fcntl.LOCK_SH)
            found = _read_mark(home)
            if found is not None:
                os.utime(home / MARK)
                return Environment(python_of(home), found, digest, True)
            self._unlock(digest)
            lock = await self._lock(digest, fcntl.LOCK_EX)
            try:
                if _read_mark(home) is None:
                    await self._build(home, digest, spec, base)
            finally:
                os.close(lock)
            await asyncio.to_thread(self._remove_old, digest)

    async def _build(self, home: Path, digest: str, spec: EnvironmentSpec, base: Interpreter) -> None:
        await asyncio.to_thread(shutil.rmtree, home, True)  # of one who was killed
        tell = self._told[digest]

        def progress(line: str) -> None:
            for each in list(tell):
                each(line)

        what = in_short(spec)
        try:
            behind = await self._look(base.python)
            uv = find_uv() if self._uses_uv else None
            await fill(home, spec, base, uv, self._options, self._timeout_s, progress)
            link_behind(home / "behind", behind.places)
            packages = home / "lib" / f"python{base.minor}" / "site-packages"
            (packages / "distributed-behind.pth").write_text(f"{home / 'behind'}\n")
            await _check(what, home, dict(behind.places)["distributed"])
            nbytes = await asyncio.to_thread(_nbytes_below, home)
            mark = home / f"{MARK}.new"
            mark.write_text(json.dumps({"version": base.version, "nbytes": nbytes, "base": base.python}))
            mark.rename(home / MARK)
        except OSError as error:
            raise EnvironmentBuildError(what, f"{error.filename or home}: {error.strerror or error}") from None
        finally:
            if not (home / MARK).exists():
                await asyncio.shield(asyncio.to_thread(shutil.rmtree, home, True))

    async def _lock(self, digest: str, kind: int) -> int:
        path = self.folder / f"{digest}.lock"
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                with contextlib.suppress(FileNotFoundError):
                    if os.stat(path).st_ino == os.fstat(descriptor).st_ino:  # nobody removed it meanwhile
                        return descriptor
            except BlockingIOError:
                await asyncio.sleep(LOCK_LOOK_S)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _unlock(self, digest: str) -> None:
        lock = self._locks.pop(digest, None)
        if lock is not None:
            os.close(lock)

    def _forget(self, digest: str) -> None:
        """Its build has ended."""
        build = self._builds.pop(digest)
        del self._told[digest]
        if (build.cancelled() or build.exception() is not None) and not self._used.get(digest):
            self._unlock(digest)

    # ------------------------------------------------------------ all of them

    def _remove_old(self, spared: str) -> None:
        """Those above the bounds that nobody uses, longest unused first; in a thread."""
        found: list[tuple[float, str, int]] = []
        for mark in self.folder.glob(f"*/{MARK}"):
            with contextlib.suppress(OSError, ValueError, KeyError):  # being removed by another process
                nbytes = json.loads(mark.read_text())["nbytes"]
                found.append((mark.stat().st_mtime, mark.parent.name, int(nbytes)))
        count, total = len(found), sum(nbytes for _, _, nbytes in found)
        for _, digest, nbytes in sorted(found):
            if count <= self._count_max and total <= self._nbytes_max:
                return
            if digest != spared and self._remove(digest):
                count, total = count - 1, total - nbytes

    def _remove(self, digest: str) -> bool:
        """Whether nobody used it, so that it is gone."""
        path = self.folder / f"{digest}.lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (self.folder / digest / MARK).unlink(missing_ok=True)
            shutil.rmtree(self.folder / digest, ignore_errors=True)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            return False
        else:
            return True
        finally:
            os.close(lock)


def _default_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME", "")  # the XDG rule: relative paths count as unset
    return (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "distributed" / "environments"


def _make_private(folder: Path) -> None:
    """Make it; code is run from it, so nobody else may write there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise ConfigError("environments", str(folder), f"it cannot be made: {error.strerror or error}") from None
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise ConfigError("environments", str(folder), "it must belong to this user, who alone may write there (0700)")


def _digest(spec: EnvironmentSpec, base: Interpreter) -> str:
    """Another interpreter of the same minor version has another environment: they are not moved, nor shared."""
    return hashlib.sha256(f"{spec.for_python(base.minor).digest} {base.version} {base.python}".encode()).hexdigest()


def _read_mark(home: Path) -> str | None:
    """The version of a complete environment whose interpreter is still there; None: there is none."""
    try:
        version = json.loads((home / MARK).read_text())["version"]
    except (OSError, ValueError, KeyError):
        return None
    return str(version) if os.access(python_of(home), os.X_OK) else None


async def _check(what: str, home: Path, ours: str) -> None:
    """That our processes can run there, and with this package and not another one of its name."""
    try:
        found = await look_at(python_of(home))
    except ConfigError as error:
        raise EnvironmentBuildError(what, f"what it installs keeps distributed from running: {error.rule}") from None
    place = dict(found.places).get("distributed", "")
    if os.path.realpath(place) != os.path.realpath(ours):
        raise EnvironmentBuildError(
            what, "one of the packages brings another one called distributed along (that of dask?): leave it out"
        )


def _nbytes_below(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            total += os.lstat(os.path.join(place, name)).st_size
    return total
