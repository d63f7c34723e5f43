"""What a nanny sees beyond deaths: silent workers that work, stopped ones, and what others left."""

from __future__ import annotations

import inspect
import os
import signal
import time
from pathlib import Path

from distributed import Client
from distributed.testing.processes import Processes, wait_until

VOUCHED = """
import asyncio
from distributed.core import Server
from distributed.nanny import Nanny
from distributed.process.running import report
from distributed.process.zygote import Zygote

def work(options, status, life):
    report(status, {"address": "tcp://worker:1", "incarnation": "life-1"})
    while True:
        sum(range(1000))

class Listener(Server):
    def __init__(self):
        super().__init__()
        self.vouched = asyncio.get_running_loop().create_future()
        self.add_handlers({"worker_alive": self.worker_alive, "worker_died": self.worker_died})

    def worker_died(self, stream, address, incarnation, certificate):
        print(certificate["cause"])

    def worker_alive(self, stream, address, incarnation, running):
        if not self.vouched.done():
            self.vouched.set_result((address, incarnation))

async def main():
    zygote.attach()
    listener = Listener()
    listener.listen(0)
    nanny = await Nanny(listener.address, zygote).start()
    print(await listener.vouched)
    await nanny.kill()
    await nanny.close()
    listener.stop()

zygote = Zygote({"worker": work})
asyncio.run(main())
zygote.close()
"""


def test_a_nanny_vouches_for_a_worker_that_says_nothing_but_works(processes: Processes) -> None:
    program = processes.python("-W", "error", "-c", VOUCHED)
    assert program.wait() == 0, program.said()
    assert program.said() == "('tcp://worker:1', 'life-1')\nits nanny was told to kill it\n"
    processes.wait_nothing_left()


def test_a_worker_that_stays_stopped_is_killed_and_replaced(processes: Processes) -> None:
    address = processes.address(processes.dscheduler())
    patience = {"DISTRIBUTED_STOPPED_TIMEOUT_S": "1"}
    nanny = processes.dworker(f"{address} --nthreads 1", env=patience)
    nanny.wait_said("registered with")
    with Client(address) as client:
        (worker,) = client.scheduler_info()["workers"].values()
        future = client.submit(time.sleep, 0.5)
        os.kill(worker["pid"], signal.SIGSTOP)
        nanny.wait_said(r"died: stopped \(SIGSTOP\) for 1 s, killed by its nanny")
        assert future.result(20) is None
        (replaced,) = client.scheduler_info()["workers"].values()
        assert replaced["pid"] != worker["pid"]


def test_the_next_nanny_removes_what_a_killed_one_left(processes: Processes) -> None:
    address = processes.address(processes.dscheduler())

    def folders() -> list[Path]:
        return sorted(processes.folder.glob("distributed-worker-*"))

    first = processes.dworker(f"{address} --nthreads 1 --local-directory .")
    first.wait_said("registered with")
    left = folders()
    assert len(left) == 1
    first.end(signal.SIGKILL)
    wait_until(lambda: len(processes.alive()) == 1, processes.alive)
    assert folders() == left
    second = processes.dworker(f"{address} --nthreads 1 --local-directory .")
    second.wait_said("registered with")
    wait_until(lambda: len(folders()) == 1 and folders() != left, folders)
    assert second.end(signal.SIGINT) == 0
    assert folders() == []


def hold_the_interpreter() -> bool:
    """Several seconds in one call of C that lets no other thread run."""
    import re

    started = time.monotonic()
    while time.monotonic() - started < 5:
        if re.match(r"(a+)+$", "a" * 26 + "b"):
            return False
    return True


def test_a_silent_worker_is_given_up_when_it_is_stopped_and_not_when_it_works(processes: Processes) -> None:
    address = processes.address(processes.dscheduler("--port 0 --worker-timeout 3s"))
    processes.dworker(f"{address} --nthreads 1").wait_said("registered with")
    with Client(address) as client:
        (before,) = client.scheduler_info()["workers"].values()
        code = inspect.getsource(hold_the_interpreter).replace("import re", "import re, time")
        assert client.submit(lambda: exec(code, names := {}) or names["hold_the_interpreter"]()).result(30)
        (after,) = client.scheduler_info()["workers"].values()
        assert after["pid"] == before["pid"], "it was taken for dead"
        os.kill(after["pid"], signal.SIGSTOP)
        wait_until(lambda: client.ncores() == {}, "it is given up")
        os.kill(after["pid"], signal.SIGCONT)
        assert client.submit(pow, 2, 10).result(20) == 1024
