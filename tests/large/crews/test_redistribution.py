"""Calls made from calls, given to other workers, with a single slot and with rooms that die in the middle."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distributed.crews.main import Main
from distributed.crews.options import CallOptions, MainSettings
from distributed.errors import RedistributionError

TIMEOUT_S = 25
RELAYED, DIRECT = CallOptions(redistribute="relayed"), CallOptions(redistribute="direct")

PROGRAM = '''
import os
import signal
from pathlib import Path

from distributed import distributed


def die_once(path):
    """Whoever comes first takes its whole process along."""
    try:
        Path(path).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


@distributed(redistribute="relayed")
def fib(n):
    if n < 2:
        return n
    one, two = fib(n - 1), fib(n - 2)
    return one.unwrap() + two.unwrap()


@distributed(redistribute="relayed")
def quicksort(values):
    if len(values) < 2:
        return values
    pivot, *rest = values
    low = quicksort([value for value in rest if value < pivot])
    high = quicksort([value for value in rest if value >= pivot])
    return [*low.unwrap(), pivot, *high.unwrap()]


@distributed(redistribute="relayed")
def relayed_leaf(path):
    die_once(path)
    return 1


def relayed_parent(path):
    return sum(leaf.unwrap() for leaf in [relayed_leaf(path), relayed_leaf(path)])


@distributed(redistribute="direct")
def direct_leaf(path):
    die_once(path)
    return os.getpid()


def direct_parent(path):
    leaves = [direct_leaf(path), direct_leaf(path)]
    return os.getpid(), {leaf.unwrap() for leaf in leaves}


@distributed(redistribute="direct")
def tree(depth):
    return 1 if not depth else sum(child.unwrap() for child in [tree(depth - 1), tree(depth - 1)])


@distributed(redistribute="relayed", platform="amiga-*", threads=99)
def loose_leaf():
    return 1


@distributed(redistribute="relayed", memory=2**62 + 2**60, platform="amiga-*", strict=True)
def strict_leaf():
    return 1


def parent_of_what_fits_nowhere():
    return loose_leaf().unwrap(), type(strict_leaf().err()).__name__


def look_at_pass():
    from distributed import get_client
    from distributed.client.coordination.signals import Variable
    from distributed.crews.passes import PASS_NAME

    given = Variable(PASS_NAME, client=get_client()).get(timeout=10)
    return given.depth, {address: given.credential(address).claims for address in given.tickets}
'''


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    root = tmp_path_factory.mktemp("program")
    (root / "redistributing_program.py").write_text(PROGRAM)
    sys.path.insert(0, str(root))
    import redistributing_program

    yield redistributing_program
    sys.path.remove(str(root))
    del sys.modules["redistributing_program"]


@pytest.fixture(scope="module")
def main(program: Any) -> Iterator[Main]:
    """With an offer of one slot."""
    main = Main(MainSettings(root=program.__file__.rpartition("/")[0], threads=1))
    yield main
    main.close()


def run(main: Main, function: Callable[..., Any], *args: Any) -> Any:
    return main.submit(getattr(function, "__wrapped__", function), args).result(TIMEOUT_S)


def test_relayed_calls_wait_for_relayed_calls_with_one_slot(main: Main, program: Any) -> None:
    """D19: redistribution relayed, without a deadlock of slots at any depth: recursive fib and quicksort."""
    assert run(main, program.fib, 7) == 13
    assert run(main, program.quicksort, [5, 3, 9, 1, 7, 2, 8, 4, 6, 3]) == [1, 2, 3, 3, 4, 5, 6, 7, 8, 9]


def test_relayed_calls_that_fit_nowhere_are_loosened_or_fail(main: Main, program: Any) -> None:
    """D19: what no worker can ever run is no task that waits for ever, also when a call makes it."""
    assert run(main, program.parent_of_what_fits_nowhere) == (1, "NoMatchError")


def test_relayed_calls_survive_the_death_of_their_room(main: Main, program: Any, tmp_path: Any) -> None:
    """D19: a room that is killed while a relayed call runs in it: caller and call run again."""
    assert run(main, program.relayed_parent, str(tmp_path / "died")) == 2


def test_direct_calls_run_in_other_rooms_until_their_levels_are_used_up(main: Main, program: Any) -> None:
    """D20: redistribution direct, with a depth limit."""
    assert run(main, program.tree, 2) == 4
    with pytest.raises(RedistributionError, match="levels of direct calls are used up"):
        run(main, program.tree, 6)


def test_direct_calls_survive_the_death_of_their_room(main: Main, program: Any, tmp_path: Any) -> None:
    """D20: the room that a direct call runs in is killed; who made the call goes on, and the call runs again."""
    caller, others = run(main, program.direct_parent, str(tmp_path / "died"))
    assert caller not in others


def test_tickets_of_direct_calls_are_for_one_workspace_some_time_and_some_depth(main: Main, program: Any) -> None:
    """D20: scoped, short-lived credentials."""
    depth, claims = run(main, program.look_at_pass)
    (claim,) = claims.values()
    assert depth == claim.depth > 0
    assert claim.expires_unix_s is not None
    assert claim.workspace == main._current.id
