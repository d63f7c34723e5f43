"""What chaos computes can be known without a cluster."""

from __future__ import annotations

from typing import Any

from distributed.testing.chaos.workload import draw_graph, expected_numbers, mix, number_of


def test_computing_a_graph_here_gives_what_is_expected() -> None:
    nodes = draw_graph(600, seed=1)
    values: list[Any] = []
    for number, node in enumerate(nodes):
        values.append(mix(number, node.is_big, 0.0, *(values[dependency] for dependency in node.dependencies)))
    assert [number_of(value) for value in values] == list(expected_numbers(nodes))
    assert sum(isinstance(value, bytes) for value in values) == 15


def test_a_graph_depends_on_its_seed_only_and_is_in_order() -> None:
    assert draw_graph(300, 7) == draw_graph(300, 7) != draw_graph(300, 8)
    nodes = draw_graph(2_000, 3)
    assert all(dependency < number for number, node in enumerate(nodes) for dependency in node.dependencies)
    assert {len(node.dependencies) for node in nodes} == {0, 1, 2, 3}


def test_every_number_matters() -> None:
    nodes = draw_graph(500, 2)
    numbers = list(expected_numbers(nodes))
    assert len(set(numbers)) == len(numbers)
    child = next(number for number, node in enumerate(nodes) if node.dependencies)
    parents = [numbers[dependency] for dependency in nodes[child].dependencies]
    assert number_of(mix(child, nodes[child].is_big, 0.0, *parents)) == numbers[child]
    assert number_of(mix(child, False, 0.0, *[parent + 1 for parent in parents])) != numbers[child]
