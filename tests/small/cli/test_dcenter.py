"""dcenter: where it listens, and what else it shares with dscheduler."""

from __future__ import annotations

import click
import pytest

from distributed.cli import dcenter, dscheduler


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("8787", (None, 8787)),
        (":8787", (None, 8787)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("host.example:9", ("host.example", 9)),
        ("127.0.0.1", ("127.0.0.1", None)),
        ("[::1]:0", ("::1", 0)),
        ("[::1]", ("::1", None)),
    ],
)
def test_a_place_is_honoured(text: str, place: tuple[str | None, int | None]) -> None:
    assert dcenter.parse_place(text) == place


@pytest.mark.parametrize("text", ["a:b", "::1", "1.2.3.4:99999", "127.0.0.1:"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match="write PORT or IP:PORT"):
        dcenter.parse_place(text)


def test_it_has_every_option_of_dscheduler() -> None:
    theirs = {option.name for option in dscheduler.main.params}
    assert {option.name for option in dcenter.main.params} == {*theirs, "place"}
