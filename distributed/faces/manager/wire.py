"""What a manager and its workers say to each other: lists ``[kind, value]`` after the op ``join_manager``; pure.

    worker                                            manager
      {"op": "join_manager", "token", "reply": false} ──▶     not by children of the manager: they have a socket pair
      ◀── WELCOME {"beat_s", "start"}                         start: payload of what a local child runs, else None
      REGISTER {"pid", "host"} ──▶                            the worker was made and its loop begins
      MESSAGE payload          ◀─▶                            anything that can be pickled
      BEAT None                ──▶                            every `beat_s`, from a thread of its own
      PING n ◀──   PONG n      ──▶                            answered by that thread too
      ◀── STOP None                                           leave the loop

So no message of a user can be taken for one of ours. A payload is ``bytes`` or a `Serialized`; it is unpickled by the
thread that the user's code runs in, and only after the handshake.
"""

from __future__ import annotations

from typing import Any

from distributed.errors import ProtocolError
from distributed.protocol.serialize import Payload, Serialized, dumps_payload

__all__ = [
    "BEAT",
    "JOIN_OP",
    "MESSAGE",
    "PING",
    "PONG",
    "REGISTER",
    "STOP",
    "WELCOME",
    "pack",
    "read_from_manager",
    "read_from_worker",
]

JOIN_OP = "join_manager"
MESSAGE, REGISTER, BEAT, PONG, WELCOME, PING, STOP = range(7)

_FROM_WORKER = frozenset({MESSAGE, REGISTER, BEAT, PONG})
_FROM_MANAGER = frozenset({MESSAGE, WELCOME, PING, STOP})
NAME_LENGTH_MAX = 255  # of a host


def pack(value: Any, what: str = "a message") -> Payload:
    """A payload that holds a copy of everything, so that the sender may change its arrays as soon as it has sent them.

    Raises:
        UnpicklableError: `value` cannot be pickled.
    """
    payload = dumps_payload(value, what)
    if isinstance(payload, Serialized):
        head, *buffers = payload.frames
        payload = Serialized([head, *(buffer if type(buffer) is bytes else bytearray(buffer) for buffer in buffers)])
    return payload


def read_from_worker(message: Any) -> tuple[int, Any]:
    """Kind and value of what a worker said.

    Raises:
        ProtocolError: no worker says that.
    """
    kind, value = _read(message, _FROM_WORKER)
    if kind == REGISTER:
        fields = value if type(value) is dict else {}
        pid, host = fields.get("pid"), fields.get("host")
        if type(pid) is not int or pid <= 0 or type(host) is not str or len(host) > NAME_LENGTH_MAX:
            raise ProtocolError("a worker registers with its process id and the name of its host")
    return kind, value


def read_from_manager(message: Any) -> tuple[int, Any]:
    """Kind and value of what a manager said.

    Raises:
        ProtocolError: no manager says that.
    """
    kind, value = _read(message, _FROM_MANAGER)
    if kind == WELCOME:
        fields = value if type(value) is dict else {}
        beat_s, start = fields.get("beat_s"), fields.get("start")
        is_time = isinstance(beat_s, (int, float)) and 0 < beat_s < 1e9
        if not is_time or not (start is None or isinstance(start, (bytes, Serialized))):
            raise ProtocolError("a manager welcomes with the seconds between two beats, and what to run")
    return kind, value


def _read(message: Any, kinds: frozenset[int]) -> tuple[int, Any]:
    if type(message) is not list or len(message) != 2 or type(message[0]) is not int or message[0] not in kinds:
        raise ProtocolError("manager and worker say [kind, value]")
    kind, value = message
    if kind == MESSAGE and type(value) is not bytes and type(value) is not Serialized:
        raise ProtocolError("a message is a payload")
    if kind in (PING, PONG) and type(value) is not int:
        raise ProtocolError("a ping has a number")
    return kind, value
