"""A traceback object from a traceback's text, for tools that want one: debuggers, ``traceback.print_tb``, pytest."""

from __future__ import annotations

import re
import sys
from types import CodeType, FrameType, TracebackType

__all__ = ["traceback_from_text"]

_ENTRY = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>.+)$', re.MULTILINE)
_HEADING = "Traceback (most recent call last):\n"
_STUB = compile("raise StopIteration", "", "exec")
LINE_MAX = (
    1_000_000  # a line number is a promise of the other side; it costs nothing here, but has a bound all the same
)


def traceback_from_text(text: str) -> TracebackType | None:
    """The frames that `text` (as `traceback.format_exception` writes it) shows last: file, line and function of each.

    They have no variables. Source lines are shown by whoever prints it, where the file exists too. None if the text
    shows no frame.
    """
    entries = list(_ENTRY.finditer(text.rpartition(_HEADING)[2]))
    trace: TracebackType | None = None
    for entry in reversed(entries):
        frame = _frame(entry["file"], entry["name"])
        # No instruction (-1): the code of the stub must not be asked for the position, it knows only its own.
        trace = TracebackType(trace, frame, -1, min(int(entry["line"]), LINE_MAX))
    return trace


def _frame(file: str, name: str) -> FrameType:
    """A frame that claims to be in function `name` of `file`; frames cannot be made, only caught."""
    code: CodeType = _STUB.replace(co_filename=file, co_name=name)
    try:
        exec(code, {"__name__": name, "__file__": file})
    except StopIteration:
        trace = sys.exc_info()[2]
        assert trace is not None and trace.tb_next is not None
        return trace.tb_next.tb_frame
    raise AssertionError("the stub raises")
