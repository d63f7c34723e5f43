"""The screen of ``dstatus`` as text: a table of workers, one of functions, and what is stuck. Asks nobody.

Plain text with terminal colours at most, so it looks the same with every installation, in a pipe and over any line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distributed.units import format_nbytes, format_seconds

__all__ = ["screen", "table"]

BAR = 10  # characters of a memory bar
HEAD_LINES = 7  # with the head of the first table, and a line about workers that are left out
FUNCTIONS_SHOWN, STUCK_SHOWN = 6, 5  # where there is not room for all
BOLD, RED, YELLOW, GREEN, PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[0m"
_STATUS_COLORS = {"running": GREEN, "paused": YELLOW, "hung": YELLOW, "retiring": YELLOW, "lost": RED}
_STATES = ("waiting", "ready", "processing", "memory", "erred")


def screen(
    overview: dict[str, Any], width: int, height: int | None, is_unicode: bool = True, has_colors: bool = False
) -> str:
    """Lines of at most `width` characters, at most `height` of them; None: all.

    Args:
        overview: what the scheduler's op of that name answers, and its ``address``.
        is_unicode: whether bars may be made of blocks.
        has_colors: whether a terminal shows it.
    """
    workers, functions, stuck = overview["workers"], overview["functions"], overview["stuck"]
    if height is not None:
        functions, stuck = functions[:FUNCTIONS_SHOWN], stuck[:STUCK_SHOWN]
    others = HEAD_LINES + (3 + len(functions) if functions else 0) + (2 + len(stuck) if stuck else 0)
    room = len(workers) if height is None else max(3, height - others)
    head = _head(overview, workers)
    table = _worker_table(workers[:room], is_unicode)
    lines = [*head, "", *table]
    left = overview["workers_count"] - min(room, len(workers))
    if left > 0:
        lines.append(f"... and {left:,} more workers")
    if functions:
        lines += ["", *_function_table(functions)]
        if overview["counted"] < sum(count for state, count in overview["tasks"].items() if state != "forgotten"):
            lines.append(f"counted among the newest {overview['counted']:,} tasks")
    if stuck:
        lines += ["", f"{len(stuck)} kind(s) of tasks that no worker can run:"]
        lines += [f"  {count:,} task(s): {key} {reason}" for key, count, reason in stuck]
    cut = [line if len(line) <= width else f"{line[: width - 3]}..." for line in lines[:height]]
    return "\n".join(_colored(cut) if has_colors else cut)


def _head(overview: dict[str, Any], workers: Sequence[dict[str, Any]]) -> list[str]:
    tasks = overview["tasks"]
    threads, running = sum(w["nthreads"] for w in workers), sum(w["running"] for w in workers)
    counts = ", ".join(f"{tasks[state]:,} {state}" for state in _STATES if tasks[state]) or "none"
    return [
        f"scheduler {overview['address']}",
        f"clients   {overview['clients_count']:,}; workers {overview['workers_count']:,}",
        f"threads   {running:,} of {threads:,} busy",
        f"tasks     {counts}; {overview['tasks_per_s']:,.1f} end per second",
    ]


def _worker_table(workers: Sequence[dict[str, Any]], is_unicode: bool) -> list[str]:
    rows = [
        (
            worker["name"],
            worker["status"],
            f"{worker['running']}/{worker['nthreads']}",
            f"{worker['queued']:,}",
            f"{worker['lent']:,}",
            f"{worker['holds']:,}",
            "-" if worker["cpu_percent"] is None else f"{worker['cpu_percent']:.0f} %",
            _memory(worker, is_unicode),
        )
        for worker in workers
    ]
    return table(("worker", "status", "running", "queued", "lent", "results", "cpu", "memory"), rows, "<<>>>>><")


def _memory(worker: dict[str, Any], is_unicode: bool) -> str:
    used, limit = worker["memory_nbytes"], worker["memory_limit_nbytes"]
    if used is None:
        return "-"
    if not limit:
        return format_nbytes(used)
    filled = min(BAR, round(BAR * used / limit))
    full, empty = ("█", "░") if is_unicode else ("#", ".")
    return f"{full * filled}{empty * (BAR - filled)} {format_nbytes(used)} of {format_nbytes(limit)}"


def _function_table(functions: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        (
            function["name"],
            *(
                f"{function['tasks'].get(state, 0) or '':,}" if function["tasks"].get(state) else ""
                for state in _STATES
            ),
            "" if function["mean_s"] is None else _duration(function["mean_s"]),
        )
        for function in functions
    ]
    return table(("function", *_STATES, "each takes"), rows, "<>>>>>>")


def _duration(seconds: float) -> str:
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else format_seconds(seconds)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Lines of columns as wide as they must be; `sides`: ``<`` or ``>`` for each."""
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)).rstrip()
        for line in (head, *rows)
    ]


def _colored(lines: Sequence[str]) -> list[str]:
    found: list[str] = []
    for line in lines:
        if line.startswith(("worker ", "function ")):
            line = f"{BOLD}{line}{PLAIN}"
        elif "that no worker can run" in line:
            line = f"{RED}{line}{PLAIN}"
        else:
            for status, color in _STATUS_COLORS.items():
                line = line.replace(f"  {status} ", f"  {color}{status}{PLAIN} ", 1)
        found.append(line)
    return found
