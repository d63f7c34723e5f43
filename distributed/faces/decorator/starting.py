"""The Main of this process: told by `setup`, started by the first call, ended by `teardown` or with the program."""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distributed.crews.options import MainSettings
from distributed.errors import ConfigError, SetupError
from distributed.faces.decorator.settings import main_settings
from distributed.faces.decorator.sides import Sides, side

__all__ = ["main", "setup", "teardown"]

logger = logging.getLogger(__name__)

_lock = threading.RLock()
_main: Any = None  # the `distributed.crews.main.Main`, see `main`
_settings: MainSettings | None = None  # what `_main` was told, or the next one will be


def setup(config: str | os.PathLike[str] | Mapping[str, Any] | None = None, **settings: Any) -> None:
    """Make this program the Main, before its first call; without it that call does, with what the environment says.

        setup('config.json')
        setup(workers=['10.0.0.5:8788', '10.0.0.6:8788'], credential='lab.grant')
        setup({'ident': 'align', 'scheduler': '10.0.0.5:8786'})

    It returns at once; workers are looked for meanwhile. On a worker, whose modules are those of the Main, it does
    nothing. The same settings again are no news; other ones need a `teardown` before.

    Settings by name:

    - ``ident``: a name that the owners of workers see.
    - ``workers``: addresses of offers (``dworker --offer``).
    - ``scheduler``: address of a scheduler, whose workers' offers are used.
    - ``credential``: path of a grant, for the offers of another user.
    - ``workspace``: the project's folder, or a dict with ``root``, ``include``, ``exclude``, ``nbytes_max`` and
      ``files_max``.
    - ``entry``: the program's own file in there, where that is not the script that was started.
    - ``requirements``: what is installed for the workers: ``'inherit'``, a path, or a list.
    - ``n_workers``, ``threads``, ``memory_limit``: of the workers on this machine, if no others are named.
    - ``follow``: False: edits of the project are not picked up.
    - ``timeout``: seconds for the first worker to be there, then calls fail; None: they wait, and say for what.
    - ``queued_calls_max``, ``queued_nbytes_max``: when more calls, or more bytes of arguments, wait, a call waits too.

    Args:
        config: path of a JSON file, or its content; None: what ``DISTRIBUTED_CONFIG`` names, if anything. Paths in a
            file are relative to it.
        settings: the same by name; they override the file, and that overrides ``DISTRIBUTED_WORKERS`` (with commas
            between), ``DISTRIBUTED_SCHEDULER_ADDRESS`` and ``DISTRIBUTED_CREDENTIAL``.
    Raises:
        ConfigError: the file cannot be read, an unknown key, or a value that cannot be.
        SetupError: calls were made already, or other settings.
    """
    if side() is Sides.WORKER:
        logger.debug("setup() on a worker does nothing")
        return
    given = _read(config, settings)
    with _lock:
        _tell(given)
        main(is_called=False)


def teardown() -> None:
    """End the Main: its workers' rooms and all that was started for it; calls that are not decided are lost.

    The next call, or `setup`, makes another one. A program that ends does it by itself.
    """
    global _main, _settings
    with _lock:
        ended, _main, _settings = _main, None, None
    if ended is not None:
        ended.close()


def main(is_called: bool = True) -> Any:
    """The `distributed.crews.main.Main` of this process, started if there is none.

    It is imported here, with seventy modules that only a Main needs: every room imports this one. A first call starts
    its processes before, which import theirs meanwhile.
    """
    global _main
    current = _main
    if current is None:
        with _lock:
            if _main is None:
                from distributed.crews.processes import Processes  # lazy: only a Main needs it, and what it imports

                settings = _settings or _read(None, {})
                processes = Processes(settings) if is_called else None
                from distributed.crews.main import Main  # lazy: likewise

                _main = Main(settings, processes)
                _tell(settings)
                atexit.register(teardown)
            current = _main
    return current


def _tell(settings: MainSettings) -> None:
    global _settings
    if _main is not None and _settings is not None and settings != _settings:
        names = [name for name in MainSettings.__slots__ if getattr(settings, name) != getattr(_settings, name)]
        raise SetupError(
            f"this program is a Main already, with another {', '.join(names)}: call setup() once, before the first "
            "call of a @distributed function; or teardown() before it, which ends the calls that are under way"
        )
    _settings = settings


def _read(config: str | os.PathLike[str] | Mapping[str, Any] | None, settings: dict[str, Any]) -> MainSettings:
    if config is None:
        config = os.environ.get("DISTRIBUTED_CONFIG") or None
    if config is None:
        return main_settings({}, "", settings, os.environ)
    if isinstance(config, Mapping):
        return main_settings(config, "", settings, os.environ)
    path = os.fspath(config)
    return main_settings(_loaded(path), path, settings, os.environ)


def _loaded(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("config", path, f"the file cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError("config", path, f"it is not JSON: {error}") from error


def _forget() -> None:
    """In a forked child: the Main, with its threads and connections, is the parent's."""
    global _main, _lock
    _main, _lock = None, threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
