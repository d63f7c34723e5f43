"""Sockets at paths that are too long for the address of a socket."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

__all__ = ["PATH_NBYTES_MAX", "fitting"]

PATH_NBYTES_MAX = 100  # Linux takes 107, others 103
_DESCRIPTORS = "/proc/self/fd"


@contextlib.contextmanager
def fitting(path: str) -> Iterator[str]:
    """A path for the same socket that fits, as long as the context lasts: `path` itself if it can.

    Elsewhere than on Linux a long path stays as it is, and whoever uses it gets its OSError.
    """
    if len(os.fsencode(path)) <= PATH_NBYTES_MAX or not os.path.isdir(_DESCRIPTORS):
        yield path
        return
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"{_DESCRIPTORS}/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)
