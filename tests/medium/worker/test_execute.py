"""The threads that run the code of users: what comes out, whatever the code does, and how often the loop is woken."""

from __future__ import annotations

import gc
import itertools
import pickle
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from distributed.errors import FunctionLoadError, UnpicklableError
from distributed.protocol.failure import OWN_FOLDER, exception_from_failure
from distributed.protocol.serialize import TaskRef, dumps_function, dumps_payload, loads_payload
from distributed.worker import calling
from distributed.worker.calling import replace_refs
from distributed.worker.effects import ReadyTask
from distributed.worker.events import Outcome
from distributed.worker.execute import POLL_S, Executor
from distributed.worker.store import Packed, Store

PATIENCE_S = 10.0  # a test that waits this long has failed


class Bench:
    """An executor and the promise that its user makes: look again while outcomes come."""

    def __init__(self, nthreads: int) -> None:
        self.store = Store()
        self.woken = threading.Event()
        self.reports = 0
        self.executor = Executor(nthreads, self.report, self.store, "tcp://me:1")
        self.tickets = itertools.count(1)

    def report(self) -> None:
        self.reports += 1
        self.woken.set()

    def task(self, key: str, function: Any, *args: Any, wanted: bool = True, **fields: Any) -> ReadyTask:
        blob = fields.get("blob") or dumps_function(function)
        arguments = fields.get("arguments") or dumps_payload((args, fields.get("kwargs", {})))
        return ReadyTask(
            key,
            next(self.tickets),
            blob,
            blob,
            arguments,
            wanted,
            fields.get("dependencies"),
            fields.get("rank", 0),
        )

    def submit(self, *tasks: ReadyTask) -> None:
        self.executor.submit(list(tasks))

    def wait(self, count: int) -> list[Outcome]:
        """The next `count` outcomes."""
        outcomes: list[Outcome] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(outcomes) < count:
            new = self.executor.take_outcomes()
            outcomes += new
            if not new:
                assert self.woken.wait(deadline - time.monotonic()), "nobody reported"
                self.woken.clear()
            elif len(outcomes) < count:
                self.woken.wait(POLL_S)
        assert len(outcomes) == count
        return outcomes

    def run(self, function: Any, *args: Any, **fields: Any) -> Outcome:
        """The outcome of one task."""
        self.submit(self.task("k", function, *args, **fields))
        return self.wait(1)[0]

    def fail(self, function: Any, *args: Any, **fields: Any) -> list[Any]:
        """The failure of one task; the thread must go on after it."""
        outcome = self.run(function, *args, **fields)
        assert outcome.failure is not None
        assert (outcome.value, outcome.payload, outcome.nbytes) == (None, None, 0)
        assert self.run(add, 1, 2).value == 3
        return outcome.failure


class Gate:
    """A place where a task stops until it is let through; found by name, since tasks are pickled."""

    gates: ClassVar[dict[str, Gate]] = {}

    def __init__(self, name: str) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()
        Gate.gates[name] = self

    def open(self) -> None:
        self.opened.set()

    def wait_entered(self) -> None:
        assert self.entered.wait(PATIENCE_S)


def pass_gate(name: str) -> str:
    gate = Gate.gates[name]
    gate.entered.set()
    assert gate.opened.wait(PATIENCE_S)
    return name


def add(one: Any, two: Any = 0) -> Any:
    return one + two


@pytest.fixture
def bench() -> Iterator[Bench]:
    yield from make_bench(1)


@pytest.fixture
def two_threads() -> Iterator[Bench]:
    yield from make_bench(2)


def make_bench(nthreads: int) -> Iterator[Bench]:
    bench = Bench(nthreads)
    yield bench
    for gate in Gate.gates.values():
        gate.open()
    Gate.gates.clear()
    assert bench.executor.close(PATIENCE_S)


# ---------------------------------------------------------------- results


def test_a_task_returns_its_value_and_its_pickle(bench: Bench) -> None:
    bench.submit(bench.task("k", add, 1, kwargs={"two": 2}))
    (outcome,) = bench.wait(1)
    assert (outcome.key, outcome.ticket, outcome.value, outcome.nbytes) == ("k", 1, 3, 28)
    assert (outcome.failure, outcome.missing) == (None, None)
    assert loads_payload(outcome.payload) == 3
    assert 0 <= outcome.duration_s < PATIENCE_S


