"""dcenter: where it listens, and what else it shares with dscheduler."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from distributed.cli import dcenter, dscheduler, dworker
from distributed.errors import ConfigError


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


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["h", "--center"], "tcp://h:8787"),
        (["h"], "tcp://h:8786"),
        (["h:1", "--center"], "tcp://h:1"),
    ],
)
def test_a_worker_of_a_center_knows_its_port(arguments: list[str], place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(scheduler: Any, *rest: Any) -> None:
        raise ConfigError("scheduler", scheduler, "seen")

    monkeypatch.setattr(dworker, "keyring", lambda: None)
    monkeypatch.setattr(dworker, "_serve_worker", stop)
    result = CliRunner().invoke(dworker.main, [*arguments, "--no-nanny"])
    assert result.exit_code == 1 and f"scheduler='{place}'" in result.output


def test_what_is_said_twice_must_agree() -> None:
    for extra in (["--port", "2"], ["--host", "localhost"]):
        result = CliRunner().invoke(dcenter.main, ["127.0.0.1:1", *extra])
        assert result.exit_code == 2 and "contradict each other" in result.output
