"""Tasks that failed run once more when a client asks, and what has not begun is dropped."""

from __future__ import annotations

import pytest

from distributed.messages import CancelQueued, RetryKeys
from distributed.testing.scenarios import Stage


@pytest.fixture
def busy(stage: Stage) -> Stage:
    """Clients c and d, worker w1."""
    stage("client c d\nworker w1")
    return stage


def retry(stage: Stage, *keys: str, client: str = "c") -> list[str]:
    return stage.from_client(client, RetryKeys(list(keys)))


def test_a_task_that_failed_runs_once_more(busy: Stage) -> None:
    busy("submit c f a\nfailed w1 a")
    assert retry(busy, "a") == ["w1 <- run a#2", "c <- lost a (recomputing)"]
    assert busy("done w1 a") == ["c <- done a=result"]


def test_everybody_who_holds_it_hears_that_it_is_open_again(busy: Stage) -> None:
    busy("submit c f a\nwant d a\nfailed w1 a")
    assert retry(busy, "a")[1:] == ["c <- lost a (recomputing)", "d <- lost a (recomputing)"]
    assert busy("failed w1 a") == ["c <- failed a: ValueError: a is bad", "d <- failed a: ValueError: a is bad"]


def test_what_failed_before_it_runs_first(busy: Stage) -> None:
    busy("submit c f ~a ~b(a) top(b)\nfailed w1 a")
    assert busy("states") == ["a ERRED", "b ERRED", "top ERRED"]
    assert retry(busy, "top")[0] == "w1 <- run ~a#2"
    assert busy("states") == ["a PROCESSING", "b WAITING", "top WAITING"]
    busy("done w1 a\ndone w1 b")
    assert busy("done w1 top")[-1] == "c <- done top=result"


def test_what_failed_beside_it_stays_as_it_is(busy: Stage) -> None:
    busy("submit c f ~a one(a) other(a)\nfailed w1 a")
    retry(busy, "one")
    assert busy("states") == ["a PROCESSING", "one WAITING", "other ERRED"]


def test_what_it_needs_and_nobody_kept_is_computed_again(busy: Stage) -> None:
    busy("submit c f ~a b(a)\ndone w1 a\nfailed w1 b")
    assert busy("states") == ["a RELEASED", "b ERRED"]
    assert retry(busy, "b")[0] == "w1 <- run ~a#2"


def test_it_has_all_its_retries_again(busy: Stage) -> None:
    busy("submit c f a retries=1\nfailed w1 a\nfailed w1 a")
    retry(busy, "a")
    assert busy("failed w1 a") == ["w1 <- run a#4"]


def test_deaths_do_not_count_any_more(busy: Stage) -> None:
    busy("submit c f a\ndied w1 running=a\nworker w1\ndied w1 running=a\nworker w1\ndied w1 running=a\nworker w1")
    assert busy("states") == ["a ERRED"]
    retry(busy, "a")
    busy("died w1 running=a")
    assert busy("worker w1") == ["w1 accepted as w1/5", "w1 <- run a#5 +f"]


def test_what_is_not_failed_goes_on_and_what_ended_is_told_again(busy: Stage) -> None:
    busy("submit c f a b\ndone w1 a")
    assert retry(busy, "a", "b") == ["c <- done a"]


def test_a_key_that_the_client_does_not_hold_is_cancelled(busy: Stage) -> None:
    busy("submit c f a\nfailed w1 a")
    answer = ["d <- cancelled a b (the scheduler does not know this key)"]
    assert retry(busy, "a", "b", client="d") == answer
    assert busy("states") == ["a ERRED"]


def test_what_cannot_be_computed_stays_failed_and_is_told_again(busy: Stage) -> None:
    busy("submit c f bad(nowhere) after(bad)")
    lost, failed = retry(busy, "bad", "after")
    assert lost == "c <- lost after (recomputing)"
    assert failed.startswith("c <- failed after: ") and "; bad: " in failed
    assert busy("states") == ["bad ERRED", "after ERRED"]


def test_data_that_is_gone_fails_the_retry(busy: Stage) -> None:
    busy("worker w2\nscatter w2 c x\nsubmit c f a(x) workers=w1\nrelease c x\nfailed w1 a")
    told = retry(busy, "a")
    assert told[-1].startswith("c <- failed a: distributed.errors.LostDataError: x")


def test_a_cancel_of_what_is_queued_spares_what_a_worker_has(busy: Stage) -> None:
    busy("submit c f warm\ndone w1 warm s=60\nsubmit c f a\nsubmit c f b top(a)")
    assert busy("states") == ["warm MEMORY", "a PROCESSING", "b READY", "top WAITING"]
    told = busy.from_client("c", CancelQueued(["warm", "a", "b", "top", "unknown"]))
    assert told == ["c <- cancelled b top (cancelled by c before it began)"]
    assert busy("states") == ["warm MEMORY", "a PROCESSING"]


def test_a_cancel_of_what_is_queued_spares_what_something_depends_on(busy: Stage) -> None:
    busy("submit c f warm\ndone w1 warm s=60\nsubmit c f a\nsubmit c f b\nsubmit d f top(b)")
    assert busy.from_client("c", CancelQueued(["b"])) == []
    assert busy("states")[-2:] == ["b READY", "top WAITING"]


def test_a_cancel_of_what_is_queued_spares_what_others_hold(busy: Stage) -> None:
    busy("submit c f warm\ndone w1 warm s=60\nsubmit c f a\nsubmit c f b\nwant d b")
    assert busy.from_client("c", CancelQueued(["a", "b"])) == []
    assert busy.from_client("d", CancelQueued(["a"])) == []


def test_a_cancel_of_what_is_queued_again_takes_what_its_last_run_had_submitted(busy: Stage) -> None:
    busy("client t\nworker w2\nsubmit c f p workers=w1\nsubmit t f mine shared parent=p")
    busy("want c shared\nsubmit c f warm workers=w2\nleft w1")
    assert busy("states")[0] == "p READY"
    told = busy.from_client("c", CancelQueued(["p", "shared"]))
    assert "c <- cancelled p (cancelled by c before it began)" in told
    assert "t <- cancelled mine (cancelled by c before it began)" in told
    assert [line.split()[0] for line in busy("states")] == ["shared", "warm"]
