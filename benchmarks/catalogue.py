"""Every cell of the table: what it measures, in which unit, and how far ahead of the rival it must be.

How a cell is measured is not here but in `cells`, in the function of the same name.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CELLS", "Cell"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One row.

    Attributes:
        name: of the function in `cells`, and for ``--only``.
        unit: of the values. Units with a slash are rates: more is better. All others: less is better.
        target: least ratio to the rival, better = larger; None: for information.
        rounds_min: rounds even when fewer are asked for, where one sample is cheap and noisy.
        beside: what stands in the column "rival": the rival; "plain", this package without TLS; anything else: what the
            cell's function measures with ``--beside``, for the reader.
        limit_s: after so long a worker script is given up.
    """

    name: str
    what: str
    unit: str
    target: float | None = None
    rounds_min: int = 1
    limit_s: float = 150.0
    beside: str = "rival"

    @property
    def is_rate(self) -> bool:
        """More is better."""
        return "/" in self.unit

    def ratio(self, ours: float, rival: float) -> float:
        """How many times better we are, whichever way the unit points."""
        return ours / rival if self.is_rate else rival / ours


CELLS = (
    Cell("rpc_latency", "rpc latency, p50", "us", 1.5),
    Cell("rpc_in_flight", "rpc calls, 100 in flight", "calls/s", 8),
    Cell("rpc_echo_1MB", "rpc echo of 1 MB", "GB/s"),
    Cell("rpc_echo_64MB", "rpc echo of 64 MB", "GB/s", 1),
    Cell("start", "cluster start to first result", "s", 3, rounds_min=5),
    Cell("start_from_nothing", "  the same, from nothing", "s", rounds_min=5),
    Cell("import_client", "from distributed import Client", "s", 4, rounds_min=10),
    Cell("latency", "no-op latency, p50", "us", 8),
    Cell("map_10k", "map of 10,000 no-ops", "tasks/s"),
    Cell("map_100k", "map of 100,000 no-ops", "tasks/s", 60),
    Cell("million", "map of 1,000,000 no-ops, LocalCluster", "tasks/s", 60),
    Cell("submit_10k", "separate submit x 10,000", "tasks/s", 25),
    Cell("tree_16k", "tree reduce of 16,384", "tasks/s", 40),
    Cell("chain", "chain, each step", "us", 8),
    Cell("fanout", "pipelines of three steps, fanned out and summed", "tasks/s", 30),
    Cell("scatter_100x1MB", "scatter+gather 100 x 1 MB", "GB/s"),
    Cell("scatter_1x256MB", "scatter+gather 1 x 256 MB", "GB/s", 4),
    Cell("worker_death", "kill -9 of one worker of two, extra time", "s", 3),
    Cell("nested", "recursion of tasks that wait for tasks", "tasks/s", 8),
    Cell("tls_echo_64M", "TLS, beside plain: echo of 64 MB", "GB/s", 1 / 2, beside="plain"),
    Cell("tls_noop_map", "TLS, beside plain: 100,000 no-ops", "tasks/s", 1 / 1.15, beside="plain"),
    Cell("result_bandwidth", "100 results of 8 MB gathered", "GB/s", 5),
    Cell("peer_transfer", "256 MB, worker to worker", "GB/s", 5),
    Cell("many_args", "1,000 tasks sharing 50 MB", "tasks/s", 20),
    Cell("executor_map", "Executor.map of 50,000 no-ops", "tasks/s", 20),
    Cell("executor_submit", "Executor.submit x 10,000", "tasks/s", 10),
    Cell("cancel_running", "cancel of a Python loop, until others run", "s", 10),
    Cell("cancel_forced", "cancel of a sleep by force, until others run", "s", 3),
    Cell("printing", "map of 10,000 tasks that print a line", "tasks/s"),
    # Not time-boxed: both hold the same 20,000, or growth by doubling and logs of fixed size would weigh differently.
    Cell("held_task", "scheduler memory per held task", "bytes", 4, limit_s=400.0),
    Cell("second_map", "map over 2,000 results of 80 kB", "tasks/s"),
    Cell("actor", "call of an actor's method, p50", "us", 8),
    Cell("actor_calls", "calls of an actor's method, all at once", "calls/s", 60),
    Cell("center_pool", "Pool.map twice, results stay on the workers", "calls/s", 20),
    Cell(
        "pool_map_million",
        "Pool.map of 1,000,000, beside multiprocessing's",
        "calls/s",
        1 / 3,
        beside="multiprocessing",
    ),
    Cell("pool_map_10k", "Pool.map of 10,000, beside Client.map", "calls/s", 1, beside="Client.map"),
    Cell("pool_imap", "Pool.imap, one by one, beside multiprocessing's", "calls/s", beside="multiprocessing"),
    Cell("pool_apply", "Pool.apply_async x 10,000, beside multiprocessing's", "calls/s", beside="multiprocessing"),
    Cell(
        "decorated_calls", "10,000 @distributed calls, beside Client.submit", "calls/s", 1 / 1.5, beside="Client.submit"
    ),
    Cell(
        "decorated_first",
        "first @distributed result, from nothing, beside Client()",
        "s",
        1 / 1.5,
        5,
        beside="Client()",
    ),
    Cell("decorated_start", "  the same, beside 0.5 s", "s", 1, 5, beside="0.5 s"),
    Cell("manager_slices", "loop() of an idle manager's worker, beside 10,000/s", "slices/s", 1, beside="10,000/s"),
    Cell("manager_messages", "manager: echoes at once, beside a multiprocessing pipe", "messages/s", beside="stdlib"),
    Cell("manager_round_trip", "manager: echoes one by one, likewise", "messages/s", beside="stdlib"),
    Cell(
        "pull_small", "pull of 20,000 small files, beside one by one", "files/s", 5, limit_s=300.0, beside="first shape"
    ),
    Cell("crew_first", "first call with 1,000 files, to its result, beside 1,000 ms", "ms", 1, beside="1,000 ms"),
    Cell("crew_again", "  what they add once the offer has them, beside 30 ms", "ms", 1, beside="30 ms"),
    Cell("crew_edited", "  one of them edited, to a result, beside 300 ms", "ms", 1, beside="300 ms"),
    Cell("crew_sixteen", "16 workspaces in turn: most memory, beside what is lent", "MiB", 1, beside="240 MiB"),
    Cell("workspace_first", "first scan of 1,000 small files, beside 150 ms", "ms", 1, beside="150 ms"),
    Cell("workspace_rescan", "scan of them when nothing has changed, beside 15 ms", "ms", 1, beside="15 ms"),
    Cell("workspace_changed", "asking whether they have changed, beside 2 us", "us", 1, beside="2 us"),
    Cell("pull_large", "pull of 2 GB, beside two curl | sha1sum", "GB/s", 0.8, limit_s=300.0, beside="curl"),
    Cell("room_open", "a room, from order to registered, beside a plain worker", "ms", beside="plain worker"),
    Cell("room_calls", "map of 10,000 no-ops in a room, likewise", "tasks/s", 1 / 1.5, beside="plain worker"),
    Cell("ship_first", "workspace of 1,000 files, first time, beside 500 ms", "ms", 1, beside="500 ms"),
    Cell("ship_unchanged", "  the same, unchanged, with the scan, beside 30 ms", "ms", 1, beside="30 ms"),
    Cell("ship_edited", "  one file edited, with the scan, beside 100 ms", "ms", 1, beside="100 ms"),
    Cell("ship_edited_nbytes", "  what moves for it beside that file, beside 4 KiB", "bytes", 1, beside="4 KiB"),
    Cell("lay_out_1k", "  laid out, beside 150 ms", "ms", 1, beside="150 ms"),
)
