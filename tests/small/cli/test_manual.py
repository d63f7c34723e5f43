"""The manual tells every option and every setting."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from distributed.cli.dscheduler import main as dscheduler
from distributed.cli.dworker import main as dworker
from distributed.faces.decorator.settings import FROM_ENVIRONMENT, KEYS, WORKSPACE_KEYS

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("command", [dscheduler, dworker], ids=["dscheduler", "dworker"])
def test_every_option_of_a_command_is_on_its_page(command: click.Command) -> None:
    text = (DOCS / "deploying.md").read_text()
    options = [name for option in command.params for name in (*option.opts, *option.secondary_opts)]
    told = {"--http": "--no-http", "--nanny": "--no-nanny"}  # the default goes without saying
    assert [name for name in options if name.startswith("--") and f"`{told.get(name, name)}" not in text] == []


def test_every_key_of_setup_is_on_its_page() -> None:
    text = (DOCS / "decorator.md").read_text()
    assert [key for key in (*KEYS, *WORKSPACE_KEYS) if f"`{key}`" not in text] == []
    deploying = (DOCS / "deploying.md").read_text()
    assert [name for name in (*FROM_ENVIRONMENT.values(), "DISTRIBUTED_CONFIG") if f"`{name}`" not in deploying] == []
