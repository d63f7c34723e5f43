"""What workers compute for ``distributed hash``, and how a line is written."""

from __future__ import annotations

import hashlib

import pytest

from distributed.recipes import hash_tasks
from distributed.recipes.hash_tasks import UNFINISHED_MAX, UNSEEN, digest_files, digest_of, digest_part
from distributed.recipes.hashing import BATCH_COUNT, BATCH_NBYTES, Entry, _batches, escaped_line


@pytest.fixture(autouse=True)
def unfinished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_tasks, "_unfinished", type(hash_tasks._unfinished)())


@pytest.mark.parametrize("algorithm", ["sha1", "md5", "blake2b"])
def test_a_content_has_its_digest(algorithm: str) -> None:
    assert digest_of(algorithm, b"abc")[1] == hashlib.new(algorithm, b"abc").hexdigest()


def test_parts_give_the_digest_of_the_whole() -> None:
    parts = [b"abc", b"d" * 1000, b"e", b""]
    answers = [digest_part("sha1", "token", number, part)[1] for number, part in enumerate(parts)]
    assert answers == [None, None, None, hashlib.sha1(b"".join(parts)).hexdigest()]
    assert not hash_tasks._unfinished


def test_a_content_that_is_empty_by_now_has_a_digest_too() -> None:
    assert digest_part("sha1", "token", 0, b"")[1] == hashlib.sha1(b"").hexdigest()


@pytest.mark.parametrize("number", [1, 3, -1])
def test_a_part_out_of_turn_is_refused(number: int) -> None:
    digest_part("sha1", "token", 0, b"a")
    digest_part("sha1", "token", 1, b"b")
    with pytest.raises(LookupError, match="the parts before it are not here"):
        digest_part("sha1", "token", number, b"c")


def test_a_part_for_another_life_of_the_worker_is_refused() -> None:
    with pytest.raises(LookupError):
        digest_part("sha1", "unknown", 7, b"c")


def test_beginning_again_begins_at_nothing() -> None:
    digest_part("sha1", "token", 0, b"a")
    digest_part("sha1", "token", 0, b"b")
    assert digest_part("sha1", "token", 1, b"")[1] == hashlib.sha1(b"b").hexdigest()


def test_what_clients_left_unfinished_is_bounded() -> None:
    for number in range(UNFINISHED_MAX + 50):
        digest_part("sha1", f"token-{number}", 0, b"a")
    assert len(hash_tasks._unfinished) == UNFINISHED_MAX
    assert next(iter(hash_tasks._unfinished)) == "token-50"


@pytest.mark.parametrize(("ours", "theirs"), [("a", "b"), ("", ""), ("", "a")])
def test_files_of_another_machine_are_not_even_looked_at(
    monkeypatch: pytest.MonkeyPatch, ours: str, theirs: str
) -> None:
    monkeypatch.setattr(hash_tasks, "boot_id", lambda: ours)
    _, outcomes = digest_files("sha1", theirs, [(b"/", 0, 0, 0, 0)] * 2)
    assert outcomes == [(None, UNSEEN)] * 2


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (b"plain name", b"d  plain name\n"),
        (b"new\nline", b"\\d  new\\nline\n"),
        (b"back\\slash", b"\\d  back\\\\slash\n"),
        (b"return\r", b"\\d  return\\r\n"),
        (b"\\n", b"\\d  \\\\n\n"),
        (b"\xff", b"d  \xff\n"),
    ],
)
def test_a_name_is_escaped_as_coreutils_do(path: bytes, line: bytes) -> None:
    assert escaped_line("d", path) == line


def entry(nbytes: int) -> Entry:
    return Entry(b"", 0, 0, nbytes, 0)


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ([], []),
        ([0] * (2 * BATCH_COUNT + 1), [BATCH_COUNT, BATCH_COUNT, 1]),
        ([BATCH_NBYTES, 1], [1, 1]),
        ([1, BATCH_NBYTES - 1, 1], [2, 1]),
        ([5 * BATCH_NBYTES] * 3, [1, 1, 1]),
    ],
)
def test_batches_are_bounded_in_number_and_bytes(sizes: list[int], counts: list[int]) -> None:
    assert [len(batch) for batch in _batches([entry(size) for size in sizes])] == counts
