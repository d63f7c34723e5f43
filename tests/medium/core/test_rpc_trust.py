"""Whose errors a process rebuilds from pickles: those of servers it trusts, unless it never runs the code of others."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.core import Server, rpc
from distributed.errors import RemoteError
from distributed.nanny import Nanny
from distributed.scheduler.proxy import DataProxy
from distributed.scheduler.state import SchedulerState


class OwnError(Exception):
    """Only a pickle can bring it back."""


class Thrower(Server):
    def __init__(self) -> None:
        super().__init__({"throw": self.throw, "lookup": self.lookup})

    def throw(self, stream: Any) -> None:
        raise OwnError("boo")

    def lookup(self, stream: Any) -> None:
        raise KeyError("boo")


async def test_a_caller_that_unpickles_gets_the_type_of_the_error() -> None:
    server = Thrower()
    server.listen(0)
    async with rpc(server.address) as remote:
        with pytest.raises(OwnError):
            await remote.throw()
    server.stop()


async def test_a_caller_that_never_unpickles_gets_text_and_built_in_types() -> None:
    server = Thrower()
    server.listen(0)
    async with rpc(server.address, may_unpickle=False) as remote:
        with pytest.raises(RemoteError, match="boo"):
            await remote.throw()
        with pytest.raises(KeyError):
            await remote.lookup()
    server.stop()


async def test_scheduler_and_nanny_never_unpickle_what_others_answer() -> None:
    proxy = DataProxy(SchedulerState())
    assert not proxy.worker("tcp://127.0.0.1:1")._may_unpickle
    nanny = Nanny("tcp://127.0.0.1:1", zygote=None)  # type: ignore[arg-type]
    assert not nanny._scheduler._may_unpickle
    nanny.stop()
