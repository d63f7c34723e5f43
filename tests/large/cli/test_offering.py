"""``dworker --offer`` as its owner uses it, with ``dstatus``, ``distributed withdraw``, ``return`` and ``grant``."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
from pathlib import Path

import pytest

from distributed.calls import rpc
from distributed.errors import AuthenticationError
from distributed.security.credentials import Credential
from distributed.testing.mains import PlainMain
from distributed.testing.processes import Cluster, Processes, Started


def run(processes: Processes, command: str) -> str:
    """What a command of ours prints; it must succeed."""
    started = processes.python("-m", "distributed", *shlex.split(command))
    assert started.wait() == 0, started.said()
    return started.said()


def test_an_owner_lends_looks_takes_back_and_returns(processes: Processes) -> None:
    """D15: from the command line: an offer is lent, shown, withdrawn in part and whole, and returned."""
    offer = processes.dworker("--offer --offer-port 0 --cores 2 --memory-limit 1GiB --tags gpu --local-directory .")
    address = offer.wait_said(r"lends 2 core\(s\) at (\S+)")[1]

    async def use() -> None:
        async with PlainMain(address, name="train.py") as main:
            room = await main.open_room()
            shown = await asyncio.to_thread(run, processes, f"status {address}")
            assert "lends     2 of 2 core(s)" in shown and "gpu" in shown
            assert "train.py" in shown and room["room"] in shown
            told = json.loads(await asyncio.to_thread(run, processes, f"status {address} --json"))
            assert [each["name"] for each in told["tenants"]] == ["train.py"]
            part = await asyncio.to_thread(run, processes, f"withdraw {address} --cores 1 --grace 0s")
            assert part.strip() == f"{address} lends 1 core(s) and 1 GiB"
            assert (await main.wait_notice("withdrawn"))["cores"] == 1
            assert "lends nothing" in await asyncio.to_thread(run, processes, f"withdraw {address} --grace 1s")
            await main.wait_notice("room-ended")
            assert "lends 2 core(s)" in await asyncio.to_thread(run, processes, f"return {address}")
            await main.wait_notice("returned")
            await main.open_room()
            offer.send(signal.SIGTERM)
            assert "the offer ends: SIGTERM" in (await main.wait_notice("ended"))["reason"]

    asyncio.run(use())
    assert offer.wait() == 0
    processes.wait_nothing_left()


def test_a_grant_lets_another_user_in_until_it_is_withdrawn(processes: Processes, tmp_path: Path) -> None:
    """D14: named grants: a credential lets another user's Main in; withdrawn, it is shown out within seconds."""
    offer = processes.dworker("--offer --offer-port 0 --cores 1 --admit d14-alice,bob")
    address = offer.wait_said(r"lends 1 core\(s\) at (\S+)")[1]
    for name in ("d14-alice", "d14-carol"):
        run(processes, f"grant {name}")
    alice, carol = (Credential.load(tmp_path / f"{name}.credential").keyring() for name in ("d14-alice", "d14-carol"))

    async def use() -> None:
        with pytest.raises(AuthenticationError):
            await PlainMain(address, carol).__aenter__()
        async with PlainMain(address, alice) as main:
            await main.open_room()
            await asyncio.to_thread(run, processes, "grant --withdraw d14-alice")
            assert "grant" in (await main.wait_notice("ended"))["reason"]
            with pytest.raises(AuthenticationError):
                await main.join()

    asyncio.run(use())
    run(processes, "grant --withdraw d14-carol")
    assert offer.end() == 0


def test_a_worker_of_a_scheduler_lends_too_and_announces_it(cluster: Cluster) -> None:
    async def use() -> None:
        async with rpc(cluster.address) as scheduler:
            workers = (await scheduler.scheduler_info())["workers"]
            (port,) = {worker["services"]["offer"] for worker in workers.values()}
        async with PlainMain(f"127.0.0.1:{port}") as main:
            assert main.notices[0]["offer"]["cores"] == 2
            assert (await main.open_room())["worker"] not in workers

    asyncio.run(use())


def ended(started: Started) -> str:
    started.wait()
    return started.said()


def test_what_cannot_be_is_refused(processes: Processes) -> None:
    said = ended(processes.dworker(""))
    assert "name the scheduler" in said and "--offer" in said
    assert "--offer needs" in ended(processes.dworker("127.0.0.1:1 --offer --no-nanny"))
    assert "--admit" in ended(processes.dworker("--offer --admit nobody,alice"))
    assert "No such file" in ended(processes.dworker("--offer --offer-port 0 --python /nowhere/python"))
