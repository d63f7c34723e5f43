"""Code of the operator that a scheduler or worker loads when it starts: modules or files named by ``--preload``.

Each may have ``setup(server)`` and ``teardown(server)``, plain or ``async def``. They run on the server's loop, where
they are trusted as much as the server itself: nothing here ever comes over the wire.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from distributed.errors import ConfigError

__all__ = ["Preloads"]

logger = logging.getLogger(__name__)


class Preloads:
    """What was loaded, in the order named.

    Args:
        names: of modules on the path, or of files that end with ``.py``.
    Raises:
        ConfigError: one cannot be found, or raised when it was loaded; the text names it.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._modules = [(name, _load(name)) for name in names]
        self._set_up: list[tuple[str, ModuleType]] = []

    async def setup(self, server: Any) -> None:
        """Call ``setup(server)`` of all that have it.

        Raises:
            ConfigError: one raised; those before it have been torn down.
        """
        for name, module in self._modules:
            try:
                await _call(module, "setup", server)
            except Exception as error:
                await self.teardown(server)
                raise ConfigError("--preload", name, f"its setup raised {type(error).__name__}: {error}") from error
            self._set_up.append((name, module))

    async def teardown(self, server: Any) -> None:
        """Call ``teardown(server)`` of all that were set up and have it, last first; what one raises is logged."""
        while self._set_up:
            name, module = self._set_up.pop()
            try:
                await _call(module, "teardown", server)
            except Exception:  # the server ends all the same
                logger.exception("--preload %s: its teardown raised", name)


async def _call(module: ModuleType, name: str, server: Any) -> None:
    function = getattr(module, name, None)
    if callable(function):
        answer = function(server)
        if inspect.isawaitable(answer):
            await answer


def _load(name: str) -> ModuleType:
    try:
        if not name.endswith(".py"):
            return importlib.import_module(name)
        path = os.path.abspath(name)
        module_name = os.path.basename(name).removesuffix(".py")
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None  # a file that ends with .py has a loader
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(module_name, module)  # so that what it defines can be pickled by name
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the operator's code raises
        raise ConfigError("--preload", name, f"loading it raised {type(error).__name__}: {error}") from error
    return module
