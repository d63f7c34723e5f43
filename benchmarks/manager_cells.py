"""Cells of the manager whose user schedules. With ``--beside`` (see `cells.main`) the standard library's `Listener` and
`Client` of `multiprocessing.connection` do the same, with the same loop around them."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

from sides import Plan, Sample, Side, check, rates

__all__ = ["manager_messages", "manager_round_trip", "manager_slices"]


def manager_slices(side: Side, plan: Plan) -> Sample:
    """`loop` of an idle local worker that does not tell that it is idle; beside: 10,000/s, the number to reach."""
    if _is_beside():
        return Sample(10_000.0, [10_000.0], 1, 1)

    def run(team: _Team, count: int) -> float:
        team.ask()
        before, began = team.answer(), time.perf_counter()
        while True:
            time.sleep(count / 50_000)
            team.ask()
            slices, now = team.answer(), time.perf_counter()
            if slices - before >= count:
                return (now - began) * count / (slices - before)

    return _team(run, 20_000, 2_000, plan)


def manager_messages(side: Side, plan: Plan) -> Sample:
    """Small messages to a worker that echoes them, all sent before the first echo is waited for; messages/s."""
    return _team(lambda team, count: team.burst(count), 50_000, 500, plan)


def manager_round_trip(side: Side, plan: Plan) -> Sample:
    """Small messages to a worker that echoes them, each waited for; messages/s."""

    def run(team: _Team, count: int) -> float:
        began = time.perf_counter()
        for number in range(count):
            team.say(number)
            check(team.answer(), number)
        return time.perf_counter() - began

    return _team(run, 10_000, 200, plan)


class _Team:
    """A manager and one local worker."""

    def __init__(self) -> None:
        distributed = importlib.import_module("distributed")
        self.manager = distributed.DistributedManager(("localhost", 0))
        self.manager.create_local_worker(_worker_class(distributed.DistributedWorker))
        self.answers: list[Any] = []
        while not self.manager.get_active_workers():
            self.manager.try_accept()
            self.manager.collect()

    def ask(self) -> None:
        self.say(None)

    def say(self, message: Any) -> None:
        self.manager.send(0, message)

    def answer(self) -> Any:
        while not self.answers:
            self.manager.try_accept()  # waits for news
            self.answers = self.manager.collect().get(0, [])[::-1]
        return self.answers.pop()

    def burst(self, count: int) -> float:
        began = time.perf_counter()
        for number in range(count):
            self.say(number)
        for number in range(count):
            check(self.answer(), number)
        return time.perf_counter() - began

    def close(self) -> None:
        self.manager.stop()


class _Plain:
    """The standard library: a listener, and one process that echoes."""

    def __init__(self) -> None:
        listener = Listener(("localhost", 0), authkey=b"key")
        self.process = multiprocessing.Process(target=_echo, args=(listener.address,), daemon=True)
        self.process.start()
        self.connection: Connection[Any, Any] = listener.accept()
        listener.close()

    def say(self, message: Any) -> None:
        self.connection.send(message)

    def answer(self) -> Any:
        return self.connection.recv()

    def burst(self, count: int) -> float:
        """A thousand on the way at most: it blocks for ever when both directions are full."""
        began = time.perf_counter()
        for first in range(0, count, 1000):
            numbers = range(first, min(count, first + 1000))
            for number in numbers:
                self.say(number)
            for number in numbers:
                check(self.answer(), number)
        return time.perf_counter() - began

    def close(self) -> None:
        self.connection.close()
        self.process.join()


def _echo(address: Any) -> None:
    with Client(address, authkey=b"key") as connection:
        while True:
            try:
                connection.send(connection.recv())
            except EOFError:
                return


def _worker_class(base: Any) -> Any:
    class Worker(base):  # type: ignore[misc]
        """Echoes; or tells how many slices it did."""

        slices = 0

        def loop(self) -> None:
            self.slices += 1

        def handle_msg(self, msg: Any) -> None:
            self.send(self.slices if msg is None else msg)

    return Worker


def _team(run: Callable[[Any, int], float], nominal: int, first: int, plan: Plan) -> Sample:
    team = _Plain() if _is_beside() else _Team()
    try:
        return rates(lambda count: run(team, count), nominal, first, plan)
    finally:
        team.close()


def _is_beside() -> bool:
    return "BENCHMARK_BESIDE" in os.environ
