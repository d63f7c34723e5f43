"""What is wrong when a Main looks for workers: there is none, none that fits, or calls may not go further."""

from __future__ import annotations

from distributed.errors.base import DistributedError, DistributedWarning

__all__ = ["LoosenedCallWarning", "NoMatchError", "NoOfferError", "RedistributionError", "WorkersLateError"]


class NoOfferError(DistributedError):
    """The operator's: a scheduler has no worker whose owner lends it; start them with ``dworker SCHEDULER --offer``."""

    def __init__(self, scheduler: str, workers: int) -> None:
        self.scheduler = scheduler
        self.workers = workers
        has = "has no workers" if not workers else f"has {workers} workers, and none of them is an offer"
        super().__init__(
            f"the scheduler at {scheduler} {has}: start workers with `dworker {scheduler}` and without --no-offer, or "
            "name offers with setup(workers=[...])"
        )


class NoMatchError(DistributedError):
    """The caller's fault: a call with ``strict=True`` asks for what no worker can ever give; ask for less.

    Attributes:
        asked: what it asks for.
        offered: what there is.
    """

    def __init__(self, function: str, asked: str, offered: str) -> None:
        self.function, self.asked, self.offered = function, asked, offered
        super().__init__(
            f"{function} asks for {asked}, which no worker can ever give; there is {offered}. Ask for less, start a "
            "worker that has it, or say strict=False and it runs anywhere"
        )


class LoosenedCallWarning(DistributedWarning):
    """Calls ask for what no worker can ever give, so they run with less; ``strict=True`` makes them fail instead."""


class RedistributionError(DistributedError):
    """The caller's fault: a call made from a call may not go further: too deep, too late, or not from here.

    Make fewer levels of calls, decorate with ``redistribute='relayed'``, or with None, and they run inline.
    """

    def __init__(self, function: str, reason: str) -> None:
        self.function = function
        super().__init__(f"{function} cannot be given to another worker: {reason}")


class WorkersLateError(DistributedError, TimeoutError):
    """No worker was there in the time that ``setup(timeout=...)`` allows; the text says what was missing.

    See that ``dworker --offer`` runs where it should, or allow more time, or none: then calls wait, and say so.
    """

    def __init__(self, timeout_s: float, reason: str) -> None:
        self.timeout_s = timeout_s
        self.reason = reason
        super().__init__(
            f"no worker was there within {timeout_s:g} s, which is what setup(timeout=) allows: {reason}; "
            "see that `dworker --offer` runs there, or allow more time"
        )
