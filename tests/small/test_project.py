"""The project's own files agree with each other and with CONVENTIONS.md. These tests only read files."""

from __future__ import annotations

import ast
import doctest
import re
import tomllib
from pathlib import Path

import pytest

from distributed.config import Settings
from distributed.dataclass import fields
from distributed.messages import MESSAGES
from distributed.testing import pages, tidy
from distributed.versions import VERSION

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAGES = pages.pages(ROOT)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_requirements_are_what_pyproject_requires() -> None:
    lines = (ROOT / "requirements.txt").read_text().split()
    assert lines == PYPROJECT["project"]["dependencies"]


def test_the_version_in_the_source_is_that_of_the_package() -> None:
    assert PYPROJECT["project"]["version"] == VERSION


def test_the_source_is_tidy() -> None:
    assert tidy.find_faults(ROOT) == []


def test_architecture_shows_the_layers_that_tidy_checks() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    listing = text.split("## Folders, in import order")[1].split("```")[1]
    shown = [name for line in listing.splitlines() for name in re.findall(r"(\w+)(?:\.py|/)", line[:40])]
    assert shown == [name for layer in tidy.LAYERS for name in layer]


def test_every_folder_of_the_package_is_packaged() -> None:
    folders = {path.parent for path in (ROOT / "distributed").rglob("*.py")}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "distributed" / "py.typed").exists()
    assert "py.typed" in PYPROJECT["tool"]["setuptools"]["package-data"]["distributed"]


def test_continuous_integration_runs_make_test_and_nothing_else() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert script.rstrip().endswith("\nexec make test")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    assert not re.search(r"https?://|index-url", script)


def test_the_jobs_of_continuous_integration_run_the_entry_on_folders_that_exist() -> None:
    jobs = (ROOT / "continuous_integration" / "jobs.yml").read_text()
    assert set(re.findall(r"^    - (\S+)$", jobs, re.MULTILINE)) == {".ci/run"}
    assert re.findall(r"^    ARGS: (\S+)$", jobs, re.MULTILINE) == ["tests/large"]
    assert (ROOT / "tests" / "large").is_dir()
    dockerfile = (ROOT / "continuous_integration" / "Dockerfile").read_text()
    assert 'ARGS="$ARGS" /project/.ci/run' in dockerfile
    assert set(re.findall(r"debian:\d+", jobs + dockerfile)) == {"debian:12"}


def test_readme_begins_with_the_two_commands() -> None:
    first_screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:40])
    assert "make run" in first_screen
    assert "make test" in first_screen


def test_every_feature_note_has_a_known_kind() -> None:
    notes = [path.name for path in (ROOT / "docs" / "changes").glob("*.md") if path.name != "index.md"]
    assert notes
    assert [note for note in notes if not re.fullmatch(r"[\w-]+\.(feature|fix|break|doc)\.md", note)] == []


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_code_blocks_of_a_page_are_python(page: Path) -> None:
    for block in pages.blocks(page):
        if block.language in ("python", "pycon", "py"):
            parts = [block.text]
            if ">>>" in block.text:
                parts = [example.source for example in doctest.DocTestParser().get_examples(block.text)]
                assert parts
            for part in parts:
                compile(part, f"{page.name}:{block.line}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_examples_of_a_page_are_complete(page: Path) -> None:
    found = pages.examples(page)
    for example in found.values():
        assert example.code, f"{page.name} shows what {example.name} prints, but not its code"
    for beside in [*(e.beside for e in found.values()), *(s.beside for s in pages.sessions(page))]:
        assert beside in ("", "cluster", "center", *found), f"{page.name} names {beside}, which it does not show"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_protocol_page_lists_every_message_with_its_fields() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text()
    for op, cls in MESSAGES.items():
        names = ", ".join(field.name for field in fields(cls))
        assert f"| `{op}` | {cls.sender} | {names} |" in text


def test_the_deploying_page_lists_every_setting() -> None:
    text = (ROOT / "docs" / "deploying.md").read_text()
    variables = [f"DISTRIBUTED_{field.name.upper()}" for field in fields(Settings)]
    assert [variable for variable in variables if f"`{variable}`" not in text] == []
