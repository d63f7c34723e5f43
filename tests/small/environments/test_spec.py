"""Requirements: what counts, what is refused by file and line, and that one meaning has one digest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.environments.spec import INHERIT, LINES_MAX, NBYTES_MAX, EnvironmentSpec
from distributed.errors import ProtocolError, RequirementsError


def test_without_requirements_what_is_there_is_inherited() -> None:
    assert EnvironmentSpec.of() == EnvironmentSpec.of("inherit") == EnvironmentSpec.of([]) == INHERIT
    assert INHERIT.is_inherited


def test_order_spaces_comments_and_repetitions_do_not_change_the_digest() -> None:
    one = EnvironmentSpec.of(["numpy >= 2", "", "# why", "attrs==1.0  # pinned"])
    two = EnvironmentSpec.of(["attrs==1.0", "numpy  >=  2", "attrs==1.0"])
    assert one == two
    assert one.digest == two.digest
    assert one.packages == ("attrs==1.0", "numpy >= 2")
    assert one.digest != one.for_python("3.13").digest != EnvironmentSpec.of(["numpy"]).digest


def test_a_file_is_read_with_those_it_refers_to(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "requirements.txt").write_text("-r sub/more.txt\n-c sub/limits.txt\nnumpy\\\n>=2 \\\n  ,<3\n")
    (tmp_path / "sub" / "more.txt").write_text("attrs\r\n")
    (tmp_path / "sub" / "limits.txt").write_text("six<2\n")
    found = EnvironmentSpec.of(tmp_path / "requirements.txt")
    assert found.lines == ("attrs", "numpy>=2 ,<3")
    assert found.constraints == ("six<2",)
    assert EnvironmentSpec.of(str(tmp_path / "requirements.txt")) == found


def test_a_lock_with_hashes_and_its_options_pass() -> None:
    lines = ["--require-hashes",
             f"six==1.16.0 ; python_version >= '3.8' --hash=sha256:{'a' * 64} --hash=sha256:{'b' * 64}",
             "--only-binary :all:", "--pre", "a[x,y] (>=1)", "pkg @ https://example.org/pkg-1.0.whl",
             "pkg2 @ git+https://example.org/pkg.git@v1", "zope.interface~=6.0"]  # fmt: skip
    found = EnvironmentSpec.of(lines)
    assert set(found.lines) == set(lines)
    assert found.options == (("--only-binary", ":all:"), ("--pre", ""), ("--require-hashes", ""))


def test_this_package_itself_is_never_fetched_from_an_index() -> None:
    assert EnvironmentSpec.of(["distributed>=2026.1", "numpy"]).lines == ("numpy",)
    assert EnvironmentSpec.of(["Distributed[tls]"]).is_inherited


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("-e .", "editable package"),
        ("-e git+https://example.org/x.git", "editable package"),
        ("--index-url https://example.org", "the owner of the worker chooses"),
        ("--extra-index-url=https://example.org", "the owner of the worker chooses"),
        ("-f ./wheels", "the owner of the worker chooses"),
        ("--config-settings x=y", "those that are: -r, -c, --hash"),
        ("-r other.txt", "those that are"),
        ("./package", "a file of this machine"),
        ("../package", "a file of this machine"),
        ("/package", "a file of this machine"),
        ("wheels/six-1.0.whl", "a file of this machine"),
        ("six-1.0-py3-none-any.whl", "a file of this machine"),
        ("file:///x", "a file of this machine"),
        ("pkg @ file:///x", "https:// without a password"),
        ("pkg @ https://user:secret@example.org/x", "https:// without a password"),
        ("pkg @ http://example.org/x", "https:// without a password"),
        ("pkg==${TOKEN}", "variables are not filled in"),
        ("pkg\x07", "printable"),
        ("two words", "it is no requirement"),
        ("pkg$(reboot)", "it is no requirement"),
        ("x" * 40_000, "longer than"),
    ],
)
def test_a_line_that_reaches_outside_is_refused_by_number_and_rule(line: str, rule: str) -> None:
    with pytest.raises(RequirementsError, match=r"^requirements, line 2: ") as caught:
        EnvironmentSpec.of(["numpy", line])
    assert rule in caught.value.rule
    with pytest.raises(RequirementsError):
        EnvironmentSpec.from_wire([[line], [], ""])


@pytest.mark.parametrize("name", ["uv.lock", "poetry.lock", "pyproject.toml", "Pipfile", "environment.yml"])
def test_a_file_in_another_format_is_refused_with_how_to_export_it(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(RequirementsError, match=rf"{name}: it is no requirements file; export one \(`uv export`"):
        EnvironmentSpec.of(tmp_path / name)


def test_a_file_that_is_missing_or_refers_to_itself_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequirementsError, match=r"nowhere.txt: it cannot be read: No such file"):
        EnvironmentSpec.of(tmp_path / "nowhere.txt")
    (tmp_path / "a.txt").write_text("-r a.txt")
    with pytest.raises(RequirementsError, match="more than 8 deep"):
        EnvironmentSpec.of(tmp_path / "a.txt")
    (tmp_path / "big.txt").write_text("#" * (NBYTES_MAX + 1))
    with pytest.raises(RequirementsError, match="longer than"):
        EnvironmentSpec.of(tmp_path / "big.txt")


def test_a_specification_survives_the_wire() -> None:
    spec = EnvironmentSpec(("attrs", "numpy>=2"), ("six<2",), "3.11")
    assert EnvironmentSpec.from_wire(spec.to_wire()) == spec
    assert EnvironmentSpec.from_wire(INHERIT.to_wire()) == INHERIT


@pytest.mark.parametrize(
    "value",
    [None, [], {}, [[], []], [[], [], 3], [["a"], "b", ""], [[1], [], ""], [[], [], "3.11.7"], [[], [], "../3"],
     [["a"] * (LINES_MAX + 1), [], ""], [[], [], "x" * 100]],
)  # fmt: skip
def test_another_shape_on_the_wire_is_refused(value: Any) -> None:
    with pytest.raises(ProtocolError):
        EnvironmentSpec.from_wire(value)


def test_too_much_in_all_is_refused() -> None:
    with pytest.raises(RequirementsError, match="at most"):
        EnvironmentSpec.of([f"a{number}{'b' * 30_000}" for number in range(100)])


@given(st.text(max_size=200))
def test_any_line_is_taken_or_refused_and_what_is_taken_stays_as_it_is(line: str) -> None:
    try:
        spec = EnvironmentSpec.of([line])
    except RequirementsError:
        return
    assert EnvironmentSpec.from_wire(spec.to_wire()) == spec
    assert all(part and not part.startswith(("/", ".", "-e", "-i")) for part in spec.lines)
