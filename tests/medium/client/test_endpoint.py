"""One end of a session: what it writes when it goes on over a new stream."""

from __future__ import annotations

from typing import Any

from distributed.endpoint import Endpoint
from distributed.protocol.codec import encode_plain
from distributed.testing.clusters import gen_cluster


class Written:
    """A stream that keeps what is written."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def set_close_callback(self, callback: Any) -> None:
        self.on_close = callback

    def set_message_handler(self, handler: Any) -> None:
        self.on_message = handler

    def closed(self) -> bool:
        return False

    def close(self) -> None:
        self.messages.append("closed")

    def write_encoded(self, buffers: list[Any]) -> None:
        self.messages.append(b"".join(map(bytes, buffers)))


def encoded(message: Any) -> bytes:
    return b"".join(map(bytes, encode_plain(message)))


@gen_cluster([])
async def test_what_is_sent_again_is_asked_about_before_what_follows(scheduler: Any) -> None:
    endpoint = Endpoint(lambda wire: None, lambda error: None, lambda error: None)
    first, second = Written(), Written()
    endpoint.attach(first)  # type: ignore[arg-type]
    for number in range(3):
        endpoint.send([str(number)])
    endpoint.attach(second, 1)  # type: ignore[arg-type]
    asked = encoded(["ack?"])
    assert second.messages == [encoded(["1"]), asked, encoded(["2"]), asked]
    assert first.messages[-1] == "closed"
