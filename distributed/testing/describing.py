"""What the scheduler's machine wants done, as lines of a scenario."""

from __future__ import annotations

from distributed.messages import (
    SCHEDULER,
    CancelTasks,
    CopyData,
    DismissWorker,
    ForgetFunctions,
    HoldersKnown,
    KeysCancelled,
    KeysDone,
    KeysFailed,
    KeysLost,
    KeysStuck,
    Message,
    ReleaseData,
    ReturnTasks,
    RunTasks,
    StopTasks,
)
from distributed.protocol.codec import SENTINEL, Limits, decode, encode, frame_lengths, unescape
from distributed.scheduler import effects
from distributed.wire import from_wire

__all__ = ["describe", "short", "through_codec"]


def through_codec(message: Message, sender: str) -> Message:
    """What arrives when `message` is sent: encoded, decoded and checked as on a real connection."""
    limits = Limits()
    header, *frames = encode(message.to_wire(), limits)
    plain = unescape(bytes(header)[: -len(SENTINEL)])
    wire, lengths = frame_lengths(plain, limits)
    return from_wire(decode(plain, list(frames)) if lengths else wire, sender)


def describe(effect: effects.Effect) -> str:
    """One effect as one line."""
    if isinstance(effect, effects.ToClient):
        return f"{effect.client} <- {_message(through_codec(effect.message, SCHEDULER))}"
    if isinstance(effect, effects.OrderDone):
        error = "" if effect.error is None else f"; {short(str(effect.error))}"
        return f"order {effect.order} done: {short(str(effect.result))}{error}"
    if isinstance(effect, effects.EndClient):
        return f"{effect.client} ended: {short(effect.reason)}"
    worker = short(effect.address)
    if isinstance(effect, effects.ToWorker):
        return f"{worker} <- {_message(through_codec(effect.message, SCHEDULER))}"
    if isinstance(effect, effects.AcceptWorker):
        return f"{worker} accepted as {effect.incarnation}"
    if isinstance(effect, effects.RefuseWorker):
        return f"{worker} refused: {short(str(effect.error))}"
    if isinstance(effect, effects.ReplaceWorker):
        return f"{short(effect.nanny)} replaces {effect.incarnation} unless it has ended {' '.join(effect.keys)}"
    return f"{worker} dropped as {effect.incarnation}: {effect.reason}"


def _message(message: Message) -> str:
    if isinstance(message, RunTasks):
        return _run(message)
    if isinstance(message, KeysDone):
        pairs = zip(message.keys, message.results, strict=True)
        return "done " + " ".join(key if result is None else f"{key}=result" for key, result in pairs)
    if isinstance(message, KeysFailed):
        pairs = zip(message.keys, message.failures, strict=True)
        return "failed " + "; ".join(f"{key}: {failure[0]}: {short(failure[1])}" for key, failure in pairs)
    if isinstance(message, KeysCancelled):
        return f"cancelled {' '.join(message.keys)} ({message.reason})"
    if isinstance(message, KeysLost):
        return f"lost {' '.join(message.keys)} ({'recomputing' if message.recomputing else 'for good'})"
    if isinstance(message, KeysStuck):
        columns = zip(message.waiting, message.counts, message.blocked, message.reasons, strict=True)
        return "stuck " + "; ".join(f"{' '.join(k)} ({n}): {blocked} {short(why)}" for k, n, blocked, why in columns)
    if isinstance(message, ForgetFunctions):
        return f"forget {' '.join(digest.decode() for digest in message.digests)}"
    if isinstance(message, CopyData | HoldersKnown):
        pairs = zip(message.keys, message.holders, strict=True)
        verb = "copy" if isinstance(message, CopyData) else "holders"
        return f"{verb} " + " ".join(f"{key}@{'+'.join(map(short, holders))}" for key, holders in pairs)
    if isinstance(message, DismissWorker):
        return f"dismissed ({message.reason})"
    if isinstance(message, ReturnTasks):
        return "return " + " ".join(f"{k}#{attempt}" for k, attempt in zip(message.keys, message.attempts, strict=True))
    if isinstance(message, StopTasks):
        return "stop " + " ".join(f"{k}#{attempt}" for k, attempt in zip(message.keys, message.attempts, strict=True))
    if not isinstance(message, CancelTasks | ReleaseData):
        return f"{message.op} {' '.join(map(short, map(str, message.to_wire()[1:])))}"
    return f"{'cancel' if isinstance(message, CancelTasks) else 'drop'} {' '.join(message.keys)}"


def _run(message: RunTasks) -> str:
    """``run a#1 b#2(x@w1) [+f]``: keys, attempts, dependencies with their holders; ~: not wanted; functions sent."""
    words = []
    for index, (key, attempt) in enumerate(zip(message.keys, message.attempts, strict=True)):
        needs = None if message.dependencies is None else message.dependencies[index]
        where = [f"{need}@{'+'.join(short(address) for address in message.who_has[need])}" for need in needs or ()]
        mark = "" if message.wanted is None or message.wanted[index] else "~"
        words.append(f"{mark}{key}#{attempt}" + (f"({','.join(where)})" if where else ""))
    words += [f"+{digest.decode()}" for digest in message.functions]
    return "run " + " ".join(words)


def short(text: str) -> str:
    """`text` with worker's addresses as the names that scenarios use."""
    return text.replace("tcp://", "").replace(":1", "")
