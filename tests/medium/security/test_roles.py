"""Every op that our servers serve has a row in the table of roles; who only looks gets no further."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from distributed.calls import connect
from distributed.comm.stream import Stream
from distributed.core import Server
from distributed.crews.scheduling import SchedulerHost
from distributed.errors import PermissionDeniedError
from distributed.faces.center.server import Center
from distributed.faces.manager.wire import JOIN_OP
from distributed.manager.server import HomeServer
from distributed.nanny import Nanny
from distributed.offers.records import Limits
from distributed.offers.server import Offer
from distributed.protocol.codec import ErrorReply
from distributed.protocol.failure import exception_from_reply
from distributed.scheduler.server import Scheduler
from distributed.security.keys import Keyring
from distributed.security.permissions import _ROLES_BY_OP, GUEST, READONLY, ROLES, may_call
from distributed.testing.clusters import gen_cluster
from distributed.worker.server import Worker
from distributed.workspace.receiving import Receiver

BUILT_IN = {"close"}  # served by the connection itself, no handler
LOOKS = {
    "identity", "ping", "ops", "close", "scheduler_info", "ncores", "who_has", "has_what", "versions", "health",
    "monitor_resources", "desired_workers", "why", "story", "task_stream", "overview", "explain",
    "processing", "nbytes", "nthreads", "worker_services", "home_status",
    "offer_status",
}  # fmt: skip
NEEDS: dict[str, Any] = {"why": {"key": "x"}, "story": {"keys": ["x"]}, "explain": {"key": "x"}}


def nanny(scheduler: Scheduler) -> Nanny:
    """One that was not started, so it needs no zygote."""
    zygote: Any = None
    return Nanny(scheduler.address, zygote)


async def ask(stream: Stream, **request: Any) -> Any:
    """The answer to a plain request; its error is raised."""
    stream.write_message_nowait(request)
    answer = await stream.read_message()
    if isinstance(answer, ErrorReply):
        raise exception_from_reply(answer, "the server", may_unpickle=False)
    return answer


@gen_cluster([("127.0.0.1", 1)])
async def test_every_op_has_a_row_and_every_row_an_op(scheduler: Scheduler, a: Worker) -> None:
    nobody: Any = None  # neither is asked anything here
    housing: Any = SimpleNamespace(attach=lambda *_: None)
    offer = Offer(Limits(1, 2**30), housing, workspace_ops=Receiver(nobody, nobody).handlers)
    host = SchedulerHost(Keyring({}))
    servers = (scheduler, a, nanny(scheduler), Center(), HomeServer(nobody, nobody), offer, host)
    served = {op for server in servers for op in server.handlers} | {JOIN_OP}
    assert served | BUILT_IN == set(_ROLES_BY_OP)


def test_readonly_may_call_what_looks_and_nothing_else() -> None:
    assert {op for op in _ROLES_BY_OP if may_call(READONLY, op)} == LOOKS


def test_every_row_lets_somebody_in_and_names_known_roles_only() -> None:
    for op, roles in _ROLES_BY_OP.items():
        assert roles and roles <= {*ROLES, GUEST}, op


async def refused(server: Server, role: str) -> set[str]:
    """The ops of `server` for which a peer of `role` is told that it may not."""
    stream = await connect(server.address, role=role)
    found = set()
    for op in sorted(set(server.handlers) - LOOKS):
        with pytest.raises(PermissionDeniedError):
            await ask(stream, op=op)
        found.add(op)
    stream.close()
    return found


@gen_cluster([("127.0.0.1", 1)])
async def test_a_readonly_peer_is_refused_before_any_handler_runs(scheduler: Scheduler, a: Worker) -> None:
    for server in (scheduler, a):
        assert await refused(server, READONLY) == set(server.handlers) - LOOKS
    assert (scheduler.status, a.status) == ("running", "running")


@gen_cluster([("127.0.0.1", 1)])
async def test_a_readonly_peer_may_look(scheduler: Scheduler, a: Worker) -> None:
    for server in (scheduler, a):
        stream = await connect(server.address, role=READONLY)
        for op in sorted(set(server.handlers) & LOOKS):
            await ask(stream, op=op, **NEEDS.get(op, {}))  # a refusal would be raised
        stream.close()
