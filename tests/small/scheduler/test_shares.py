"""Shares: what each worker can do alone."""

from __future__ import annotations

import random

from distributed.scheduler.shares import divide_tasks

WHO_HAS = {"x": {"Alice"}, "y": {"Alice", "Bob"}, "z": {"Bob"}}
NEEDED = {1: {"x"}, 2: {"y"}, 3: {"z"}, 4: {"x", "z"}, 5: set()}


def test_the_example_of_alice_and_bob() -> None:
    """P08: each worker's share ends with what fewest others can do; the rest is extra."""
    shares, extra = divide_tasks(WHO_HAS, NEEDED)
    assert shares == {"Alice": [2, 1], "Bob": [2, 3]}
    assert extra == {4, 5}


def test_among_equals_the_task_named_first_is_popped_first() -> None:
    shares, _ = divide_tasks({"x": ["a", "b"]}, {number: ["x"] for number in range(5)})
    assert shares == {"a": [4, 3, 2, 1, 0], "b": [4, 3, 2, 1, 0]}


def test_an_input_that_nobody_has_makes_a_task_extra() -> None:
    assert divide_tasks({"x": ["a"], "y": []}, {1: ["gone"], 2: ["x", "y"], 3: ["x", "gone"]}) == ({}, {1, 2, 3})


def test_nothing_to_do_is_no_share() -> None:
    shares, extra = divide_tasks({"x": {"a"}}, {})
    assert not shares and not extra


def test_the_answer_does_not_depend_on_the_order_in_sets() -> None:
    chance = random.Random(3)
    workers = [f"worker-{number}" for number in range(20)]
    who_has = {key: chance.sample(workers, 5) for key in range(50)}
    needed = {task: chance.sample(range(50), 2) for task in range(200)}
    other = {key: list(reversed(holders)) for key, holders in who_has.items()}
    (shares, extra), (again, extra_again) = divide_tasks(who_has, needed), divide_tasks(other, needed)
    assert list(shares.items()) == list(again.items())
    assert list(extra) == list(extra_again)


def test_every_task_is_extra_or_in_the_share_of_all_who_can_do_it() -> None:
    chance = random.Random(4)
    who_has = {key: set(chance.sample(range(6), chance.randrange(4))) for key in range(12)}
    needed = {task: set(chance.sample(range(12), chance.randrange(4))) for task in range(100)}
    shares, extra = divide_tasks(who_has, needed)
    for task, inputs in needed.items():
        able = set.intersection(*(who_has[key] for key in inputs)) if inputs else set()
        assert {worker for worker, share in shares.items() if task in share} == able
        assert (task in extra) == (not able)
    for share in shares.values():
        counts = [sum(task in other for other in shares.values()) for task in share]
        assert counts == sorted(counts, reverse=True)
