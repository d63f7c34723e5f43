"""Events and variables: what is set once and seen by all."""

from __future__ import annotations

from distributed.scheduler.coordination.answering import answer, forget, line_up, refuse_to_wait
from distributed.scheduler.coordination.items import drop_item, keep_item
from distributed.scheduler.coordination.records import Event, Request, Variable
from distributed.scheduler.state import SchedulerState

__all__ = [
    "clear_event",
    "delete_variable",
    "get_variable",
    "is_event_set",
    "serve_event",
    "serve_variable",
    "set_event",
    "set_variable",
    "wait_for_event",
]


def wait_for_event(state: SchedulerState, request: Request) -> None:
    """Until it is set."""
    table = state.coordination.events
    event = table.setdefault(request.names[0], Event(request.names[0]))
    line_up(state, request, [event], [event.waiting])
    serve_event(state, event)
    if request.places:
        refuse_to_wait(state, request)
        serve_event(state, event)


def set_event(state: SchedulerState, request: Request) -> None:
    """Whoever waits goes on, and whoever comes from now on."""
    table = state.coordination.events
    event = table.setdefault(request.names[0], Event(request.names[0]))
    event.is_set = True
    answer(state, request)
    serve_event(state, event)


def clear_event(state: SchedulerState, request: Request) -> None:
    """Whoever comes from now on waits."""
    event = state.coordination.events.get(request.names[0])
    if event is not None and event.is_set:
        forget(state.coordination.events, event)  # nobody waits at one that is set
    answer(state, request)


def is_event_set(state: SchedulerState, request: Request) -> None:
    """Whether it is."""
    event = state.coordination.events.get(request.names[0])
    answer(state, request, "done" if event is not None and event.is_set else "no")


def serve_event(state: SchedulerState, event: Event) -> None:
    """Let go whoever waits for a set event; forget one that is not set and that nobody waits for."""
    if event.is_set:
        for request in list(event.waiting):
            answer(state, request)
    elif not event.waiting:
        forget(state.coordination.events, event)


def set_variable(state: SchedulerState, request: Request) -> None:
    """Everybody sees the new item from now on."""
    table = state.coordination.variables
    variable = table.setdefault(request.names[0], Variable(request.names[0]))
    old, variable.item = variable.item, request.item
    assert request.item is not None
    keep_item(state, request.item)
    if old is not None:
        drop_item(state, old)
    answer(state, request)
    serve_variable(state, variable)


def get_variable(state: SchedulerState, request: Request) -> None:
    """The item, once there is one."""
    table = state.coordination.variables
    variable = table.setdefault(request.names[0], Variable(request.names[0]))
    line_up(state, request, [variable], [variable.waiting])
    serve_variable(state, variable)
    if request.places:
        refuse_to_wait(state, request)
        serve_variable(state, variable)


def delete_variable(state: SchedulerState, request: Request) -> None:
    """There is no item any more; who asks from now on waits for the next."""
    variable = state.coordination.variables.get(request.names[0])
    if variable is not None and variable.item is not None:
        item, variable.item = variable.item, None
        drop_item(state, item)
        serve_variable(state, variable)
    answer(state, request)


def serve_variable(state: SchedulerState, variable: Variable) -> None:
    """Answer whoever waits, if there is an item; forget it if there is none and nobody waits."""
    if variable.item is not None:
        for request in list(variable.waiting):
            answer(state, request, items=[variable.item])
    elif not variable.waiting:
        forget(state.coordination.variables, variable)
