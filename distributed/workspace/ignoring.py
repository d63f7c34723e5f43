"""Which files of a project belong to its workspace: ignore files, a built-in list, and what the caller names."""

from __future__ import annotations

import re

__all__ = ["BUILT_IN", "VERSION_CONTROL", "is_built_in"]

# Never part of a workspace, whatever anybody says: histories are huge, and no task needs them.
VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".bzr", ".jj", "_darcs", "CVS"})

# Left out unless `.distributedignore` or `include` asks for them: made by tools, for this machine only.
BUILT_IN = frozenset(
    {
        *(
            "__pycache__",
            ".venv",
            "venv",
            ".virtualenv",
            "__pypackages__",
            ".pixi",
            "node_modules",
            ".ipynb_checkpoints",
        ),
        *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".pytype", ".pyre", ".cache", ".eggs"),
        *(".tox", ".nox", ".direnv", ".gradle", ".terraform", ".idea", ".vscode", ".DS_Store"),
    }
)
_BUILT_IN_ENDINGS = re.compile(r".*(?:\.py[cod]|\.egg-info|\.sw[op]|~)", re.DOTALL)


def is_built_in(name: str, is_folder: bool) -> bool:
    """Whether a file or folder of that name is left out unless somebody asks for it."""
    if name in VERSION_CONTROL or name in BUILT_IN:
        return True
    return _BUILT_IN_ENDINGS.fullmatch(name) is not None and is_folder == name.endswith(".egg-info")
