"""The options of the programs of the simple and the push recipe."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from click import Command
from click.testing import CliRunner

from distributed import config
from distributed.errors import ConfigError
from distributed.manager import master as manager_master
from distributed.pull import master as pull_master
from distributed.push import master as push_master
from distributed.push import worker as push_worker
from distributed.recipes.running import overridden, pair_of
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


def test_a_worker_is_named_by_host_and_port() -> None:
    assert pair_of("h:80") == ("h", 80)
    assert pair_of("[::1]:80") == ("::1", 80)
    for text in ("h", ":80", "h:", "h:x", "h:0", "h:70000", "h:٣"):
        with pytest.raises(ConfigError, match="HOST:PORT"):
            pair_of(text)


def test_settings_are_taken_from_the_module_or_from_any_object_with_the_same_names() -> None:
    """H01: config.py's settings; override by object."""
    assert config.MASTER == ("127.0.0.1", 8000)
    assert [("127.0.0.1", port) for port in (8001, 8002, 8003, 8004)] == config.WORKERS
    assert config.CHUNK_SIZE == 262_144
    assert config.WORKER_PROCESSING_TIMEOUT_SECONDS == config.WORKER_WAIT_FOR_TIMEOUT_FILE_SECONDS == 4
    changed = overridden(config, CHUNK_SIZE=1)
    assert (changed.CHUNK_SIZE, changed.MASTER) == (1, config.MASTER)
    assert simple_master.Master(".", SimpleNamespace(WORKERS=[])).config.WORKERS == []
    assert simple_master.Master(".").config is config
