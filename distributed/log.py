"""Logging of our own processes: one line per event on stderr, readable by people."""

from __future__ import annotations

import logging
import sys

__all__ = ["LEVELS", "log_to_stderr"]

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
