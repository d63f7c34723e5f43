"""The screen of dstatus, from an overview to lines."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.cli.screen import screen


def worker(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "address": "tcp://w:1",
        "status": "running",
        "nthreads": 2,
        "running": 1,
        "queued": 3,
        "lent": 0,
        "holds": 4,
        "cpu_percent": 99.6,
        "memory_nbytes": 2**30,
        "memory_limit_nbytes": 2**31,
        **fields,
    }


@pytest.fixture
def overview() -> dict[str, Any]:
    return {
        "address": "tcp://s:8786",
        "workers": [
            worker("a"),
            worker("b", status="paused", memory_limit_nbytes=None),
            worker("c", cpu_percent=None, memory_nbytes=None),
        ],
        "workers_count": 3,
        "clients_count": 1,
        "tasks": {"waiting": 0, "ready": 2, "processing": 4, "memory": 12_000, "erred": 0, "forgotten": 5},
        "functions": [{"name": "load", "tasks": {"ready": 2, "memory": 12_000}, "mean_s": 0.0125}],
        "counted": 12_006,
        "stuck": [["x", 2, "may only run on w7; none of the 3 workers is such a one."]],
        "tasks_per_s": 12.34,
    }


def test_one_screen_shows_workers_functions_and_what_is_stuck(overview: dict[str, Any]) -> None:
    assert screen(overview, 100, None).splitlines() == [
        "scheduler tcp://s:8786",
        "clients   1; workers 3",
        "threads   3 of 6 busy",
        "tasks     2 ready, 4 processing, 12,000 memory; 12.3 end per second",
        "",
        "worker  status   running  queued  lent  results    cpu  memory",
        "a       running      1/2       3     0        4  100 %  █████░░░░░ 1 GiB of 2 GiB",
        "b       paused       1/2       3     0        4  100 %  1 GiB",
        "c       running      1/2       3     0        4      -  -",
        "",
        "function  waiting  ready  processing  memory  erred  each takes",
        "load                   2              12,000            12.5 ms",
        "",
        "1 kind(s) of tasks that no worker can run:",
        "  2 task(s): x may only run on w7; none of the 3 workers is such a one.",
    ]


def test_a_screen_keeps_to_its_size(overview: dict[str, Any]) -> None:
    overview["workers"] = [worker(f"worker-{number}") for number in range(200)]
    overview["workers_count"] = 5000
    lines = screen(overview, 60, 24, is_unicode=False).splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 60
    assert any("more workers" in line for line in lines) and any("that no worker can run" in line for line in lines)
    assert screen(overview, 60, 24, is_unicode=False).isascii()


def test_a_sample_is_said_to_be_one(overview: dict[str, Any]) -> None:
    overview["tasks"]["memory"] = 10**6
    assert "counted among the newest 12,006 tasks" in screen(overview, 100, None)


def test_colours_are_for_terminals(overview: dict[str, Any]) -> None:
    assert "\x1b" not in screen(overview, 100, None)
    assert "\x1b[33mpaused\x1b[0m" in screen(overview, 100, None, has_colors=True)
