"""Requirements: what counts, what is refused by file and line, and that one meaning has one digest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.environments.spec import INHERIT, LINES_MAX, EnvironmentSpec
from distributed.errors import ProtocolError, RequirementsError


def test_without_requirements_what_is_there_is_inherited() -> None:
    assert EnvironmentSpec() == EnvironmentSpec.of([]) == INHERIT
    assert INHERIT.is_inherited


def test_order_spaces_comments_and_repetitions_do_not_change_the_digest() -> None:
    one = EnvironmentSpec.of(["numpy >= 2", "", "# why", "attrs==1.0  # pinned"])
    two = EnvironmentSpec.of(["attrs==1.0", "numpy  >=  2", "attrs==1.0"])
    assert one == two
    assert one.digest == two.digest
    assert one.packages == ("attrs==1.0", "numpy >= 2")
    assert one.digest != one.for_python("3.13").digest != EnvironmentSpec.of(["numpy"]).digest


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
