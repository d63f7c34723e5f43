"""Lists from the wire to messages, with every check that the contract in `distributed.messages` asks for."""

from __future__ import annotations

from typing import Any

from distributed.dataclass import replace
from distributed.errors import ProtocolError
from distributed.fields import are_numbers, are_strings
from distributed.messages import MESSAGES, Message, RunOptions, RunTasks, SubmitTasks, TasksFailed, TaskSpec

__all__ = ["from_wire", "halves"]

_NOT_COLUMNS = {
    "specs",
    "digests",
    "options",
    "running",
    "kept",
    "names",
    "requests",
}  # lists that are tables, not columns


def halves(message: Any) -> list[Message]:
    """Two messages that say the same, for one that is too large to send; empty: it cannot be cut.

    Functions leave first, in a message of their own if there are tasks too few to cut.
    """
    if message.is_whole:
        return []
    columns = [
        name for name, _ in message._checks if name not in _NOT_COLUMNS and isinstance(getattr(message, name), list)
    ]
    count = len(getattr(message, columns[0])) if columns else 0
    functions = getattr(message, "functions", {})
    if count < 2 and not (count and functions):
        return []
    middle = count // 2 if count > 1 else 0
    cut = [{name: getattr(message, name)[part] for name in columns} for part in (slice(middle), slice(middle, None))]
    if functions:
        cut[1]["functions"] = {}
    return [replace(message, **fields) for fields in cut]


def from_wire(wire: object, sender: str) -> Message:
    """Decode what a peer of role `sender` sent.

    Raises:
        ProtocolError: not a list, unknown op, op of another sender, wrong number of fields, or a field or column of
            the wrong type or length; the text names op and field.
    Cost: linear in the length of the columns.
    """
    if type(wire) is not list or not wire or type(wire[0]) is not str:
        raise ProtocolError("an engine message is a list that begins with its op")
    cls = MESSAGES.get(wire[0])
    if cls is None or cls.sender != sender:
        raise ProtocolError(f"a {sender} does not send {wire[0]!r}")
    checks = cls._checks
    if len(wire) != len(checks) + 1:
        raise ProtocolError(f"{wire[0]}: {len(checks)} fields expected, {len(wire) - 1} came")
    for value, (name, is_right) in zip(wire[1:], checks, strict=True):
        if not is_right(value):
            raise ProtocolError(f"{wire[0]}: field {name!r} has the wrong type")
    if cls is TasksFailed and any(type(failure[3]) is dict for failure in wire[3]):
        raise ProtocolError("tasks-failed: the detail of a failure is a pickle or None")
    if cls is SubmitTasks:
        wire[2] = [_spec_from_wire(spec) for spec in wire[2]]
    elif cls is RunTasks and wire[11] is not None:
        wire[11] = [_options_from_wire(options) for options in wire[11]]
    message: Message = cls(*wire[1:])
    _check_columns(message)
    return message


def _spec_from_wire(wire: Any) -> TaskSpec:
    if not (isinstance(wire, list) and len(wire) == len(TaskSpec._fields) and type(wire[0]) is bytes):
        raise ProtocolError(f"submit-tasks: a spec is a list of {len(TaskSpec._fields)} fields, first a digest")
    function, priority, retries, wanted, workers, resources, others, platform, memory_limit_nbytes, *rest = wire
    timeout_s, actor, parent, depth, redundant, threads = rest
    if type(priority) is not int or type(retries) is not int or retries < 0:
        raise ProtocolError("submit-tasks: a spec has the wrong type")
    if type(wanted) is not bool or type(others) is not bool or not (platform is None or type(platform) is str):
        raise ProtocolError("submit-tasks: a spec has the wrong type")
    if memory_limit_nbytes is not None and (type(memory_limit_nbytes) is not int or memory_limit_nbytes <= 0):
        raise ProtocolError("submit-tasks: spec.memory_limit_nbytes is a number of bytes > 0")
    if timeout_s is not None and (not are_numbers([timeout_s]) or timeout_s == 0):
        raise ProtocolError("submit-tasks: spec.timeout_s is a number of seconds > 0")
    if type(actor) is not bool or type(redundant) is not bool or not (parent is None or type(parent) is str):
        raise ProtocolError("submit-tasks: a spec has the wrong type")
    if type(depth) is not int or depth < 0 or type(threads) is not int or threads < 1:
        raise ProtocolError("submit-tasks: a spec has the wrong type")
    if workers is not None and not are_strings(workers):
        raise ProtocolError("submit-tasks: spec.workers is a list of strings")
    if resources is not None and not (
        type(resources) is list
        and all(type(r) is list and len(r) == 2 and type(r[0]) is str and are_numbers(r[1:]) for r in resources)
    ):
        raise ProtocolError("submit-tasks: spec.resources is a list of [name, amount]")
    amounts = tuple((name, float(amount)) for name, amount in resources or () if amount)  # 0 asks for nothing
    names = None if workers is None else tuple(workers)
    return TaskSpec(
        function, priority, retries, wanted, names, amounts or None, others, platform, memory_limit_nbytes,
        timeout_s, actor, parent, depth, redundant, threads,
    )  # fmt: skip


def _options_from_wire(wire: Any) -> RunOptions:
    if not (isinstance(wire, (list, tuple)) and len(wire) == len(RunOptions._fields)):
        raise ProtocolError(f"run-tasks: options are a list of {len(RunOptions._fields)} fields")
    priority, memory_limit_nbytes, timeout_s, depth, actor, threads = wire
    is_right = type(priority) is int and type(actor) is bool and type(memory_limit_nbytes) is type(depth) is int
    is_right = is_right and type(threads) is int and threads >= 1
    if not is_right or memory_limit_nbytes < 0 or depth < 0 or not are_numbers([timeout_s]):
        raise ProtocolError("run-tasks: options have the wrong type")
    return RunOptions(*wire)


def _check_columns(message: Message) -> None:
    """Columns of one message have one length, and indexes point into their table."""
    lengths = {
        len(column)
        for name, _ in message._checks
        if name not in _NOT_COLUMNS and isinstance(column := getattr(message, name), list)
    }
    if len(lengths) > 1:
        raise ProtocolError(f"{message.op}: columns of different lengths: {sorted(lengths)}")
    if isinstance(message, SubmitTasks):
        _check_indexes(message.op, message.spec_of, len(message.specs), len(message.keys))
    elif isinstance(message, RunTasks):
        _check_indexes(message.op, message.digest_of, len(message.digests), len(message.keys))
        if message.options is not None:
            _check_indexes(message.op, message.option_of, len(message.options), len(message.keys))
        elif message.option_of is not None:
            raise ProtocolError("run-tasks: option_of without options")


def _check_indexes(op: str, indexes: list[int] | None, table: int, count: int) -> None:
    if (count and not table) or (indexes and not 0 <= min(indexes) <= max(indexes) < table):
        raise ProtocolError(f"{op}: an index points outside its table")