@pytest.mark.parametrize("value", [None, True, 1.5, "text", b"bytes", [1, {"a": (2,)}]])
def test_small_values_of_any_kind_ride_inline(bench: Bench, value: Any) -> None:
    assert loads_payload(bench.run(make, value).payload) == value


def test_an_unwanted_result_is_not_pickled(bench: Bench) -> None:
    outcome = bench.run(threading.Lock, wanted=False)
    assert outcome.failure is None
    assert outcome.payload is None


def test_a_big_result_stays(bench: Bench) -> None:
    outcome = bench.run(bytes, calling.INLINE_NBYTES_MAX + 1)
    assert outcome.payload is None
    assert outcome.nbytes == len(outcome.value) == calling.INLINE_NBYTES_MAX + 1


class Modest:
    """Looks small and is not."""

    nbytes = 10

    def __init__(self) -> None:
        self.data = b"x" * (calling.PAYLOAD_NBYTES_MAX + 1)


def test_a_result_that_is_bigger_than_it_seems_stays(bench: Bench) -> None:
    outcome = bench.run(Modest)
    assert outcome.payload is None
    assert outcome.failure is None


def make(value: Any) -> Any:
    return value


def test_a_result_lives_no_longer_than_its_outcome(bench: Bench) -> None:
    outcome = bench.run(Modest)
    ended = weakref.ref(outcome.value)
    del outcome
    gc.collect()
    assert ended() is None


# ---------------------------------------------------------------- dependencies


def test_references_are_replaced_at_any_depth(bench: Bench) -> None:
    bench.store.put_columns(["a", "b"], [1, Packed(dumps_payload([2]))], [1, 1])
    a, b = TaskRef("a"), TaskRef("b")
    outcome = bench.run(make, [a, (b, {"x": {a}, "y": [frozenset({a})]})], dependencies=["a", "b"])
    assert outcome.value == [1, ([2], {"x": {1}, "y": [frozenset({1})]})]
    outcome = bench.run(add, kwargs={"one": a, "two": a}, dependencies=["a"])
    assert outcome.value == 2


def test_references_are_looked_for_only_when_there_are_dependencies(bench: Bench) -> None:
    assert type(bench.run(make, TaskRef("a"), wanted=False).value) is TaskRef


def test_a_reference_to_what_is_no_dependency_is_an_error() -> None:
    assert replace_refs([1, "a"], {}) == [1, "a"]
    with pytest.raises(KeyError):
        replace_refs([TaskRef("a")], {"b": 1})


def test_a_task_whose_data_is_gone_does_not_run(bench: Bench) -> None:
    bench.store.put("a", 1, 1)
    outcome = bench.run(add, TaskRef("a"), TaskRef("b"), dependencies=["a", "b", "c"])
    assert outcome.missing == ["b", "c"]
    assert outcome.failure is None


def test_a_dependency_that_cannot_be_loaded_is_named(bench: Bench) -> None:
    bench.store.put("a", Packed(b"no pickle"), 1)
    error = exception_from_failure(bench.fail(make, TaskRef("a"), dependencies=["a"]), "there")
    assert isinstance(error, FunctionLoadError)
    assert error.name == "the argument a"
    assert error.worker == "tcp://me:1"


# ---------------------------------------------------------------- failures


def divide(number: int) -> float:
    return number / 0


def test_an_exception_comes_as_type_text_and_lines_of_the_user(bench: Bench) -> None:
    name, text, lines, blob = bench.fail(divide, 1)
    assert (name, text) == ("ZeroDivisionError", "division by zero")
    assert "return number / 0" in lines
    assert OWN_FOLDER not in lines
    assert isinstance(pickle.loads(blob), ZeroDivisionError)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_exit_is_the_failure_of_its_task_and_is_not_raised_again(bench: Bench, kind: type[BaseException]) -> None:
    failure = bench.fail(throw, kind, "5")
    assert (failure[0], failure[1], failure[3]) == (kind.__name__, "5", None)
    assert isinstance(exception_from_failure(failure, "there"), Exception)


def throw(kind: type[BaseException], *args: Any) -> None:
    raise kind(*args)


def test_a_long_text_is_cut(bench: Bench) -> None:
    assert 10_000 <= len(bench.fail(throw, ValueError, "x" * 100_000)[1]) < 10_100


