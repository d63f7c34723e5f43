"""How far tasks are, while they run: lines in a terminal, or a table in a notebook that renews itself.

Only this client's own records are looked at: the cluster is not asked. Looking takes 2 % of one core at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TextIO

from distributed.client.futures import Future, FutureSequence
from distributed.client.html import progress_html
from distributed.client.records import KeyRecord, Status
from distributed.client.session import Session
from distributed.client.structures import listed, records_in
from distributed.ids import name_of_key
from distributed.units import format_seconds

__all__ = ["Line", "Progress", "progress"]

INTERVAL_S = 0.2  # between two looks, as people see it move
REST_S = 0.01  # likewise, when the task that was waited for has ended and others have not
LOOK_SHARE = 0.02  # of the time may be spent on looking, for very many futures
BAR_WIDTH = 30
NAMES_MAX = 20  # lines; the rest is one line together
PLAIN_STEP = 0.1  # where lines cannot be renewed, such as in a file: one for each tenth


@dataclass(slots=True)
class Line:
    """One function: how many of its tasks are finished, failed, and cancelled or lost, of how many."""

    name: str
    total: int = 0
    done: int = 0
    failed: int = 0
    gone: int = 0

    @property
    def decided(self) -> int:
        """How many are not pending."""
        return self.done + self.failed + self.gone


class Progress:
    """Counts tasks by function; each look goes through those only that were pending at the one before."""

    def __init__(self, records: Iterable[KeyRecord]) -> None:
        self._began = time.monotonic()
        self.lines: dict[str, Line] = {}
        self._pending: list[KeyRecord] = []
        for record in records:
            name = name_of_key(record.key)
            if name not in self.lines and len(self.lines) >= NAMES_MAX:
                name = "others"
            self.lines.setdefault(name, Line(name)).total += 1
            self._pending.append(record)
        self.pause_s, self.rest_s = INTERVAL_S, REST_S
        self.elapsed_s = 0.0
        self.look()

    @property
    def is_over(self) -> bool:
        """Whether all are decided."""
        return not self._pending

    @property
    def last(self) -> KeyRecord:
        """The pending one that was submitted last, and probably ends last."""
        return self._pending[-1]

    def look(self) -> None:
        """Count again; `pause_s` is then how long to wait if nothing happens, `rest_s` how long at least.

        Cost: 0.1 us for each that was pending.
        """
        began = time.monotonic()
        pending: list[KeyRecord] = []
        for record in self._pending:
            status = record.status
            if status is Status.PENDING:
                pending.append(record)
                continue
            line = self.lines.get(name_of_key(record.key)) or self.lines["others"]
            if status is Status.FINISHED:
                line.done += 1
            elif status is Status.ERROR:
                line.failed += 1
            else:
                line.gone += 1
        self._pending = pending
        now = time.monotonic()
        self.elapsed_s = now - self._began
        self.rest_s = max(REST_S, (now - began) / LOOK_SHARE)
        self.pause_s = max(INTERVAL_S, self.rest_s)

    def left_s(self) -> float | None:
        """Seconds until all are decided, if it goes on as until now; None: nothing is known."""
        total, decided = sum(line.total for line in self.lines.values()), self.decided
        return None if not decided else self.elapsed_s * (total - decided) / decided

    @property
    def decided(self) -> int:
        """How many are not pending, of all functions."""
        return sum(line.decided for line in self.lines.values())

    def text(self, is_unicode: bool = True) -> list[str]:
        """A line for each function, and one about the time."""
        width = max((len(line.name) for line in self.lines.values()), default=0)
        shown = [_text_of(line, width, is_unicode) for line in self.lines.values()]
        left_s = self.left_s()
        rest = "" if self.is_over or left_s is None else f", about {format_seconds(left_s)} left"
        return [*shown, f"{format_seconds(self.elapsed_s)}{rest}"]

    def _repr_html_(self) -> str:
        rows = [(line.name, line.done, line.failed, line.gone, line.total) for line in self.lines.values()]
        return progress_html(rows, self.text()[-1])


def _text_of(line: Line, width: int, is_unicode: bool) -> str:
    share = line.decided / line.total if line.total else 1.0
    filled = int(share * BAR_WIDTH)
    full, empty = ("█", "░") if is_unicode else ("#", ".")
    marks = [f"{count:,} {what}" for count, what in ((line.failed, "failed"), (line.gone, "cancelled")) if count]
    tail = f"  ({', '.join(marks)})" if marks else ""
    return (
        f"{line.name:<{width}}  {full * filled}{empty * (BAR_WIDTH - filled)}  "
        f"{line.decided:>{len(f'{line.total:,}')},}/{line.total:,}  {share:4.0%}{tail}"
    )


def progress(*futures: Any, notebook: bool | None = None, file: TextIO | None = None) -> Any:
    """Show how far tasks are, a line for each function, with those that failed and the time that is left.

        >>> futures = client.map(load, names)  # doctest: +SKIP
        >>> progress(futures)  # doctest: +SKIP
        load  ███████████████░░░░░░░░░░░░░░░   497/1,000   50%  (3 failed)
        12.0 s, about 12.1 s left

    Args:
        futures: futures, or any structure of futures.
        notebook: True: show a table that renews itself and return at once, which is what notebooks get by
            themselves; False: write to a terminal, and return when all are decided. Ctrl-C returns control; the tasks
            go on.
        file: where to write instead of stderr; what is no terminal gets a line now and then.
    Returns:
        None; for futures of an asynchronous client an awaitable that ends when all are decided.
    """
    given = [listed(entry) for entry in futures]
    session = _session_of(given)
    if session is None:
        return None
    state = Progress(records_in(session, given))
    if is_notebook() if notebook is None else notebook:
        _show_in_notebook(session, state)
        return None
    writer = _Writer(sys.stderr if file is None else file)
    if session.asynchronous:
        return _follow_async(session, state, writer)
    _follow(session, state, writer)
    return None


def is_notebook() -> bool:
    """Whether this program's prompt is one of Jupyter."""
    shell = sys.modules.get("IPython")
    prompt = None if shell is None else shell.get_ipython()
    return prompt is not None and type(prompt).__name__ == "ZMQInteractiveShell"


