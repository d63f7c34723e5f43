"""distributed.protocol.tracebacks: text to traceback objects."""

from __future__ import annotations

import traceback

from distributed.protocol.tracebacks import traceback_from_text


def outer() -> None:
    inner()


def inner() -> None:
    raise KeyError("boo")


def text_of_an_error() -> str:
    try:
        outer()
    except KeyError as error:
        return "".join(traceback.format_exception(error))
    raise AssertionError("outer() raises")


def test_a_traceback_shows_the_files_lines_and_functions_of_its_text() -> None:
    shown = traceback.extract_tb(traceback_from_text(text_of_an_error()))
    assert [entry.name for entry in shown] == ["text_of_an_error", "outer", "inner"]
    assert shown[-1].filename == __file__
    assert shown[-1].line == 'raise KeyError("boo")'


def test_of_a_chain_of_errors_the_last_one_is_taken() -> None:
    chained = "Traceback (most recent call last):\n" + '  File "a.py", line 1, in first\n    x\nA\n\nduring it:\n\n'
    shown = traceback.extract_tb(traceback_from_text(chained + text_of_an_error()))
    assert [entry.name for entry in shown] == ["text_of_an_error", "outer", "inner"]


def test_text_without_frames_has_no_traceback() -> None:
    assert traceback_from_text("") is None
    assert traceback_from_text("ValueError: no frames here") is None


def test_a_file_that_is_not_here_gives_no_source_but_the_place() -> None:
    text = 'Traceback (most recent call last):\n  File "/nowhere/else.py", line 77, in far\n    x()\nE: y\n'
    (entry,) = traceback.extract_tb(traceback_from_text(text))
    assert (entry.filename, entry.lineno, entry.name, entry.line) == ("/nowhere/else.py", 77, "far", "")
