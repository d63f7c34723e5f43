"""What tasks say to the people at the client: `print` and `warn`. Elsewhere they are Python's own."""

from __future__ import annotations

import builtins
import io
import warnings
from typing import Any

from distributed.worker.context import current
from distributed.worker.output import STDERR, STDOUT, WARNING, output_of

__all__ = ["print", "warn"]


def print(*values: Any, sep: str | None = " ", end: str | None = "\n", file: Any = None, flush: bool = False) -> None:
    """Print at the client that wants the calling task, whatever `sys.stdout` has become; outside of tasks, here.

    The same as the builtin: that is forwarded too, but not when somebody has replaced `sys.stdout`.

    Args:
        values, sep, end: as of the builtin `print`.
        file: anything but None, `sys.stdout` and `sys.stderr` is printed to as ever.
        flush: only for a file of yours; what a task prints leaves within 0.1 s.
    """
    context = current()
    output = output_of(context)
    name = STDOUT if file is None else getattr(file, "_name", None)
    if context is not None and output is not None and name in (STDOUT, STDERR):
        text = io.StringIO()
        builtins.print(*values, sep=sep, end=end, file=text)
        if output.write(context, name, text.getvalue()):
            return
    builtins.print(*values, sep=sep, end=end, file=file, flush=flush)


def warn(message: Any, category: type[Warning] = UserWarning, stacklevel: int = 1) -> None:
    """Warn at the client that wants the calling task, where the warning can be filtered; outside of tasks, here.

    Args:
        message: a text, or a warning.
        category: one of Python's own; others arrive as UserWarning.
        stacklevel: as of `warnings.warn`, outside of tasks.
    """
    context = current()
    output = output_of(context)
    if context is not None and output is not None:
        kind = type(message) if isinstance(message, Warning) else category
        text = " ".join(str(message).split())
        if output.write(context, WARNING, f"{kind.__name__}: {text}\n"):
            return
    warnings.warn(message, category, stacklevel + 1)
