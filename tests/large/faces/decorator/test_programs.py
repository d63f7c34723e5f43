"""Whole programs with decorated functions, on workers that their first call starts; nothing is set up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[4]
PATIENCE_S = 25.0

# As the first document has it, but for the length of the sleep.
DOCUMENT = """\
# Comparing to its distributed alternative
from time import sleep
from distributed import distributed

@distributed(platform="*", threads=1)
def sleep_sum(a:int, b:int) -> int:
    sleep(1)
    return a+b

if __name__ == "__main__":
    \'\'\'
    Some necessary setup codes, like loading settings from
    some file, setting up and communicating with clusters.
    \'\'\'
    responses = [sleep_sum(x, x+1) for x in range(10000)]
    print([x.unwrap() for x in responses])
"""

HELPERS = """\
from dataclasses import dataclass
from distributed import distributed


class OddError(Exception):
    def __init__(self, number, *, why="odd"):
        super().__init__(number, why)
        self.number = number

    def __reduce__(self):
        return OddError, (self.number,)


@dataclass
class Half:
    value: int


@distributed
def half(number):
    if number % 2:
        raise OddError(number)
    return Half(number // 2)
"""

PROJECT = """\
import enum, os, sys
from dataclasses import dataclass
from distributed import distributed, Sides, sided
from distributed.faces.decorator.sides import side
from lib.helpers import Half, OddError, half

print("imported on", side().value) if side() is Sides.MAIN else None


class Colour(enum.Enum):
    RED = 1


@dataclass
class Point:
    x: int
    colour: Colour = Colour.RED

    class Inner(Exception):
        pass


class Picky(Exception):
    def __init__(self, first, second):
        super().__init__("picky")


@distributed
def move(point, by):
    assert type(point) is Point and point.colour is Colour.RED
    return Point(point.x + by)


@distributed
def fail(kind):
    raise {"inner": lambda: Point.Inner(7), "picky": lambda: Picky(1, 2)}[kind]()


@distributed
def join(halves, **more):
    return sum(half.value for half in halves) + more["last"].value


@distributed
def nested(number):
    return [half(number).unwrap(), half(1).is_err(), move.local(Point(1), 2)]


@sided(Sides.MAIN)
def only_here():
    return "main"


@distributed
def where():
    return only_here(), side().value, os.getcwd() == sys.argv[0]


if __name__ == "__main__":
    print(move(move(Point(1), 2), by=3).unwrap())
    error = fail("inner").err()
    print(type(error) is Point.Inner, error.args, "raise" in str(error.__cause__))
    print(repr(half(3).err()), type(half(3).err()) is OddError)
    print(str(fail("picky").err()))
    print(join([half(4), half(6)], last=half(8)).unwrap(), isinstance(half(4).unwrap(), Half))
    print(nested(4).unwrap())
    print((lambda: where().unwrap())())
    print(half.map([2, 4, 5], chunk=2)[2].err().number)
"""

PROJECT_PRINTS = """\
imported on main
Point(x=6, colour=<Colour.RED: 1>)
True (7,) True
OddError(3, 'odd') True
Remote __main__/fail - main.Picky: picky
9 True
[Half(value=2), True, Point(x=3, colour=<Colour.RED: 1>)]
(None, 'worker', False)
5
"""

SPOKEN = """\
from distributed import distributed
factor = 10

@distributed
def times(x): return x * factor

times(4).unwrap()

@distributed
def times(x): return x * factor + 1

times(4).unwrap()

@distributed
def fib(n): return n if n < 2 else fib(n - 1).unwrap() + fib(n - 2).unwrap()

fib(8).unwrap()
"""

INTERRUPTED = """\
import os, signal, threading, time
from distributed import distributed

@distributed
def slow():
    time.sleep(60)

@distributed
def quick(x):
    return x

if __name__ == "__main__":
    print(quick(1).unwrap(), flush=True)
    task = slow()
    threading.Timer(0.2, os.killpg, (0, signal.SIGINT)).start()  # as a terminal does: all processes get it
    try:
        task.unwrap()
    except KeyboardInterrupt:
        print("interrupted", task.done(), quick(2).unwrap(), flush=True)
    quick(slow())
"""

LATE = """\
from distributed import distributed, setup
from distributed.errors import WorkersLateError

@distributed
def f(x): return x

if __name__ == "__main__":
    setup(workers=["127.0.0.1:1"], timeout=0.2)
    first, late = f(1), f(f(2))
    print(isinstance(first.err(), WorkersLateError), first.err())
    print(isinstance(late.err(), WorkersLateError), f(3).err() is not first.err())
"""


class Programs:
    """Runs programs in a folder of their own, and knows every process that came of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DISTRIBUTED_")},
            "DISTRIBUTED_KEY_FILE": str(folder / "key"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(folder),
        }
        self.started: list[subprocess.Popen[str]] = []

    def write(self, name: str, text: str) -> None:
        """A file of the project."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Python with `arguments`."""
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
        """The same, to its end."""
        process = self.start(*arguments)
        output, errors = process.communicate(said, PATIENCE_S)
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)

    def left(self) -> list[str]:
        """Processes that work in our folder, by their command."""
        found = []
        for process in psutil.process_iter(["pid", "environ", "cmdline"]):
            environment = process.info["environ"] or {}
            if environment.get("TMPDIR") == self.environment["TMPDIR"] and process.pid != os.getpid():
                found.append(" ".join(process.info["cmdline"] or ()))
        return found


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    programs = Programs(tmp_path)
    yield programs
    for process in programs.started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_the_documents_program_runs_as_it_is_written(programs: Programs) -> None:
    """D01, D02: the example, with 10,000 calls and nothing set up."""
    programs.write("main.py", DOCUMENT.replace("sleep(1)", "sleep(1e-5)"))
    done = programs.run("main.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{[2 * x + 1 for x in range(10000)]}\n"
    assert until(lambda: programs.left() == [])


def test_a_project_of_several_modules_is_simply_there(programs: Programs) -> None:
    """D03, D04: types and exceptions of a project and its script come back as they are; handles are arguments."""
    programs.write("pyproject.toml", "")
    programs.write("lib/__init__.py", "")
    programs.write("lib/helpers.py", HELPERS)
    programs.write("main.py", PROJECT)
    done = programs.run("main.py")
    assert (done.stdout, done.returncode) == (PROJECT_PRINTS, 0), done.stderr


def test_functions_of_a_prompt_travel_with_their_code(programs: Programs) -> None:
    done = programs.run("-i", "-q", said=SPOKEN)
    answers = done.stdout.replace(">>> ", "").split()
    assert answers == ["40", "41", "21"], done.stderr


def test_functions_without_a_file_travel_with_their_code(programs: Programs) -> None:
    code = SPOKEN.replace("fib(8).unwrap()", "print(fib(8).unwrap(), times.map(range(3)).unwrap())")
    assert programs.run("-c", code).stdout == "21 [1, 11, 21]\n"


def test_a_call_outside_of_the_guard_is_refused_where_it_would_run_for_every_worker(programs: Programs) -> None:
    programs.write("main.py", "from distributed import distributed\n@distributed\ndef f(): pass\nf().unwrap()\n")
    done = programs.run("main.py")
    assert done.returncode == 1
    assert "CalledByImportError: main/f is called as soon as its module is imported" in done.stderr


def test_ctrl_c_returns_control_and_the_end_leaves_nothing(programs: Programs) -> None:
    programs.write("main.py", INTERRUPTED)
    process = programs.start("main.py")
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert (output, errors, process.returncode) == ("1\ninterrupted False 2\n", "", 0)
    assert until(lambda: programs.left() == [])


def test_workers_that_do_not_come_in_time_fail_the_calls_and_the_next_call_looks_again(programs: Programs) -> None:
    """D05: setup(workers=, timeout=)."""
    programs.write("main.py", LATE)
    done = programs.run("main.py")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("True no worker was there within 0.2 s"), done.stderr
    assert "tcp://127.0.0.1:1 cannot be reached yet" in lines[0]
    assert lines[1:] == ["True True"]
