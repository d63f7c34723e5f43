"""The options of the programs of the simple and the push recipe."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click import Command
from click.testing import CliRunner

from distributed import config
from distributed.errors import AddressError
from distributed.manager import master as manager_master
from distributed.pull import master as pull_master
from distributed.push import master as push_master
from distributed.push import worker as push_worker
from distributed.recipes.options import server_options, with_workers
from distributed.simple import master as simple_master
from distributed.simple import worker as simple_worker

PROGRAMS = [simple_master.main, simple_worker.main, push_master.main, push_worker.main]


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_explains_itself(program: object) -> None:
    """H08, H21: --help of all of them."""
    result = CliRunner().invoke(program, ["--help"])
    assert result.exit_code == 0
    wanted = ["--home", "--output", "--worker"] if "--home" in result.output else ["--port", "--path", "--host"]
    assert all(option in result.output for option in [*wanted, "--insecure"])


@pytest.mark.parametrize(
    ("program", "arguments", "text"),
    [
        (push_worker.main, ["--processes", "x"], "not a valid integer"),
        (push_worker.main, ["--processes", "0"], "not in the range"),
        (push_master.main, ["--home", "/no/such/folder"], "does not exist"),
        (push_master.main, ["--port", "70000"], "not in the range"),
        (simple_worker.main, ["--port", "x"], "not a valid integer"),
        (simple_master.main, ["--home", "/no/such/folder"], "does not exist"),
    ],
)
def test_options_are_typed(program: object, arguments: list[str], text: str) -> None:
    """H08, H21: what is no number or no folder is refused in words."""
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 2
    assert text in result.output


@pytest.mark.parametrize("program", [simple_master.main, push_master.main, pull_master.main, manager_master.main])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(program: Command, tmp_path: Path) -> None:
    result = CliRunner().invoke(program, ["--home", str(tmp_path), "--output", str(tmp_path / "none" / "SHA1SUMS")])
    assert result.exit_code == 2
    assert "there is no folder" in result.output and "--output" in result.output


def test_a_worker_is_named_by_host_and_port_or_by_its_socket() -> None:
    workers = ["h:80", "[::1]:80", "unix:///a/socket"]
    assert with_workers(config, workers).WORKERS == [("h", 80), ("::1", 80), "unix:///a/socket"]
    assert with_workers(config, []) is config
    for text in ("h", ":80", "h:", "h:x", "h:0", "h:70000", "tls://h:80", "unix://"):
        with pytest.raises(AddressError, match=r"is not an address"):
            with_workers(config, [text])


@pytest.mark.parametrize(
    ("arguments", "is_needed", "port"),
    [
        ([], False, "8000"),
        (["--path", "s"], False, "None"),
        (["--path", "s"], True, "8000"),
        (["--port", "0", "--path", "s"], False, "0"),
        (["--path", "s", "--port", "1"], True, "1"),
    ],
)
def test_a_socket_stands_for_the_usual_port_unless_that_is_needed(
    arguments: list[str], is_needed: bool, port: str
) -> None:
    @click.command()
    @server_options(8000, is_needed)
    def program(port: int | None, **others: object) -> None:
        click.echo(repr(port))

    assert CliRunner().invoke(program, arguments).output == f"{port}\n"


def test_settings_are_taken_from_the_module_or_from_any_object_with_the_same_names() -> None:
    """H01: config.py's settings; override by object."""
    assert config.MASTER == ("127.0.0.1", 8000)
    assert [("127.0.0.1", port) for port in (8001, 8002, 8003, 8004)] == config.WORKERS
    assert config.CHUNK_SIZE == 262_144
    assert config.WORKER_PROCESSING_TIMEOUT_SECONDS == config.WORKER_WAIT_FOR_TIMEOUT_FILE_SECONDS == 4
    changed = with_workers(config, ["h:80"])
    assert (changed.CHUNK_SIZE, changed.MASTER) == (config.CHUNK_SIZE, config.MASTER)
    assert simple_master.Master(".", SimpleNamespace(WORKERS=[])).config.WORKERS == []
    assert simple_master.Master(".").config is config
