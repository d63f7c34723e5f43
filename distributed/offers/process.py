"""The process behind `LocalOffer`: an offer for one Main, until that is gone.

It reads one JSON line of options from stdin, answers with one line on the descriptor that these name, and serves until
stdin is closed or its parent is gone; then every room ends with it. While it imports its own share, the zygote of its
rooms imports theirs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from distributed.log import log_to_stderr
from distributed.offers.forking import room_zygote
from distributed.process.fresh import set_own_path
from distributed.process.running import run_loop
from distributed.security.keys import Keyring, adopt_keyring

__all__ = ["main"]


def main() -> None:
    """What `LocalOffer` starts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us in order
    given: dict[str, Any] = json.loads(sys.stdin.readline() or "null")
    if given is None:
        raise SystemExit("this is started by LocalOffer; use dworker --offer yourself")
    os.set_inheritable(given["answer"], False)
    set_own_path(given["PYTHONPATH"])
    log_to_stderr(given["log_level"])
    keys = Keyring({role: bytes.fromhex(key) for role, key in given["keys"].items()})
    adopt_keyring(keys)
    zygote = room_zygote()
    try:
        from distributed.offers.serving import serve_beside  # lazy: while the zygote imports what rooms need

        code = run_loop(serve_beside(given, keys, zygote))
    finally:
        zygote.close()
    raise SystemExit(code)
