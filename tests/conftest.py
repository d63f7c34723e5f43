"""What every test shares: its size mark, which follows from its folder, and Hypothesis without wall-clock deadlines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

pytest_plugins = ["distributed.testing.plugin", "pytester"]

SIZES = ("small", "medium", "large")
HERE = Path(__file__).parent

# A slow machine is no fault of the code; the time limit of a whole test (pyproject.toml) still holds.
set_hypothesis_home_dir(HERE.parent / "build" / "hypothesis")
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the folder it lies in; a test elsewhere is an error, because nobody would know its size."""
    for item in items:
        folder = item.path.relative_to(HERE).parts[0]
        if folder not in SIZES:
            raise pytest.UsageError(f"{item.nodeid}: tests lie in tests/{{{','.join(SIZES)}}}/")
        item.add_marker(getattr(pytest.mark, folder))