class BrokenText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class ExitingText(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


class BrokenPickle(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle")


@pytest.mark.parametrize("kind", [BrokenText, ExitingText, BrokenPickle])
def test_exceptions_whose_own_methods_raise_are_reported(bench: Bench, kind: type[Exception]) -> None:
    name, _, _, _ = bench.fail(throw, kind, "x")
    assert name.endswith(kind.__name__)


def test_a_result_that_cannot_be_pickled_is_named_by_key_and_type(bench: Bench) -> None:
    failure = bench.fail(threading.Lock)
    error = exception_from_failure(failure, "there")
    assert isinstance(error, UnpicklableError)
    assert "the result of k of type lock" in str(error)
    assert OWN_FOLDER not in failure[2]


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"cno_such_module\nf\n.", "ModuleNotFoundError: No module named 'no_such_module'"),
        (b"coperator\nno_such_name\n.", "AttributeError"),
        (b"no pickle", "UnpicklingError"),
    ],
)
def test_a_function_that_cannot_be_loaded_says_why(bench: Bench, blob: bytes, reason: str) -> None:
    error = exception_from_failure(bench.fail(None, blob=blob), "there")
    assert isinstance(error, FunctionLoadError)
    assert error.name == "the function or an argument of k"
    assert error.reason.startswith(reason)


def test_arguments_that_cannot_be_loaded_say_why(bench: Bench) -> None:
    error = exception_from_failure(bench.fail(add, arguments=b"cno_such_module\nf\n."), "there")
    assert isinstance(error, FunctionLoadError)
    assert "no_such_module" in error.reason


class ExitsWhenLoaded:
    def __reduce__(self) -> Any:
        return throw, (SystemExit, "while loading")


def test_an_exit_while_loading_is_the_failure_of_its_task(bench: Bench) -> None:
    assert bench.fail(make, ExitsWhenLoaded())[:2] == ["SystemExit", "while loading"]


# ---------------------------------------------------------------- order, threads, end


def test_tasks_of_one_thread_run_in_order(bench: Bench) -> None:
    bench.submit(*[bench.task(f"k{number}", add, number) for number in range(100)])
    bench.submit(bench.task("last", add, 0))
    assert [outcome.key for outcome in bench.wait(101)] == [f"k{number}" for number in range(100)] + ["last"]


def test_every_thread_takes_from_the_same_queue(two_threads: Bench) -> None:
    gates = [Gate("a"), Gate("b"), Gate("c")]
    two_threads.submit(*[two_threads.task(name, pass_gate, name) for name in "abc"])
    gates[0].wait_entered()
    gates[1].wait_entered()
    assert sorted(two_threads.executor.running.keys()) == ["a", "b"]
    assert two_threads.executor.queue_length() == 1
    gates[1].open()
    gates[2].wait_entered()
    assert sorted(two_threads.executor.running.keys()) == ["a", "c"]
    gates[0].open()
    gates[2].open()
    two_threads.wait(3)
    assert two_threads.executor.running.keys() == []


def test_what_has_not_begun_can_be_withdrawn(bench: Bench) -> None:
    gate = Gate("begun")
    names = ["begun", "a", "b", "c"]
    bench.submit(bench.task("begun", pass_gate, "begun"), *[bench.task(name, add, 1) for name in names[1:]])
    gate.wait_entered()
    assert bench.executor.withdraw(["c", "begun", "a", "unknown"]) == ["a", "c"]
    gate.open()
    assert [outcome.key for outcome in bench.wait(2)] == ["begun", "b"]


def test_tasks_that_survive_a_withdrawal_all_run(two_threads: Bench) -> None:
    count = 0
    for turn in range(50):
        tasks = [two_threads.task(f"{turn}-{number}", add, number) for number in range(20)]
        two_threads.submit(*tasks)
        withdrawn = two_threads.executor.withdraw([task.key for task in tasks[::2]])
        count += len(tasks) - len(withdrawn)
    assert len(two_threads.wait(count)) == count


def test_lower_ranks_run_first_and_equal_ones_in_the_order_they_came(bench: Bench) -> None:
    gate = Gate("first")
    bench.submit(bench.task("first", pass_gate, "first"))
    gate.wait_entered()
    ranks = [0, 5, -1, 0, -7, 5, -1]
    for number, rank in enumerate(ranks):
        bench.submit(bench.task(f"{rank}/{number}", add, 1, rank=rank))
    bench.submit(*[bench.task(f"{rank}/{number}", add, 1, rank=rank) for number, rank in enumerate([3, -7], 7)])
    assert bench.executor.queue_length() == 9
    gate.open()
    keys = [outcome.key for outcome in bench.wait(10)]
    assert keys == ["first", "-7/4", "-7/8", "-1/2", "-1/6", "0/0", "0/3", "3/7", "5/1", "5/5"]


