"""Every engine message through the real codec, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.dataclass import fields
from distributed.errors import ProtocolError
from distributed.messages import MESSAGES, Message, RunOptions, SubmitTasks, TaskSpec
from distributed.protocol.codec import Limits, encode, encode_plain
from distributed.protocol.framing import MessageDecoder
from distributed.protocol.serialize import Serialized
from distributed.wire import from_wire

FAILURE = ["KeyError", "'x'", "Traceback", None]
SPEC = TaskSpec(b"d", 2, 1, False, ("tcp://w:1",), (("GPU", 1.0),), True, "linux*", 2**30, 1.5, True, "p", 3, True, 2)
VALUES: dict[str, dict[str, Any]] = {
    "submit-tasks": {
        "functions": {b"d": b"pickle"},
        "specs": [TaskSpec(b"d"), SPEC],
        "spec_of": [0, 1],
        "keys": ["x", "y"],
        "arguments": [b"", b"\xc1\x00"],
        "dependencies": [None, ["x"]],
    },
    "want-keys": {"keys": ["x"]},
    "release-keys": {"keys": []},
    "cancel-keys": {"keys": ["x"], "force": True, "reason": None},
    "cancel-queued": {"keys": ["x", "y"]},
    "retry-keys": {"keys": ["x"]},
    "release-functions": {"digests": [b"d"]},
    "keys-done": {"keys": ["x", "y"], "results": [b"1", None], "nbytes": [1, 2**40]},
    "keys-failed": {"keys": ["x"], "failures": [FAILURE]},
    "keys-cancelled": {"keys": ["x"], "reason": "because"},
    "keys-lost": {"keys": ["x"], "recomputing": False},
    "keys-stuck": {"waiting": [["x", "y"]], "counts": [2], "blocked": ["x"], "reasons": ["may only run on w7"]},
    "server-closing": {"reason": "SIGTERM"},
    "coordinate": {
        "request": 7,
        "kind": "queue",
        "names": ["q"],
        "verb": "put",
        "task": "f-1",
        "waits": True,
        "number": 10,
        "items": [b"pickle"],
        "item_keys": [["x", "y"]],
    },
    "withdraw-requests": {"requests": [7]},
    "take-items": {"requests": [7, 8]},
    "request-answered": {
        "request": 7,
        "outcome": "done",
        "text": "",
        "number": 2,
        "names": ["q"],
        "items": [b"1", b"2"],
        "item_keys": [[], ["x"]],
    },
    "request-waits": {"request": 7, "text": "lock 'x' is held by c"},
    "run-tasks": {
        "functions": {b"d": b"p"},
        "digests": [b"d", b"e"],
        "digest_of": [1, 0],
        "keys": ["x", "y"],
        "attempts": [1, 2],
        "arguments": [b"", b""],
        "wanted": [True, False],
        "dependencies": [["a"], None],
        "who_has": {"a": ["tcp://w:1"]},
        "nbytes": {"a": 5},
        "options": [RunOptions(-1), RunOptions(2, 2**30, 0.5, 3, True, 2)],
        "option_of": [1, 0],
    },
    "cancel-tasks": {"keys": ["x"]},
    "stop-tasks": {"keys": ["x"], "attempts": [1]},
    "tasks-stopped": {"keys": ["x"], "attempts": [1]},
    "data-rescued": {"keys": ["x"], "nbytes": [5]},
    "release-data": {"keys": ["x"]},
    "forget-functions": {"digests": [b"d"]},
    "return-tasks": {"keys": ["x"], "attempts": [1]},
    "copy-data": {"keys": ["x"], "nbytes": [5], "holders": [["tcp://w:1", "tcp://w:2"]]},
    "holders-known": {"keys": ["x"], "holders": [[]]},
    "dismiss-worker": {"reason": "retired"},
    "tasks-returned": {"keys": ["x"], "attempts": [1], "kept": ["y", "z"]},
    "tasks-lent": {"keys": ["x"], "attempts": [1]},
    "tasks-rejoined": {"keys": ["x"], "attempts": [1]},
    "copies-failed": {"keys": ["x"], "gone": [[["x", "tcp://w:1"]]]},
    "ask-holders": {"keys": ["x"]},
    "worker-paused": {"paused": True},
    "worker-retiring": {"reason": "SIGTERM"},
    "tasks-done": {"keys": ["x"], "attempts": [1], "nbytes": [8], "results": [b"r"], "durations_s": [0.5]},
    "tasks-failed": {"keys": ["x"], "attempts": [1], "failures": [FAILURE], "durations_s": [1]},
    "tasks-missing-data": {"keys": ["x"], "attempts": [1], "missing": [["a"]], "gone": [[["a", "tcp://w:1"]]]},
    "data-added": {"keys": ["x"], "nbytes": [1], "client": None},
    "data-removed": {"keys": ["x"]},
    "heartbeat": {"running": ["x", "y"], "metrics": {"cpu_percent": 1.5, "memory_nbytes": 7}},
    "worker-leaving": {"reason": "SIGTERM"},
    "tasks-printed": {"keys": ["x"], "streams": ["stdout"], "texts": ["a\nb\n"]},
    "keys-printed": {"keys": ["x"], "streams": ["stderr"], "texts": ["a\n"]},
    "equip-worker": {"serials": [1, 2], "kinds": ["file", "unplug"], "names": ["a.py", "p"], "payloads": [b"1", None]},
    "worker-equipped": {"serials": [1]},
    "equipment-failed": {"serials": [2], "failures": [FAILURE]},
}


def message_of(op: str, **changes: Any) -> Message:
    message: Message = MESSAGES[op](**{**VALUES[op], **changes})
    return message


def crossed(message: Message, encoder: Any = encode) -> Any:
    decoder = MessageDecoder(Limits())
    decoder.feed(b"".join(encoder(message.to_wire())))
    return decoder.next_message()


def test_every_message_has_an_example_here() -> None:
    assert set(VALUES) == set(MESSAGES)


@pytest.mark.parametrize("op", VALUES)
@pytest.mark.parametrize("encoder", [encode, encode_plain])
def test_a_message_comes_back_as_it_was(op: str, encoder: Any) -> None:
    message = message_of(op)
    assert from_wire(crossed(message, encoder), message.sender) == message


@pytest.mark.parametrize("op", VALUES)
def test_a_message_that_has_no_entries_comes_back(op: str) -> None:
    empty = {name: type(value)() for name, value in VALUES[op].items() if isinstance(value, (list, dict))}
    message = message_of(op, **empty)
    assert from_wire(crossed(message), message.sender) == message


def test_optional_columns_may_be_none() -> None:
    for message in (
        message_of("submit-tasks", spec_of=None, dependencies=None),
        message_of("run-tasks", digest_of=None, wanted=None, dependencies=None, options=None, option_of=None),
        message_of("data-added", client="client-1"),
    ):
        assert from_wire(crossed(message), message.sender) == message


def test_payloads_in_frames_stay_opaque() -> None:
    message = message_of("tasks-done", results=[Serialized([b"p", b"x" * 20_000])])
    back: Any = from_wire(crossed(message, encode_plain), "worker")
    assert [bytes(frame) for frame in back.results[0].frames] == [b"p", b"x" * 20_000]


@pytest.mark.parametrize("op", VALUES)
def test_the_sender_is_checked(op: str) -> None:
    message = message_of(op)
    for sender in {"client", "scheduler", "worker", "readonly", ""} - {message.sender}:
        with pytest.raises(ProtocolError, match=f"does not send '{op}'"):
            from_wire(crossed(message), sender)


@pytest.mark.parametrize(
    "wire", [None, 5, "x", {}, [], [5], [None], [b"want-keys", []], {"op": "x"}, ("want-keys", [])]
)
def test_what_is_no_list_that_begins_with_an_op_is_refused(wire: Any) -> None:
    with pytest.raises(ProtocolError, match="a list that begins with its op"):
        from_wire(wire, "client")


def test_an_unknown_op_is_refused() -> None:
    with pytest.raises(ProtocolError, match="does not send 'no-such-op'"):
        from_wire(["no-such-op"], "client")


@pytest.mark.parametrize("op", VALUES)
def test_the_number_of_fields_is_checked(op: str) -> None:
    message = message_of(op)
    with pytest.raises(ProtocolError, match=f"{op}: .* fields expected"):
        from_wire(crossed(message)[:-1], message.sender)
    with pytest.raises(ProtocolError, match=f"{op}: .* fields expected"):
        from_wire([*crossed(message), None], message.sender)


WRONG: dict[str, list[Any]] = {
    "dict[bytes, Payload]": [None, [], {"d": b""}],
    "list[TaskSpec]": [None, {}],
    "list[int]": [None, 5, [1.0], ["1"], [True], [-1], [None]],
    "list[int] | None": [5, ["1"], [-1], [True]],
    "list[RunOptions] | None": [{}, "x", 5],
    "list[str]": [None, "x", [1], [b"x"], [None], {"x": 1}],
    "list[bytes]": [None, ["x"], b"x"],
    "list[float]": [None, ["x"], [-0.5], [None], 5.0, [1.0, float("nan")], [float("inf")]],
    "list[bool] | None": [[1], True, [None]],
    "list[Payload]": [None, b"", {}],
    "list[Failure]": [None, [None], [["E", "t", "tb"]], [["E", 5, "tb", None]], [[b"E", "t", "tb", None]]],
    "list[list[str] | None] | None": ["x", ["x"], [[1]], [[None]]],
    "list[list[str]]": [None, [None], [[1]], "x"],
    "list[list[list[str]]]": [None, [None], [["a"]], [[["a"]]], [[["a", 5]]], [[["a", "b", "c"]]]],
    "dict[str, list[str]]": [None, {"a": "b"}, {"a": None}, {1: []}, []],
    "dict[str, int]": [None, {"a": "b"}, {"a": -1}, {"a": 1.5}, {1: 1}],
    "dict[str, float]": [None, {"a": "b"}, {1: 1.0}, {"a": True}],
    "bool": [None, 1, 0, "x"],
    "int": [None, -1, 1.0, "1", True],
    "str": [None, 5, b"x"],
    "str | None": [5, b"x", []],
}
BAD_FIELDS = [
    (op, field.name, wrong) for op, cls in MESSAGES.items() for field in fields(cls) for wrong in WRONG[str(field.type)]
]


def test_every_wrong_type_of_every_field_is_refused_by_name() -> None:
    for op, name, wrong in BAD_FIELDS:
        message = message_of(op, **{name: wrong})
        with pytest.raises(ProtocolError, match=f"^{op}: field '{name}'"):
            from_wire(message.to_wire(), message.sender)


COLUMNS = [
    (op, field.name)
    for op, values in VALUES.items()
    for field in fields(MESSAGES[op])
    if isinstance(values[field.name], list)
    and sum(isinstance(value, list) for value in values.values()) > 1
    and field.name not in ("specs", "digests", "options", "running", "kept", "names", "requests", "keys")
]


@pytest.mark.parametrize(("op", "name"), COLUMNS)
def test_columns_of_different_lengths_are_refused(op: str, name: str) -> None:
    column = VALUES[op][name]
    for changed in (column[:-1], [*column, column[-1]]):
        message = message_of(op, **{name: changed})
        with pytest.raises(ProtocolError, match=f"{op}: columns of different lengths"):
            from_wire(crossed(message), message.sender)


@pytest.mark.parametrize(
    ("op", "changes"),
    [
        ("submit-tasks", {"spec_of": [0, 2]}),
        ("submit-tasks", {"specs": [], "spec_of": None}),
        ("submit-tasks", {"specs": []}),
        ("run-tasks", {"digest_of": [2, 0]}),
        ("run-tasks", {"digests": [], "digest_of": None}),
        ("run-tasks", {"option_of": [0, 2]}),
        ("run-tasks", {"options": []}),
    ],
)
def test_an_index_outside_its_table_is_refused(op: str, changes: dict[str, Any]) -> None:
    message = message_of(op, **changes)
    with pytest.raises(ProtocolError, match=f"{op}: an index points outside its table"):
        from_wire(crossed(message), message.sender)


@pytest.mark.parametrize(
    "spec",
    [
        None,
        [],
        [b"d"],
        ["d", 0, 0, True, None, None, False, None, None, None, False, None, 0, False, 1],
        [b"d", "0", 0, True, None, None, False, None, None, None, False, None, 0, False, 1],
        [b"d", 0, -1, True, None, None, False, None, None, None, False, None, 0, False, 1],
        [b"d", 0, 1.0, True, None, None, False, None, None, None, False, None, 0, False, 1],
        [b"d", 0, 0, 1, None, None, False, None, None, None, False, None, 0, False, 1],
        [b"d", 0, 0, True, "w", None, False, None, None, None, False, None, 0, False, 1],
        [b"d", 0, 0, True, [5], None, False, None, None, None, False, None, 0, False, 1],
        [b"d", 0, 0, True, None, {}, False, None, None, None, False, None, 0, False, 1],
        [b"d", 0, 0, True, None, [["GPU"]], False, None, None, None, False, None, 0, False, 1],
        [b"d", 0, 0, True, None, [["GPU", "1"]], False, None, None, None, False, None, 0, False, 1],
        [b"d", 0, 0, True, None, [[5, 1]], False, None, None, None, False, None, 0, False, 1],
        [b"d", 0, 0, True, None, [["GPU", -1]], False, None, None, None, False, None, 0, False, 1],
        [b"d", 0, 0, True, None, [["GPU", float("nan")]], False, None, None, None, False, None, 0, False, 1],
        [b"d", 0, 0, True, None, ["GP"], False, None, None, None, False, None, 0, False, 1],
        [b"d", 0, 0, True, None, None, 1, None, None, None, False, None, 0, False, 1],
        [b"d", 0, 0, True, None, None, False, 5, None, None, False, None, 0, False, 1],
        [b"d", 0, 0, True, None, None, False, None, 0, None, False, None, 0, False, 1],
        [b"d", 0, 0, True, None, None, False, None, 1.5, None, False, None, 0, False, 1],
        [b"d", 0, 0, True, None, None, False, None, None, None, None, False, None, 0, False, 1],
        [b"d", 0, 0, True, None, None, False, None, None, 0, False, None, 0, False, 1],
        [b"d", 0, 0, True, None, None, False, None, None, "1", False, None, 0, False, 1],
        [b"d", 0, 0, True, None, None, False, None, None, None, 1, None, 0, False, 1],
        [b"d", 0, 0, True, None, None, False, None, None, None, False, 5, 0, False, 1],
        [b"d", 0, 0, True, None, None, False, None, None, None, False, None, -1, False, 1],
        [b"d", 0, 0, True, None, None, False, None, None, None, False, None, 0, 1, 1],
        [b"d", 0, 0, True, None, None, False, None, None, None, False, None, 0, False, 0],
        [b"d", 0, 0, True, None, None, False, None, None, None, False, None, 0, False, True],
        [b"d", 0, 0, True, None, None, False, None, None, None, False, None, 0, False, 1.0],
    ],
)
def test_a_bad_spec_is_refused(spec: Any) -> None:
    wire = message_of("submit-tasks").to_wire()
    wire[2] = [list(TaskSpec(b"d")), spec]
    with pytest.raises(ProtocolError, match=r"submit-tasks: (a spec|spec\.)"):
        from_wire(wire, "client")


@pytest.mark.parametrize(
    "options",
    [None, [], [0, 0, 0, 0, 0], ["0", 0, 0, 0, False, 1], [0, -1, 0, 0, False, 1], [0, 0, "1", 0, False, 1],
     [0, 0, -1.0, 0, False, 1], [0, 0, 0, 1.0, False, 1], [0, 0, 0, -1, False, 1], [0, 0, 0, 0, 1, 1],
     [0, 0, 0, 0, False, None], [0, 0, 0, 0, False, 0], [0, 0, 0, 0, False, 1, None]],
)  # fmt: skip
def test_bad_options_are_refused(options: Any) -> None:
    wire = message_of("run-tasks").to_wire()
    wire[11] = [list(RunOptions()), options]
    with pytest.raises(ProtocolError, match=r"run-tasks: options"):
        from_wire(wire, "scheduler")


def test_a_negative_priority_is_allowed() -> None:
    message = message_of("submit-tasks", specs=[TaskSpec(b"d", -5)], spec_of=None)
    back = from_wire(crossed(message), "client")
    assert isinstance(back, SubmitTasks)
    assert back.specs == [TaskSpec(b"d", -5)]


def test_a_message_shows_its_fields_and_equals_its_like() -> None:
    message = message_of("cancel-keys")
    assert repr(message) == "CancelKeys(keys=['x'], force=True, reason=None)"
    assert message != message_of("cancel-keys", force=False)
    assert message != message_of("release-keys", keys=["x"])
    with pytest.raises(TypeError, match="unhashable"):
        hash(message)


def test_an_amount_of_zero_asks_for_no_resource() -> None:
    wire = message_of("submit-tasks").to_wire()
    rest = [False, None, None, None, False, None, 0, False, 1]
    wire[2] = [
        [b"d", 0, 0, True, None, [["GPU", 0], ["disk", 2]], *rest],
        [b"d", 0, 0, True, None, [["GPU", 0]], *rest],
    ]
    message = from_wire(wire, "client")
    assert isinstance(message, SubmitTasks)
    assert [spec.resources for spec in message.specs] == [(("disk", 2.0),), None]


@pytest.mark.parametrize(
    ("op", "changes"),
    [
        ("submit-tasks", {"arguments": [b"", bytes(200_000)]}),
        ("submit-tasks", {"arguments": [b"", ["nested"]]}),
        ("submit-tasks", {"functions": {b"d": "text"}}),
        ("tasks-done", {"results": [bytes(200_000)]}),
        ("tasks-done", {"results": [{}]}),
        ("tasks-failed", {"failures": [["E", "x" * 300_000, "", None]]}),
        ("tasks-failed", {"failures": [["E", "", "", {"key": "x"}]]}),
        ("tasks-failed", {"failures": [["E", "", "", ["list"]]]}),
    ],
)
def test_what_could_not_be_passed_on_is_refused(op: str, changes: dict[str, Any]) -> None:
    wire = message_of(op, **changes).to_wire()
    if op == "submit-tasks":
        wire[2] = [list(spec) for spec in wire[2]]
    with pytest.raises(ProtocolError, match=op):
        from_wire(wire, MESSAGES[op].sender)
