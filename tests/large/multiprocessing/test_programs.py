"""Programs written for the standard library's Pool run on ours by another import, with a cluster of its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from distributed.testing.processes import Processes, wait_until

STRICT = ("-X", "dev", "-W", "error")

SAME = """
import itertools, operator, sys
from {module} import Pool, TimeoutError, cpu_count

def square(x): return x * x
def refuse(x):
    if x == 5: raise KeyError(x)
    return x
shared = None
def remember(value):
    global shared, counter
    shared, counter = [value], 0
def recall(x): return (shared, x)
def count(x):
    global counter
    counter += x
    return counter >= x
def recall_too(x): return recall(x)
def wait(seconds):
    import time
    time.sleep(seconds)
    return seconds

class Point:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return type(other) is Point and self.x == other.x
def move(point): return Point(point.x + 1)

def outcome(function, *args, **keywords):
    try:
        return function(*args, **keywords)
    except Exception as error:
        return str(error) if str(error) == "Pool not running" else type(error)

def rest(iterator):
    found = []
    while len(found) < 100:
        try:
            found.append(next(iterator))
        except StopIteration:
            return found
        except Exception as error:
            found.append(type(error).__name__)

def raising():
    yield from range(3)
    raise LookupError

def main():
    said = []
    with Pool(2) as pool:
        print(pool.map(square, range(10)), pool.map(square, iter([])), pool.map(square, {{3: 4}}, chunksize=5))
        print(pool.starmap(pow, [(2, 3), (3, 2)]), pool.starmap(operator.add, zip("ab", "cd"), 1))
        print(pool.apply(int, ("ff",), {{"base": 16}}), pool.apply(dict, kwds={{"a": 1}}))
        print(list(pool.imap(square, range(10))), list(pool.imap(square, iter(range(10)), 3)))
        print(sorted(pool.imap_unordered(square, range(10), chunksize=4)), sorted(pool.imap_unordered(square, "")))
        print([outcome(pool.map, refuse, range(9), size) for size in (None, 1, 2, 100)])
        print(rest(pool.imap(refuse, range(9))), rest(pool.imap(refuse, range(9), 2)))
        print(rest(pool.imap(square, raising())), outcome(pool.map, square, raising()), outcome(pool.map, square, 5))
        print([outcome(pool.imap, square, [1], chunksize) for chunksize in (0, -1)])
        result = pool.map_async(square, range(3), callback=said.append, error_callback=said.append)
        print(type(result).__name__, result.get(10), result.ready(), result.successful(), said)
        result = pool.apply_async(refuse, (5,), callback=said.append, error_callback=lambda e: said.append(repr(e)))
        print(outcome(result.get), outcome(result.get, 1), result.successful(), said)
        print(pool.map_async(refuse, range(9), 3, None, lambda e: said.append(repr(e))).wait(10), said)
        print(pool.starmap_async(pow, [(2, 5)], callback=said.append).get(), said)
        result = pool.apply_async(wait, (0.2,))
        print(outcome(result.successful), outcome(result.get, timeout=0.01) is TimeoutError, result.get())
        iterator = pool.imap(wait, [0.2])
        print(outcome(iterator.next, timeout=0.01) is TimeoutError, next(iterator), outcome(iterator.next, 1))
        print(pool.map(move, [Point(1), Point(2)]) == [Point(2), Point(3)], outcome(pool.join), cpu_count() >= 1)
        iterator, late = pool.imap(square, range(5)), pool.map_async(square, range(4))
        pool.close()
        print(outcome(pool.map, square, [1]), outcome(pool.apply_async, square, (1,)), outcome(pool.imap, square, []))
        pool.join()
        print(list(iterator), late.get())
    with Pool(processes=2, initializer=remember, initargs=("x",)) as pool:
        print(pool.map(recall, range(4)), pool.apply(recall, (1,)), list(pool.imap(count, range(9))))
        print(pool.apply(count, (1,)), pool.map(recall_too, [1, 2]))
        pool.terminate()
        pool.join()
    for keywords in ({{"processes": 0}}, {{"initializer": 5}}, {{"maxtasksperchild": -1}}):
        print(outcome(Pool, **keywords))

if __name__ == "__main__":
    main()
"""


def run(processes: Processes, folder: Path, name: str, program: str, *options: str) -> str:
    """What `program` prints; nothing is left of it."""
    (folder / name).write_text(program)
    started = processes.python(*options, str(folder / name))
    assert started.wait() == 0, started.said()
    processes.wait_nothing_left(2)
    return started.said()


def test_the_same_program_prints_the_same_with_both(processes: Processes, tmp_path: Path) -> None:
    wanted = run(processes, tmp_path, "theirs.py", SAME.format(module="multiprocessing"))
    assert run(processes, tmp_path, "ours.py", SAME.format(module="distributed.multiprocessing"), *STRICT) == wanted
    assert len(wanted.splitlines()) == 23


def test_calls_of_a_process_that_is_killed_are_made_again(processes: Processes, tmp_path: Path) -> None:
    program = """
import os, time
from distributed.multiprocessing import Pool
def slow(x):
    time.sleep(0.01)
    return os.getpid(), x
def answer(x): return x, os.getpid()
with Pool(2) as pool:
    print("pid", pool.apply(os.getpid), flush=True)
    found = pool.map(slow, range(100))
    assert [x for _, x in found] == list(range(100)), found
    print("all", len(set(pid for pid, _ in found)))
"""
    (tmp_path / "killed.py").write_text(program)
    started = processes.python(str(tmp_path / "killed.py"))
    pid = int(started.wait_said(r"pid (\d+)")[1])
    os.kill(pid, signal.SIGKILL)
    assert started.wait() == 0, started.said()
    assert "all" in started.said()
    processes.wait_nothing_left(2)


def test_a_program_that_ends_ends_its_pool_and_what_it_did_not_wait_for(processes: Processes, tmp_path: Path) -> None:
    program = """
import itertools, time
from distributed.multiprocessing import Pool
pool = Pool(2, initializer=print, initargs=("begun",))
endless = pool.imap(abs, itertools.count())
print(f"first {next(endless)}")  # written at once: workers print, too
later = pool.map_async(time.sleep, [60] * 10)
"""
    assert "first 0" in run(processes, tmp_path, "ends.py", program)


def test_ctrl_c_ends_a_map_and_its_program(processes: Processes, tmp_path: Path) -> None:
    program = """
import time
from distributed.multiprocessing import Pool
def begin(x):
    print("begun", flush=True)
    time.sleep(30)
with Pool(2) as pool:
    try:
        pool.map(begin, range(100), 1)
    except KeyboardInterrupt:
        print("interrupted")
    print(pool.map(abs, [-1]))
"""
    (tmp_path / "interrupted.py").write_text(program)
    started = processes.python(str(tmp_path / "interrupted.py"))
    started.wait_said("begun")
    started.send(signal.SIGINT)
    wait_until(lambda: "interrupted" in started.said(), started.said)
    started.end(signal.SIGTERM)
    processes.wait_nothing_left(5)
