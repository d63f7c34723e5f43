"""`cluster`: real processes for tests, gone in the end."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from distributed import Client
from distributed.testing.clusters import cluster
from distributed.testing.functions import inc


@pytest.mark.parametrize("nanny", [False, True])
def test_a_cluster_of_processes_works_and_ends(nanny: bool) -> None:
    before = psutil.Process().children(recursive=True)
    with cluster(nworkers=2, nanny=nanny) as (scheduler, workers):
        with Client(scheduler["address"]) as client:
            assert client.gather(client.map(inc, range(10))) == list(range(1, 11))
            pids = client.gather(client.map(lambda n: os.getpid(), range(4), pure=False))
            assert sorted(client.ncores()) == sorted(worker["address"] for worker in workers)
        assert len(workers) == 2 and os.getpid() not in pids
    assert psutil.Process().children(recursive=True) == before


def test_processes_that_die_do_not_keep_it_from_ending() -> None:
    before = psutil.Process().children()
    with cluster(nworkers=1) as (_, workers):
        assert len(workers) == 1
        for child in set(psutil.Process().children()) - set(before):
            child.send_signal(signal.SIGKILL)
    assert psutil.Process().children() == before
