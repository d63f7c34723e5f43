"""What our own processes say to people: one line per event on stderr, and texts of others made fit for a line."""

from __future__ import annotations

import logging
import sys

__all__ = ["LEVELS", "log_to_stderr", "shown"]

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def log_to_stderr(level: str = "INFO") -> None:
    """Send this package's log lines to stderr. Called by console scripts only, never by an import.

    Raises:
        ValueError: no such level.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(FORMAT))
    logger = logging.getLogger("distributed")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def shown(path: str) -> str:
    r"""A path, or any text of a peer, on one line of a terminal: what is not printable, or no text, is escaped."""
    return "".join(char if char.isprintable() else _escaped(char) for char in path)


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte, as `os.fsdecode` keeps it
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()
