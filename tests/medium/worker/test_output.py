"""The collector of what tasks write, without a cluster: who is woken, what is sent, who writes where."""

from __future__ import annotations

import threading
from typing import Any

from distributed.messages import Message, TasksPrinted
from distributed.testing.clusters import until
from distributed.worker import output
from distributed.worker.context import TaskContext
from distributed.worker.effects import ReadyTask
from distributed.worker.output import STDERR, STDOUT, TaskOutput


def context_of(key: str, ticket: int = 1) -> TaskContext:
    context = TaskContext(0)
    context.task = ReadyTask(key, ticket, b"", b"", b"", True, None)
    return context


class Sent(list[Message]):
    """What was sent to the scheduler."""

    def texts(self) -> list[str]:
        return [text for message in self if isinstance(message, TasksPrinted) for text in message.texts]


async def test_what_is_written_is_sent_without_anybody_asking() -> None:
    sent = Sent()
    collector = TaskOutput(sent.append)
    collector.open(is_guarded=False)
    thread = threading.Thread(target=collector.write, args=(context_of("a"), STDOUT, "one\n"))
    thread.start()
    await until(lambda: sent.texts() == ["one\n"])
    thread.join()
    assert not collector.has_any
    collector.close()


async def test_a_writer_that_is_overtaken_by_the_flush_does_not_keep_later_ones_from_waking() -> None:
    sent = Sent()
    collector = TaskOutput(sent.append)
    collector.open(is_guarded=False)
    wakes: list[Any] = []

    class Loop:
        """Flushes before the writer goes on."""

        def call_soon_threadsafe(self, function: Any) -> None:
            wakes.append(function)
            collector.flush()

    loop, collector._loop = collector._loop, Loop()  # type: ignore[assignment]
    for number in range(3):
        assert collector.write(context_of("a"), STDOUT, f"{number}\n")
    assert sent.texts() == ["0\n", "1\n", "2\n"]
    assert len(wakes) == 3
    collector._loop = loop
    collector.close()


async def test_an_object_that_prints_while_a_line_is_taken_in_harms_nobody(monkeypatch: Any) -> None:
    sent = Sent()
    collector = TaskOutput(sent.append)
    collector.open(is_guarded=False)
    context = context_of("a")
    inside: list[bool] = []

    def monotonic() -> float:  # called with the lock held, as a finalizer may be
        if not inside:
            inside.append(collector.write(context, STDERR, "from a finalizer\n"))
        return 0.0

    monkeypatch.setattr(output.time, "monotonic", monotonic)
    assert collector.write(context, STDOUT, "one\n")
    assert inside == [False], "it is written where everybody writes"
    collector.flush()
    assert sent.texts() == ["one\n"]
    monkeypatch.undo()
    collector.close()


async def test_runs_that_are_no_tasks_of_the_scheduler_write_where_everybody_writes() -> None:
    collector = TaskOutput(Sent().append)
    assert not collector.write(context_of("a"), STDOUT, "not open yet\n")
    collector.open(is_guarded=False)
    assert not collector.write(context_of("a", ticket=-1), STDOUT, "direct\n")
    assert not collector.write(TaskContext(0), STDOUT, "between two tasks\n")
    collector.close()
    collector.close()
    assert not collector.write(context_of("a"), STDOUT, "closed\n")


async def test_a_guarded_worker_leaves_marked_lines_of_stderr_for_its_nanny(capsys: Any) -> None:
    sent = Sent()
    collector = TaskOutput(sent.append)
    collector.open(is_guarded=True)
    collector.write(context_of("a"), STDERR, "one\ntwo\n")
    collector.write(context_of("a"), STDOUT, "three\n")
    collector.close()
    assert capsys.readouterr().err == "\x1eone\n\x1etwo\n"
    assert sent.texts() == ["one\ntwo\n", "three\n"]
