"""Both accounts of a session are compared while they are of one session, and only then."""

from __future__ import annotations

import pytest

from distributed.messages import KeysCancelled, WantKeys
from distributed.testing.simulation.about_limits import ledgers_agree
from distributed.testing.simulation.chance import Chance
from distributed.testing.simulation.client import ClientProcess
from distributed.testing.simulation.plan import ClientPlan, Plan
from distributed.testing.simulation.sessions import ASK, Endpoint
from distributed.testing.simulation.world import World

STEPS_MAX = 1_000


def step_until(world: World, condition) -> None:
    for _ in range(STEPS_MAX):
        if condition():
            return
        world.clock.step()
    raise AssertionError("it did not come to that")


def scheduler_end(world: World, client: ClientProcess) -> Endpoint | None:
    return world.scheduler.sessions.get(client.client)


@pytest.fixture
def world() -> World:
    """A scheduler and a client, each of which has heard and confirmed a message of the other."""
    world = World(Chance(1), Plan([], [ClientPlan("client-0", "host-1", [])], []))
    client = world.clients[0]
    world.scheduler.start()
    client.start()
    step_until(world, lambda: client.scheduler is not None)
    client.endpoint.send(WantKeys(["x"]).to_wire())
    client.endpoint.tell([ASK])
    session = scheduler_end(world, client)
    assert session is not None
    session.send(KeysCancelled(["y"], "not known").to_wire())
    session.tell([ASK])
    step_until(world, lambda: client.endpoint.ledger.confirmed_count and session.ledger.confirmed_count)
    assert ledgers_agree(world) is None
    return world


def forget(world: World) -> None:
    """The scheduler ends the session of a client that lives, as it does when the worker around it counts as dead."""
    client = world.clients[0]
    session = scheduler_end(world, client)
    assert session is not None
    world.scheduler._forget_client(client.client, session)
    step_until(world, lambda: client.scheduler is None)


def test_a_client_that_was_forgotten_has_another_account_until_it_is_told(world):
    client = world.clients[0]
    forget(world)
    step_until(world, lambda: scheduler_end(world, client) is not None)
    assert client.scheduler is None
    assert client.endpoint.ledger.confirmed_count > scheduler_end(world, client).ledger.received
    assert ledgers_agree(world) is None
    step_until(world, lambda: client.scheduler is not None)
    assert ledgers_agree(world) is None


def test_a_client_that_was_told_and_keeps_its_old_account_is_found(world):
    client = world.clients[0]
    old = client.endpoint.ledger
    forget(world)
    step_until(world, lambda: client.scheduler is not None)
    client.endpoint.ledger = old
    assert "confirmed" in str(ledgers_agree(world))


def test_the_accounts_of_a_session_that_is_cut_off_are_compared(world):
    client = world.clients[0]
    world.network.break_connection(client.scheduler.connection, "it broke")
    step_until(world, lambda: client.scheduler is None)
    assert ledgers_agree(world) is None
    scheduler_end(world, client).ledger.received -= 1
    assert "confirmed" in str(ledgers_agree(world))


def test_a_session_that_goes_on_is_compared(world):
    client = world.clients[0]
    world.network.break_connection(client.scheduler.connection, "it broke")
    step_until(world, lambda: client.scheduler is None)
    step_until(world, lambda: client.scheduler is not None)
    client.endpoint.ledger.sent -= 1
    assert ledgers_agree(world) is not None
