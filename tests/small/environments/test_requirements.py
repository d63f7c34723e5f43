"""What users give as ``requirements=``: a word, lines, or files that refer to files."""

from __future__ import annotations

from pathlib import Path

import pytest

from distributed.environments.requirements import required
from distributed.environments.spec import INHERIT, NBYTES_MAX, EnvironmentSpec
from distributed.errors import RequirementsError


def test_lines_and_the_word_inherit_need_no_file() -> None:
    assert required() == required("inherit") == required([]) == INHERIT
    assert required(["attrs"], "3.11") == EnvironmentSpec(("attrs",), (), "3.11")


def test_a_file_is_read_with_those_it_refers_to(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "requirements.txt").write_text("-r sub/more.txt\n-c sub/limits.txt\nnumpy\\\n>=2 \\\n  ,<3\n")
    (tmp_path / "sub" / "more.txt").write_text("attrs\r\n")
    (tmp_path / "sub" / "limits.txt").write_text("six<2\n")
    found = required(tmp_path / "requirements.txt")
    assert found.lines == ("attrs", "numpy>=2 ,<3")
    assert found.constraints == ("six<2",)
    assert required(str(tmp_path / "requirements.txt")) == found


@pytest.mark.parametrize("name", ["uv.lock", "poetry.lock", "pyproject.toml", "Pipfile", "environment.yml"])
def test_a_file_in_another_format_is_refused_with_how_to_export_it(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(RequirementsError, match=rf"{name}: it is no requirements file; export one \(`uv export`"):
        required(tmp_path / name)


def test_a_file_that_is_missing_or_refers_to_itself_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequirementsError, match=r"nowhere.txt: it cannot be read: No such file"):
        required(tmp_path / "nowhere.txt")
    (tmp_path / "a.txt").write_text("-r a.txt")
    with pytest.raises(RequirementsError, match="more than 8 deep"):
        required(tmp_path / "a.txt")
    (tmp_path / "big.txt").write_text("#" * (NBYTES_MAX + 1))
    with pytest.raises(RequirementsError, match="longer than"):
        required(tmp_path / "big.txt")
