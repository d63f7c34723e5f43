"""Where companions look for modules."""

from __future__ import annotations

import os
from pathlib import Path

from distributed.process.companion import PACKAGE, companion_paths

LIBRARY = os.path.dirname(os.__file__)


def test_the_standard_library_comes_first_and_the_project_last(tmp_path: Path) -> None:
    project = str(tmp_path)
    installed = f"{project}/.venv/lib/python3.11/site-packages"
    given = [project, f"{project}/src", "/the/users", LIBRARY, f"{LIBRARY}/lib-dynload", installed, PACKAGE]
    assert companion_paths(given, project) == [
        LIBRARY, f"{LIBRARY}/lib-dynload", PACKAGE, "/the/users", installed, project, f"{project}/src",
    ]  # fmt: skip


def test_this_package_is_found_where_this_process_found_it() -> None:
    assert companion_paths([LIBRARY, "/others"], "/nowhere") == [LIBRARY, PACKAGE, "/others"]
