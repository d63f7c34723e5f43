"""What a Main sends to workers: its workspace, the name of its script in there, and what must be installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from distributed.crews.options import MainSettings
from distributed.environments.requirements import required
from distributed.rooms.entry import be_main
from distributed.versions import PYTHON_MINOR
from distributed.workspace.locating import FALLBACK_NAME, INSTALLED, entry_name, import_roots
from distributed.workspace.manifest import Manifest
from distributed.workspace.scanning import Workspace
from distributed.workspace.shipping import Contents

__all__ = ["Project"]


class Project:
    """Found once, at the first call; this process is the Main of it from then on.

    Raises:
        WorkspaceEntryError: the entry that was named lies outside of the workspace.
        RequirementsError: as `required`.

    Attributes:
        workspace: its files; `scan` it to know what they are now.
        entry: module name of the script in there; None: what it defines travels by value.
        entry_file: the script's path in there, where its own name is no module's; else None.
        roots: folders of modules in there, relative.
        environment: what must be installed, as a wish for a room has it.
    """

    def __init__(self, settings: MainSettings) -> None:
        script = settings.entry or _script()
        names = ("include", "exclude", "nbytes_max", "files_max")
        options: dict[str, Any] = {name: getattr(settings, name) for name in names}
        if settings.root is not None:
            self.workspace = Workspace(settings.root, entry=script, **options)
        else:
            self.workspace = Workspace.of(script or os.getcwd(), **options)
        self.entry: str | None = None
        self.entry_file: str | None = None
        root = self.workspace.root
        is_named = settings.entry is not None
        if script is not None and (is_named or Path(script).resolve().is_relative_to(root)):
            spec = None if is_named else getattr(sys.modules["__main__"], "__spec__", None)
            self.entry = entry_name(script, root, None if spec is None else spec.name)  # of ``python -m NAME``
            if self.entry == FALLBACK_NAME:
                self.entry_file = Path(script).resolve().relative_to(Path(root).resolve()).as_posix()
        self.roots = import_roots(root, sys.path)
        self.environment = required(settings.requirements, PYTHON_MINOR).to_wire()
        self._follows = settings.follow
        be_main(str(root), self.entry)

    def scan(self) -> Manifest:
        """The workspace as it is now. Raises WorkspaceError."""
        return self.workspace.scan()

    def changed(self) -> bool:
        """Whether it may be another one since the last scan. Cost: 2 us."""
        return self._follows and self.workspace.changed()

    @property
    def source(self) -> str:
        """The project's own folder, which rooms on this machine must not look into."""
        return str(self.workspace.root)

    @property
    def contents(self) -> Contents | None:
        """Where offers get the contents of its files."""
        return self.workspace


def _script() -> str | None:
    """The program's own file; None: there is none, as at a prompt, or it is a tool that runs others' code."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file is None or not os.path.isfile(file):
        return None
    path = Path(file).resolve()
    is_tool = not INSTALLED.isdisjoint(path.parts) or (path.suffix != ".py" and path.parent == _scripts_folder())
    return None if is_tool else str(path)


def _scripts_folder() -> Path:
    """Where this interpreter's console scripts are."""
    return Path(sys.executable).parent.resolve()
