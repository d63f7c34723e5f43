"""How programs of ours end: an error of ours is one readable line and an exit code, never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from distributed.errors import AuthenticationError, DistributedError, KeyFileError

__all__ = ["EXIT_AUTHENTICATION", "EXIT_FAILED", "EXIT_INTERRUPTED", "exit_with", "guarded"]

EXIT_FAILED = 1
EXIT_USAGE = 2  # click's
EXIT_AUTHENTICATION = 3  # another key, or a key file that cannot be used
EXIT_INTERRUPTED = 130  # as shells expect after Ctrl-C


def exit_with(error: Exception) -> NoReturn:
    """Say what is wrong, and end."""
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(EXIT_AUTHENTICATION if isinstance(error, (AuthenticationError, KeyFileError)) else EXIT_FAILED)


def guarded(run: Callable[[], int]) -> NoReturn:
    """Run a program's work; its result is the exit code, `EXIT_INTERRUPTED` after Ctrl-C."""
    try:
        code = run()
    except (DistributedError, OSError) as error:
        exit_with(error)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    raise SystemExit(code)
