"""How a machine's cores and memory are shared out among workers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.deploy import local, machine
from distributed.deploy.machine import memory_limit_nbytes, split_cores
from distributed.errors import ConfigError


@pytest.mark.parametrize(
    ("cores", "workers", "threads"),
    [(1, 1, 1), (2, 2, 1), (4, 4, 1), (5, 5, 1), (6, 3, 2), (8, 4, 2), (9, 3, 3), (12, 4, 3), (64, 8, 8), (96, 12, 8)],
)
def test_cores_become_workers_and_threads(cores: int, workers: int, threads: int) -> None:
    assert split_cores(cores) == (workers, threads)


@given(st.integers(1, 2000))
def test_every_core_is_used_once(cores: int) -> None:
    workers, threads = split_cores(cores)
    assert workers * threads == cores
    assert threads <= workers


@pytest.mark.parametrize(
    ("limit", "nbytes"),
    [(None, None), (0, None), ("0", None), ("4GiB", 4 * 2**30), ("1 MB", 10**6), (1000, 1000), ("auto", 500)],
)
def test_a_memory_limit_is_understood(monkeypatch: pytest.MonkeyPatch, limit: Any, nbytes: int | None) -> None:
    monkeypatch.setattr(machine, "memory_available", lambda: 1000)
    assert memory_limit_nbytes(limit, 0.5) == nbytes


def test_nobody_gets_more_memory_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory_available", lambda: 1000)
    assert memory_limit_nbytes("auto", 3.0) == 1000


@pytest.mark.parametrize("limit", ["lots", "-1", -1, "", "1 parsec", [1], True])
def test_a_memory_limit_that_makes_no_sense_is_named(limit: Any) -> None:
    with pytest.raises(ConfigError, match="memory_limit"):
        memory_limit_nbytes(limit, 1.0)


@pytest.mark.parametrize(
    ("n_workers", "nthreads", "expected"),
    [
        (None, None, (6, 2)),
        (None, 4, (3, 4)),
        (None, 100, (1, 100)),
        (3, None, (3, 4)),
        (100, None, (100, 1)),
        (2, 5, (2, 5)),
        (0, None, (0, 0)),
    ],
)
def test_what_is_not_said_follows_from_the_cores(
    monkeypatch: pytest.MonkeyPatch, n_workers: int | None, nthreads: int | None, expected: tuple[int, int]
) -> None:
    monkeypatch.setattr(local, "cores_available", lambda: 12)
    monkeypatch.setattr(local, "split_cores", lambda cores: (6, 2))
    count, options = local._worker_options(n_workers, nthreads, 0, {"GPU": 1})
    workers = [options] * count
    assert (len(workers), workers[0]["nthreads"] if workers else 0) == expected


@pytest.mark.parametrize(("n_workers", "nthreads"), [(-1, None), (None, 0), (1, 0), (1, -2)])
def test_less_than_nothing_is_refused(n_workers: int | None, nthreads: int | None) -> None:
    with pytest.raises(ConfigError, match=r"n_workers|threads_per_worker"):
        local._worker_options(n_workers, nthreads, 0, None)


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000", 8), ("150000 100000", 2), ("50000 100000", 1), ("", 8), ("9900000 100000", 8)]
)
def test_a_limit_of_the_container_counts(monkeypatch: pytest.MonkeyPatch, text: str, cores: int) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(machine, "_read_words", lambda path, count: [*text.split(), *[None] * count][:count])
    assert machine.cores_available() == cores


def test_at_least_the_memory_of_a_container_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_read_words", lambda path, count: ["1000"])
    assert machine.memory_available() == 1000
    monkeypatch.setattr(machine, "_read_words", lambda path, count: ["max"])
    assert machine.memory_available() > 1000