def _session_of(value: Any) -> Session | None:
    todo = [value]
    while todo:
        entry = todo.pop()
        if isinstance(entry, (Future, FutureSequence)):
            return entry._session
        if isinstance(entry, dict):
            todo.extend(entry.values())
        elif isinstance(entry, (list, tuple, set, frozenset)):
            todo.extend(entry)
    return None


class _Writer:
    """Writes the lines over those of before where that is possible."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._is_terminal = file.isatty()
        self._is_unicode = (getattr(file, "encoding", None) or "").lower().startswith("utf")
        self._height = 0
        self._told = -1.0

    def write(self, state: Progress) -> None:
        lines = state.text(self._is_unicode)
        if self._is_terminal:
            up = f"\x1b[{self._height}A" if self._height else ""
            self._file.write(up + "".join(f"\x1b[2K{line}\n" for line in lines))
            self._height = len(lines)
            self._file.flush()
            return
        total = sum(line.total for line in state.lines.values())
        share = state.decided / total if total else 1.0
        if state.is_over or share >= self._told + PLAIN_STEP:
            self._told = share
            self._file.write("\n".join(lines) + "\n")
            self._file.flush()


def _follow(session: Session, state: Progress, writer: _Writer) -> None:
    clock = threading.Event()  # never set: a wait that Ctrl-C ends
    writer.write(state)
    while not state.is_over:
        with contextlib.suppress(TimeoutError):
            session.wait_settled([state.last], state.pause_s)
        state.look()
        if not state.is_over:
            clock.wait(state.rest_s)
        writer.write(state)


async def _follow_async(session: Session, state: Progress, writer: _Writer) -> None:
    writer.write(state)
    while not state.is_over:
        with contextlib.suppress(TimeoutError):
            await session.wait_settled_async([state.last], state.pause_s)
        state.look()
        if not state.is_over:
            await asyncio.sleep(state.rest_s)
        writer.write(state)


def _show_in_notebook(session: Session, state: Progress) -> None:
    """A table, and a thread that renews it until all are decided or the client is closed."""
    from IPython.display import display

    handle = display(state, display_id=True)

    def renew() -> None:
        clock = threading.Event()
        while not state.is_over and session.status != "closed":
            clock.wait(state.pause_s)
            state.look()
            handle.update(state)

    if handle is not None:
        threading.Thread(target=renew, name="distributed-progress", daemon=True).start()
