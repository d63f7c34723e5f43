"""``--resources`` of dworker."""

from __future__ import annotations

import pytest

from distributed.cli.dworker import parse_resources
from distributed.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "amounts"),
    [
        ("", {}),
        (" , ", {}),
        ("GPU=1", {"GPU": 1.0}),
        ("GPU=1,disk=20.5", {"GPU": 1.0, "disk": 20.5}),
        (" GPU = 0 ,", {"GPU": 0.0}),
        ("a=1,a=2", {"a": 2.0}),
        ("a=1e3", {"a": 1000.0}),
    ],
)
def test_amounts_by_name(text: str, amounts: dict[str, float]) -> None:
    assert parse_resources(text) == amounts


@pytest.mark.parametrize("text", ["GPU", "GPU=", "=1", "GPU=many", "GPU=-1", "GPU=1=2", "GPU=nan", "GPU=inf", "a=1,b"])
def test_what_is_no_amount_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--resources.*write NAME=AMOUNT"):
        parse_resources(text)
