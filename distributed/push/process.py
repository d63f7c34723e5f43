"""``python -m distributed.push.process ALGORITHM``: one process of a push worker, which makes digests and nothing else.

On stdin comes the content of files, one after the other: pieces, each with its length before it (4 bytes, big endian);
length 0 ends a file, `ABORTED` says that the rest of it will not come. For each file one line of JSON goes out:
``{"digest": text}`` or ``{"error": text}``. What the task itself prints goes to stderr. The end of stdin ends it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import BinaryIO

from distributed.errors import CommClosedError
from distributed.process.parents import end_with_parent
from distributed.recipes.digesting import DigestFunction, digest_function

__all__ = ["ABORTED", "END", "LENGTH_NBYTES", "frame", "main"]

LENGTH_NBYTES = 4
ABORTED = b"\xff\xff\xff\xff"
END = bytes(LENGTH_NBYTES)
ERROR_LENGTH_MAX = 2000


def frame(piece: bytes) -> bytes:
    """What goes before a piece."""
    return len(piece).to_bytes(LENGTH_NBYTES, "big")


def _pieces(source: BinaryIO, first: bytes) -> Iterator[bytes]:
    length = first
    while length != END:
        if len(length) < LENGTH_NBYTES or length == ABORTED:
            raise CommClosedError("the sender", "it ended before all of the content had come")
        yield source.read(int.from_bytes(length, "big"))
        length = source.read(LENGTH_NBYTES)


def _outcome(function: DigestFunction, pieces: Iterator[bytes]) -> dict[str, str]:
    """Of one file; it is read to its end, whatever the function does."""
    outcome: dict[str, str]
    try:
        outcome = {"digest": function(pieces)}
    except Exception as error:  # the user's code: its failure is the outcome
        outcome = {"error": f"{type(error).__name__}: {error}"[:ERROR_LENGTH_MAX]}
    try:
        for _ in pieces:
            continue
    except CommClosedError as error:
        outcome = {"error": str(error)}
    return outcome


def main() -> None:
    """Until stdin ends."""
    end_with_parent(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker, which ends us
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    function = digest_function(SimpleNamespace(HASH_ALGORITHM=sys.argv[1]))
    source = sys.stdin.buffer
    while first := source.read(LENGTH_NBYTES):
        outcome = _outcome(function, _pieces(source, first))
        answers.write(json.dumps(outcome) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
