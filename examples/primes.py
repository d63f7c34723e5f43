"""Which numbers are prime? Workers look, a hundred numbers at a time; when one dies, another one does its hundred."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Iterable
from math import isqrt
from typing import Any

from distributed_worker import DistributedManager, DistributedWorker, create_remote_worker

CHUNK = 100


def is_prime(number: int) -> bool:
    """The naive way."""
    return number > 1 and all(number % divisor for divisor in range(2, isqrt(number) + 1))


class PrimeWorker(DistributedWorker):
    """Looks at one number per slice, and sends what it found when it has no more."""

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        self.task: list[int] = []
        self.results: dict[int, bool] = {}

    def loop(self) -> None:
        if self.task:
            number = self.task.pop()
            self.results[number] = is_prime(number)
        elif self.results:
            self.send(self.results)
            self.results = {}

    def handle_msg(self, msg: Any) -> None:
        if type(msg) is list:
            self.task += msg


def prime_server(manager: DistributedManager, numbers: Iterable[int], kill_one: bool = False) -> dict[int, bool]:
    """The style with a loop of your own."""
    pending = list(numbers)
    results: dict[int, bool] = {}
    tasked: dict[int, list[int]] = {}  # what each busy worker is looking at
    while pending or tasked:
        if manager.try_accept():
            print("New worker added")
        for worker, msgs in manager.collect().items():
            for msg in msgs:
                if type(msg) is dict:
                    results.update(msg)
                    tasked.pop(worker, None)
        active = manager.get_active_workers()
        for worker in tasked.keys() - set(active):
            print(f"Worker {worker} died, its numbers are looked at again")
            pending += tasked.pop(worker)
        for worker in active:
            if pending and worker not in tasked:
                tasked[worker] = pending[:CHUNK]
                del pending[:CHUNK]
                if kill_one and results:
                    kill_one = give_and_kill(manager, worker, tasked[worker])
                else:
                    manager.send(worker, tasked[worker])
    return results


class PrimeManager(DistributedManager):
    """The style with a subclass."""

    def start(self, numbers: Iterable[int], kill_one: bool = False) -> dict[int, bool]:
        self.pending = list(numbers)
        self.results: dict[int, bool] = {}
        self.tasked: dict[int, list[int]] = {}
        self.kill_one = kill_one
        while self.pending or self.tasked:
            self.run_once()
        return self.results

    def loop(self) -> None:
        for worker in self.get_active_workers():
            if self.pending and worker not in self.tasked:
                self.tasked[worker] = self.pending[:CHUNK]
                del self.pending[:CHUNK]
                if self.kill_one and self.results:
                    self.kill_one = give_and_kill(self, worker, self.tasked[worker])
                else:
                    self.send(worker, self.tasked[worker])

    def handle_msg(self, id: int, msg: Any) -> None:
        self.results.update(msg)
        self.tasked.pop(id, None)

    def on_worker_disconnect(self, id: int) -> None:
        print(f"Worker {id} died, its numbers are looked at again")
        self.pending += self.tasked.pop(id, [])


def give_and_kill(manager: DistributedManager, worker: int, numbers: list[int]) -> bool:
    """Kill a worker as a power cut would, in the middle: stopped first, or it might be done before."""
    pid = manager.get_worker_info(worker)["pid"]
    os.kill(pid, signal.SIGSTOP)
    manager.send(worker, numbers)
    os.kill(pid, signal.SIGKILL)
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--numbers", type=int, default=100_000)
    parser.add_argument("--local", type=int, default=2, help="workers of the manager's own (default: 2)")
    parser.add_argument("--remote", type=int, default=1, help="workers that connect to it (default: 1)")
    parser.add_argument("--style", choices=["loop", "subclass"], default="loop")
    parser.add_argument("--kill-one", action="store_true", help="kill a worker in the middle, to see what happens")
    given = parser.parse_args()
    with PrimeManager() if given.style == "subclass" else DistributedManager() as manager:
        for _ in range(given.local):
            manager.create_local_worker(PrimeWorker)
        for _ in range(given.remote):
            create_remote_worker(PrimeWorker, manager.get_client_args())
        if isinstance(manager, PrimeManager):
            results = manager.start(range(given.numbers), given.kill_one)
        else:
            results = prime_server(manager, range(given.numbers), given.kill_one)
    print(f"{sum(results.values())} of {len(results)} numbers are prime")


if __name__ == "__main__":
    main()