def test_a_task_that_is_withdrawn_while_threads_take_tasks_is_either_returned_or_run(two_threads: Bench) -> None:
    ran, withdrawn, submitted = [], [], []
    for turn in range(300):
        tasks = [two_threads.task(f"{turn}-{number}", add, number, rank=number % 3) for number in range(30)]
        two_threads.submit(*tasks)
        submitted += [task.key for task in tasks]
        withdrawn += two_threads.executor.withdraw([task.key for task in tasks[turn % 5 :]])
        if turn % 10 == 9:
            ran += [outcome.key for outcome in two_threads.wait(len(submitted) - len(withdrawn) - len(ran))]
    assert sorted(ran + withdrawn) == sorted(submitted)
    assert ran
    assert withdrawn


def test_functions_that_were_forgotten_are_loaded_again(bench: Bench) -> None:
    task = bench.task("k", add, 1)
    bench.submit(task)
    bench.wait(1)
    bench.executor.forget_functions([task.digest])
    assert bench.run(add, 1).value == 1


def test_closing_ends_idle_threads_and_ignores_what_comes_later() -> None:
    bench = Bench(2)
    assert bench.executor.close(PATIENCE_S)
    bench.submit(bench.task("k", add, 1))
    assert bench.executor.queue_length() == 0
    assert bench.executor.close(0.0)


def test_closing_does_not_wait_longer_than_told_and_runs_nothing_more(bench: Bench) -> None:
    gate = Gate("stuck")
    bench.submit(bench.task("stuck", pass_gate, "stuck"), bench.task("next", add, 1))
    gate.wait_entered()
    assert not bench.executor.close(0.0)
    gate.open()
    assert bench.executor.close(PATIENCE_S)
    assert [outcome.key for outcome in bench.executor.take_outcomes()] == ["stuck"]
    assert bench.reports == 0


# ---------------------------------------------------------------- waking the loop


def test_the_loop_is_woken_once_until_it_looks(bench: Bench) -> None:
    gate = Gate("end")
    bench.submit(*[bench.task(f"k{number}", add, number) for number in range(100)], bench.task("end", pass_gate, "end"))
    gate.wait_entered()
    assert bench.reports == 1
    gate.open()
    assert len(bench.wait(101)) == 101


def test_the_loop_is_not_woken_while_it_promised_to_look_again(bench: Bench) -> None:
    gates = [Gate("a"), Gate("b"), Gate("c")]
    bench.submit(*[bench.task(name, pass_gate, name) for name in "abc"])
    gates[0].open()
    gates[1].wait_entered()
    assert bench.reports == 1
    assert [outcome.key for outcome in bench.executor.take_outcomes()] == ["a"]
    gates[1].open()
    gates[2].wait_entered()
    assert bench.reports == 1  # we said that we look again soon
    assert [outcome.key for outcome in bench.executor.take_outcomes()] == ["b"]
    assert bench.executor.take_outcomes() == []  # and here that we do not
    bench.woken.clear()
    gates[2].open()
    assert bench.woken.wait(PATIENCE_S)
    assert bench.reports == 2
    assert [outcome.key for outcome in bench.executor.take_outcomes()] == ["c"]


def test_a_thread_without_work_wakes_the_loop_at_once(bench: Bench) -> None:
    gate = Gate("b")
    bench.submit(bench.task("a", add, 1), bench.task("b", pass_gate, "b"))
    gate.wait_entered()
    assert [outcome.key for outcome in bench.executor.take_outcomes()] == ["a"]
    bench.woken.clear()
    gate.open()
    assert bench.woken.wait(PATIENCE_S)  # though we promised to look again
    assert [outcome.key for outcome in bench.executor.take_outcomes()] == ["b"]


def test_no_outcome_is_lost_between_threads_and_loop(two_threads: Bench) -> None:
    keys = []
    for turn in range(200):
        tasks = [two_threads.task(f"{turn}-{number}", add, number) for number in range(turn % 7 + 1)]
        keys += [task.key for task in tasks]
        two_threads.submit(*tasks)
        if turn % 3 == 0:
            two_threads.executor.withdraw(["none of these"])
        if turn % 5 == 0:
            ended = {outcome.key for outcome in two_threads.wait(len(keys))}
            assert ended == set(keys)
            keys.clear()
    assert len(two_threads.wait(len(keys))) == len(keys)
