"""Which offers can run a call, and what is left of one that none can."""

from __future__ import annotations

from distributed.crews.matching import MEMORY, Lent, asked, fits, loosened, offered, promised
from distributed.crews.options import CallOptions

SMALL = Lent("small", ("linux", "linux-x86_64", "gpu"), 2, 1000)
WIDE = Lent("wide", ("darwin",), 8, None)


def test_an_offer_fits_if_a_tag_matches_one_of_the_patterns_and_it_is_big_enough() -> None:
    """D13: matching by platform glob, threads and memory."""
    assert fits(CallOptions(), SMALL)
    assert fits(CallOptions(platform=("win*", "linux-*")), SMALL)
    assert not fits(CallOptions(platform=("win*",)), SMALL)
    assert fits(CallOptions(threads=2, memory_nbytes=1000), SMALL)
    assert not fits(CallOptions(threads=3), SMALL)
    assert not fits(CallOptions(memory_nbytes=1001), SMALL)
    assert fits(CallOptions(memory_nbytes=2**40), WIDE)


def test_a_call_that_some_offer_can_run_keeps_all_it_asks_for() -> None:
    options = CallOptions(platform=("linux",), threads=2)
    assert loosened(options, [SMALL, WIDE]) is options


def test_a_call_that_none_can_run_keeps_what_can_be_had() -> None:
    assert loosened(CallOptions(platform=("amiga",), threads=2), [SMALL]) == CallOptions(threads=2)
    assert loosened(CallOptions(threads=99), [SMALL, WIDE]) == CallOptions(threads=8)
    assert loosened(CallOptions(platform=("linux",), threads=99), [SMALL, WIDE]) == CallOptions(
        platform=("linux",), threads=2
    )
    assert loosened(CallOptions(memory_nbytes=10**9), [SMALL]) == CallOptions()


def test_rooms_of_one_offer_promise_its_memory_once() -> None:
    assert promised(1000, 0) == {MEMORY: 1000.0}
    assert promised(1000, 1) == promised(None, 1) == {MEMORY: 0.0}  # without, it would have no limit
    assert promised(None, 0)[MEMORY] > 2**60


def test_people_read_what_was_asked_and_what_there_is() -> None:
    options = CallOptions(platform=("amiga", "atari"), threads=4, memory_nbytes=2**30)
    assert asked(options) == "platform 'amiga' or 'atari', 4 threads, 1 GiB of memory"
    assert asked(CallOptions()) == "nothing in particular"
    assert offered([SMALL]).startswith("small: 2 threads, 0.977 KiB, tags linux")
