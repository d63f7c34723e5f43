"""`DistributedManager` and workers in threads of this process, over loopback."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

from distributed.errors import (
    CommClosedError,
    KeyFileError,
    MessageLoadError,
    PortTakenError,
    UnknownWorkerError,
    UnpicklableError,
)
from distributed.faces.manager import manager as manager_module
from distributed.faces.manager.credentials import load_authkey
from distributed.faces.manager.worker import run_worker
from distributed.testing.processes import wait_until
from distributed.testing.team import Echo, Sitter, Talker, Team, team_of
from distributed_worker import (
    DistributedManager,
    DistributedWorker,
    create_remote_worker,
    create_remote_worker_sync,
)


class Unlucky:
    """Can be pickled, and not be rebuilt."""

    def __reduce__(self) -> Any:
        return _fail, ()


def _fail() -> None:
    raise LookupError("no such shelf")


@pytest.fixture
def team() -> Iterator[Team]:
    with team_of() as team:
        yield team


# ---------------------------------------------------------------- M01 to M04


def test_a_manager_takes_the_first_free_port_from_6000_on() -> None:
    """M01: DistributedManager(address, authkey, ttl, poll_delay), port search."""
    with DistributedManager() as one, DistributedManager("127.0.0.1", b"key", 60.0, 0.05) as two:
        ports = [manager.get_client_args()[0][1] for manager in (one, two)]
        assert ports[0] < ports[1] <= 6099
        assert (one.ttl, one.poll_delay, two.ttl, two.poll_delay) == (3600.0, 0.1, 60.0, 0.05)
        with pytest.raises(PortTakenError):
            DistributedManager(("127.0.0.1", ports[1]))


@pytest.mark.parametrize(
    "keywords", [{"ttl": 0}, {"ttl": "soon"}, {"poll_delay": -1}, {"authkey": "text"}, {"address": "unix:///x"}]
)
def test_a_manager_says_which_argument_it_cannot_use(keywords: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(keywords)) if "address" not in keywords else "a manager listens"):
        DistributedManager(**keywords)


def test_client_args_are_what_a_worker_takes(team: Team) -> None:
    """M02: get_client_args round trip."""
    (host, port), family, authkey = team.manager.get_client_args()
    assert (host, type(port), family, type(authkey)) == ("localhost", int, "AF_INET", bytes)
    assert team.join() == 0


def test_a_saved_key_is_the_one_of_the_client_args(team: Team, tmp_path: Path) -> None:
    team.manager.save_authkey(tmp_path / "key")
    assert load_authkey(tmp_path / "key") == team.manager.get_client_args()[2]
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_authkey(tmp_path / "key")
    with pytest.raises(KeyFileError, match="save_authkey"):
        load_authkey(tmp_path / "none")


def test_workers_are_numbered_in_the_order_in_which_they_are_accepted(team: Team) -> None:
    """M03: try_accept."""
    assert [team.join(), team.join()] == [0, 1]
    team.manager.poll_delay = 0.001
    assert team.manager.try_accept() is False


def test_who_waits_to_accept_is_told_of_messages() -> None:
    with team_of(poll_delay=3600.0) as team:  # so it would be seen if it waited
        assert team.join(Talker, 1) == 0
        team.manager.send(0, "more")
        assert team.manager.try_accept() is False
        assert team.take(2)[0][0] == (0, b"")


def test_a_worker_is_unconfirmed_then_active_then_dead(team: Team) -> None:
    """M04: active / unconfirmed / dead disjoint and correct."""
    manager = team.manager

    def standings() -> list[list[int]]:
        return [manager.get_unconfirmed_workers(), manager.get_active_workers(), manager.get_dead_workers()]

    team.connect()
    wait_until(manager.try_accept, "a worker")
    assert standings() == [[0], [], []]
    wait_until(lambda: manager.collect() == {0: []}, "its registration")
    assert standings() == [[], [0], []]
    assert manager.get_worker_info(0) == {"pid": os.getpid(), "host": socket.gethostname()}
    manager._thread.loop.call_soon_threadsafe(manager._board.links[0].stream.close)
    wait_until(lambda: manager.collect() or standings() == [[], [], [0]], standings)
    assert manager.send(0, "late") is False


# ---------------------------------------------------------------- M05 to M08


def test_messages_are_collected_by_worker_and_in_order(team: Team) -> None:
    """M05: collect."""
    ids = [team.join(Talker, 3), team.join(Talker, 3)]
    assert team.take(6) == {id: [(number, b"") for number in range(3)] for id in ids}
    assert team.manager.collect() == {}


class Teller(DistributedWorker):
    """Sends what cannot be loaded, among others."""

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        for message in ("before", Unlucky(), "after"):
            self.send(message)


def test_a_message_that_cannot_be_loaded_takes_no_other_with_it(team: Team) -> None:
    team.connect(Teller)
    wait_until(team.manager.try_accept, "a worker")
    wait_until(lambda: team.manager._board.links[0].nbytes > 0, "messages")  # type: ignore[union-attr]
    team.manager.fping(20)
    with pytest.raises(MessageLoadError, match="worker 0 cannot be loaded: LookupError: no such shelf"):
        team.manager.collect()
    assert team.take(2) == {0: ["before", "after"]}


def test_sending_tells_whether_the_worker_is_there(team: Team) -> None:
    """M06: send / broadcast / spread results and bounds."""
    manager, ids = team.manager, [team.join(), team.join()]
    assert manager.send(0, "a") is True
    assert manager.broadcast("b") == [True, True]
    assert manager.spread({0: ["c", "d"], 1: iter(["e"])}) == {0: True, 1: True}
    assert team.take(6) == {0: ["a", "b", "c", "d"], 1: ["b", "e"]}
    manager._thread.loop.call_soon_threadsafe(manager._board.links[1].stream.close)
    team.wait_dead(1)
    assert [manager.send(1, "x"), manager.broadcast("f"), manager.spread({0: ["g"], 1: ["h"]})] == [
        False,
        [True, False],
        {0: True, 1: False},
    ]
    assert ids == [0, 1]


@pytest.mark.parametrize("id", [1, -1, "0", True, None])
def test_an_id_that_no_worker_has_is_an_error_and_nothing_is_sent(team: Team, id: Any) -> None:
    """M06: send / broadcast / spread results and bounds."""
    team.join()
    with pytest.raises(UnknownWorkerError, match="Invalid worker idx"):
        team.manager.send(id, "x")
    with pytest.raises(ValueError, match="1 workers have joined"):
        team.manager.spread({0: ["x"], id: ["y"]} if id is not True else {id: ["y"]})
    with pytest.raises(UnpicklableError):
        team.manager.spread({0: ["x", threading.Lock()]})
    team.manager.send(0, "only this")
    assert team.take(1) == {0: ["only this"]}


def test_flush_and_fping_leave_messages_where_they_are(team: Team) -> None:
    """M07: flush / fping without eating user data."""
    team.join(Talker, 2)
    team.connect(Talker, 1)
    wait_until(team.manager.try_accept, "a worker")
    assert wait_until(lambda: team.manager.fping(20), "answers") == [0, 1]
    wait_until(lambda: team.manager.flush() == 0 and team.manager.get_active_workers() == [0, 1], "registrations")
    assert team.take(3) == {0: [(0, b""), (1, b"")], 1: [(0, b"")]}


def test_flush_drops_messages_if_it_is_told_to(team: Team) -> None:
    team.join()
    team.manager.broadcast("x")
    wait_until(lambda: team.manager.flush(discard=True) == 1, "a message")
    assert team.manager.collect() == {}


def test_a_worker_in_a_long_slice_stays_alive_and_answers_pings() -> None:
    """M08: poll heartbeats at ttl/2; long computation stays alive."""
    with team_of(ttl=0.4) as team:  # four beats in that time
        id = team.join(Sitter)
        heard = team.manager._board.roster._workers[id]
        for _ in range(2):
            before = heard.heard_at
            wait_until(lambda: heard.heard_at > before, "a beat")  # noqa: B023
        assert team.manager.fping(20) == [id]
        wait_until(team.manager.poll, "time for pings")


def test_a_worker_that_says_nothing_for_the_ttl_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager_module, "BEATS_PER_TTL", 1e-3)  # so it beats much too late
    with team_of(ttl=0.2) as team:
        team.connect(Sitter)
        wait_until(team.manager.try_accept, "a worker")
        wait_until(lambda: team.keep() or team.manager.get_dead_workers() == [0], "its death")
        assert team.manager.get_active_workers() == team.manager.get_unconfirmed_workers() == []


# ---------------------------------------------------------------- M09 to M13


def test_a_local_worker_runs_where_spawnf_says() -> None:
    """M09: create_local_worker (+spawnf)."""
    with team_of() as team:
        assert team.manager.create_local_worker(Talker, 1, size=3, spawnf=threading.Thread) == 0
        assert team.take(1) == {0: [(0, bytes(3))]}
        assert team.manager.get_client_args()[2] not in repr(team.manager).encode()


def test_a_local_worker_that_cannot_be_started_leaves_no_trace_but_its_id() -> None:
    def refuse(target: Any, args: Any) -> None:
        raise OSError("no more")

    with team_of() as team:
        with pytest.raises(OSError, match="no more"):
            team.manager.create_local_worker(Echo, spawnf=refuse)
        with pytest.raises(UnpicklableError, match="class and arguments"):
            team.manager.create_local_worker(Echo, threading.Lock())
        assert team.manager.get_dead_workers() == [0]
        assert team.manager.broadcast("x") == [False]


def test_a_remote_worker_in_this_process_works_until_it_is_stopped() -> None:
    """M10: create_remote_worker / _sync."""
    with team_of() as team:
        thread = create_remote_worker(Talker, team.manager.get_client_args(), 1, size=2, spawnf=threading.Thread)
        wait_until(team.manager.try_accept, "a worker")
        assert team.take(1) == {0: [(0, bytes(2))]}
        team.manager.stop()
        thread.join()


@pytest.mark.parametrize("message", [":ping", ":stop", ":register", {"op": "close"}, [6, None], {(1, 2): {3}}, None])
def test_words_that_look_like_control_are_ordinary_messages(shared: Team, message: Any) -> None:
    """M11: DistributedWorker loop/handle_msg/send/:stop/:ping; any picklable message incl. ':ping' strings."""
    shared.manager.send(0, message)
    assert shared.take(1) == {0: [message]}


@pytest.fixture(scope="module")
def shared() -> Iterator[Team]:
    with team_of() as team:
        team.join()
        yield team


def test_big_messages_cross_whole(shared: Team) -> None:
    data = numpy.arange(1_000_000)
    shared.manager.send(0, {"data": data, "name": "x" * 100_000})
    (answer,) = shared.take(1)[0]
    assert (answer["data"] == data).all()
    assert len(answer["name"]) == 100_000


def test_a_worker_calls_its_loop_until_it_says_that_it_is_done(team: Team) -> None:
    """M11: DistributedWorker loop/handle_msg/send/:stop/:ping."""
    for style in (True, None):
        team.join(Counter, style)
    assert team.manager.broadcast("begin") == [True, True]
    assert team.take(2) == {0: [1000], 1: [1000]}
    for thread in team.threads:
        thread.join()
    team.wait_dead(1)


class Counter(DistributedWorker):
    """Does a thousand slices when it is told to, and ends."""

    def __init__(self, pipe: Any, style: bool | None) -> None:
        super().__init__(pipe)
        self.style = style
        self.slices: int | None = None

    def handle_msg(self, msg: Any) -> None:
        self.slices = 0

    def loop(self) -> bool | None:
        if self.slices is None:
            return False
        self.slices += 1
        if self.slices == 1000:
            self.send(self.slices)
            self._done = True
        return self.style


def test_a_worker_that_never_made_itself_known_is_told_what_to_do(team: Team) -> None:
    class Silent(DistributedWorker):
        def __init__(self, pipe: Any) -> None:
            self.pipe = None
            self._done = False

    for wclass, text in ((Silent, "super"), (lambda pipe: 5, "subclass")):
        with pytest.raises(TypeError, match=text):
            create_remote_worker_sync(wclass, team.manager.get_client_args())


class Recorder(DistributedManager):
    """Keeps what its hooks are told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        super().__init__(("localhost", 0), poll_delay=20.0)

    def loop(self) -> None:
        self.told.append("loop")

    def on_new_worker(self, id: int) -> None:
        self.told.append(("new", id))
        self.send(id, "hello")

    def handle_msg(self, id: int, msg: Any) -> None:
        self.told.append((id, msg))
        self._thread.loop.call_soon_threadsafe(self._board.links[id].stream.close)  # type: ignore[union-attr]

    def on_worker_disconnect(self, id: int) -> None:
        self.told.append(("gone", id))


