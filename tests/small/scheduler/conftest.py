"""The stage on which scheduler stories are told; see `distributed.testing.scenarios`."""

from __future__ import annotations

import pytest

from distributed.testing.scenarios import Stage


@pytest.fixture
def stage() -> Stage:
    """An empty scheduler machine: no clients, no workers; its invariants are checked after every event."""
    return Stage()
