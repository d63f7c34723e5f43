"""The process behind `LocalCluster`: forks a scheduler and workers, and ends them with its parent.

It reads one JSON line of options from stdin, answers with one JSON line on the descriptor they name, and serves until
stdin is closed or its parent is gone. Each further line, a list of workers' options, starts these workers and is
answered by a line too. Its stdout is the parent's: what tasks print is seen there.

Starting takes mostly imports, so only what all processes need is imported here. Then three of them import their own
share beside each other: the scheduler, the zygote for all workers, and this one, which guards them (`hosting`).
"""

from __future__ import annotations

import json
import os
import signal
import sys

from distributed.comm.same_host import prepare
from distributed.core import Server
from distributed.driver import Driver
from distributed.endpoint import Endpoint
from distributed.log import log_to_stderr
from distributed.process.running import run_loop
from distributed.process.zygote import Zygote
from distributed.wire import from_wire

__all__ = ["SHARED", "main"]

SHARED = (Server, Driver, Endpoint, from_wire)  # what scheduler and workers both stand on, imported once for all


def main() -> None:
    """What `distributed.deploy.host_process` starts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us in order
    options = json.loads(sys.stdin.readline() or "null")
    if options is None:
        raise SystemExit("this is started by LocalCluster; use dscheduler and dworker yourself")
    os.set_inheritable(options["answer"], False)
    if options["PYTHONPATH"] is None:  # ours was for this process only, programs that tasks start want the user's
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = options["PYTHONPATH"]
    log_to_stderr(options["log_level"])
    prepare()
    zygote = Zygote(
        {
            "scheduler": "distributed.scheduler.process:run_scheduler_child",
            "worker": "distributed.worker.process:run_worker_child",
        },
        preload=["worker"],
    )
    try:
        status, status_there = os.pipe()
        try:
            scheduler = {**options["scheduler"], "log_level": options["log_level"]}
            asked = zygote.request("scheduler", scheduler, 2, status_there)
        finally:
            os.close(status_there)
        from distributed.deploy.hosting import serve  # lazy: while the others import theirs

        code = run_loop(serve(options, zygote, asked, status))
    finally:
        zygote.close()
    raise SystemExit(code)
