"""What tests of programs on this package need: clusters in one process or in several, and functions to submit.

The pytest plugin with ``io_loop`` and ``http_client`` is `distributed.testing.plugin`.
"""

from __future__ import annotations

from typing import Any

from distributed.lazy import lazy_attributes

__all__ = ["cluster", "dec", "div", "double", "gen_cluster", "gen_test", "inc", "loop", "slowinc", "throws"]  # noqa: F822


def __getattr__(name: str) -> Any:
    return lazy_attributes(__name__, name, _PLACES)


_FUNCTIONS = ("dec", "div", "double", "inc", "slowinc", "throws")
_PLACES = {
    "cluster": "distributed.testing.clusters",
    "gen_cluster": "distributed.testing.clusters",
    "gen_test": "distributed.testing.clusters",
    "loop": "distributed.testing.plugin",
    **dict.fromkeys(_FUNCTIONS, "distributed.testing.functions"),
}
