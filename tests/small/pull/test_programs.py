"""The options of the two programs, and what is made of them."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from distributed.pull import master, worker


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        (worker.command, ["--processes", "four"], "'four' is not a valid integer"),
        (worker.command, ["--processes", "0"], "0 is not in the range x>=1"),
        (master.main, ["--port", "http"], "'http' is not a valid integer"),
        (master.main, ["--port", "65536"], "65536 is not in the range 0<=x<=65535"),
        (master.main, ["--home", "/no/such/folder"], "does not exist"),
    ],
)
def test_an_option_of_the_wrong_type_is_refused_by_name(command: object, arguments: list[str], said: str) -> None:
    """H16: typed options."""
    result = CliRunner().invoke(command, arguments)  # type: ignore[arg-type]
    assert result.exit_code == 2
    assert said in result.output and arguments[0] in result.output


@pytest.mark.parametrize("address", ["elsewhere:port", "[::1", ":8000", "unix:///socket"])
def test_an_address_that_is_none_is_refused_in_a_line(address: str) -> None:
    result = CliRunner().invoke(worker.command, ["--master", address])
    assert result.exit_code == 1
    assert result.output.startswith("error: ")


def test_options_reach_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """H16: --name, --processes as a number, --master, --insecure."""
    given: list[object] = []
    monkeypatch.setattr(worker, "main", lambda *arguments: given.append(arguments) or 0)
    options = ["--name", "w", "--processes", "4", "--master", "host", "--insecure"]
    assert CliRunner().invoke(worker.command, options).exit_code == 0
    assert given == [("w", 4, None, ("host", 8000), True)]
