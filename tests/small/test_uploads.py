"""Names of files that may be uploaded."""

from __future__ import annotations

import pytest

from distributed.errors import BadRequestError
from distributed.uploads import check_file_name


@pytest.mark.parametrize("name", ["a.py", "my_module.py", "lib-1.0+x.whl", "data.csv", "No suffix", "a.zip", "9.txt"])
def test_plain_names_are_right(name):
    check_file_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "../a.py",
        "/etc/passwd",
        "a/b.py",
        "a\\b.py",
        "a\x00.py",
        "-rf",
        "x" * 201,
        "ä.py",
        "a\n.py",
    ],
)
def test_what_is_no_plain_name_is_refused(name):
    with pytest.raises(BadRequestError, match="no path"):
        check_file_name(name)


@pytest.mark.parametrize("name", ["json.py", "os.py", "distributed.py", "msgpack.py"])
def test_modules_that_every_worker_needs_stay(name):
    with pytest.raises(BadRequestError, match="take the place of the module"):
        check_file_name(name)


@pytest.mark.parametrize("name", ["a-b.py", "1.py", "a b.py"])
def test_what_could_never_be_imported_is_told(name):
    with pytest.raises(BadRequestError, match="can be imported"):
        check_file_name(name)


def test_other_things_are_no_names():
    with pytest.raises(BadRequestError):
        check_file_name(None)  # type: ignore[arg-type]
