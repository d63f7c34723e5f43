"""Two programs on one offer, in processes of their own."""

from __future__ import annotations

import asyncio

from distributed.testing.fairness import measure


def test_d14_two_programs_get_equal_parts_of_an_offer() -> None:
    """D14: several Mains share a worker fairly: a few seconds of what `make soak-fairness` runs for a minute."""
    used = asyncio.run(measure(4.0, 2, (0.2, 0.02)))
    one, other = used.values()
    assert 6.0 < one + other < 8.5  # of 8 slot-seconds
    assert 0.7 < one / other < 1.4
