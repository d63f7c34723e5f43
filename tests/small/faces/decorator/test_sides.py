"""Main's side of `sided`, `proxy`, `singleton` and machine facts; a worker's is in the medium tests."""

from __future__ import annotations

import sys

import pytest

from distributed import Sides, machine_facts, proxy, sided, singleton
from distributed.faces.decorator.sides import side


@sided(Sides.MAIN)
def on_main(value: int) -> int:
    """Documented."""
    return value


@sided(Sides.WORKER)
def on_worker(value: int) -> int:
    return value


where = proxy(main=lambda: "main", worker=lambda: "worker")


@singleton
class settings:
    depth = 3


def test_code_of_one_side_runs_on_that_side_only() -> None:
    """D17: sided, proxy and singleton, on the Main."""
    assert side() is Sides.MAIN
    assert (on_main(4), on_worker(4), where()) == (4, None, "main")
    assert on_main.__doc__ == "Documented."
    assert (settings.depth, type(settings).__name__) == (3, "settings")


def test_a_side_has_to_be_named() -> None:
    with pytest.raises(TypeError, match=r"@sided\(Sides.MAIN\)"):
        sided(on_main)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="worker is NoneType"):
        proxy(on_main, None)  # type: ignore[arg-type]


def test_a_machine_tells_its_facts() -> None:
    facts = machine_facts()
    assert facts.platform == sys.platform
    assert facts.bitness in (32, 64)
    assert facts.threads >= 1 and facts.memory > 0 and facts.disk >= -1