def test_a_subclass_is_told_of_workers_messages_and_deaths_in_order() -> None:
    """M12: subclass style run_once/loop/on_new_worker/on_worker_disconnect/handle_msg."""
    with Recorder() as manager:
        team = Team(manager)
        team.connect()
        while ("gone", 0) not in manager.told:
            manager.run_once()
        assert [word for word in manager.told if word != "loop"] == [("new", 0), (0, "hello"), ("gone", 0)]
        assert manager.told.count("loop") > 1
        assert manager.create_local_worker(Echo, spawnf=threading.Thread) == 1
        assert manager.told[-1] == ("new", 1)
    for thread in team.threads:
        thread.join()


def test_a_stopped_manager_has_closed_its_port_and_ended_its_workers() -> None:
    """M13: stop(): hung worker killed by own pid, listener closed, context manager."""
    with team_of() as team:
        team.join(Talker, 2)
        place = team.manager.get_client_args()[0]
        assert team.manager.stop() == team.manager.stop() == []
        for thread in team.threads:
            thread.join()
        assert team.take(2) == {0: [(0, b""), (1, b"")]}  # what was sent before the end can still be collected
        assert [team.manager.send(0, "x"), team.manager.try_accept(), team.manager.poll()] == [False, False, False]
        assert "stopped" in repr(team.manager)
        with pytest.raises(CommClosedError, match="stopped"):
            team.manager.create_local_worker(Echo)
        DistributedManager(place).stop()


def test_a_constructor_that_forgets_its_pipe_is_told_so() -> None:
    class Forgetful(DistributedWorker):
        def __init__(self, pipe: Any) -> None:
            self.tasks: list[Any] = []

    with pytest.raises(TypeError, match=r"has to call super\(\).__init__\(pipe\)"):
        run_worker(Forgetful(None))
