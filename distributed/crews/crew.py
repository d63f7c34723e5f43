"""A crew: the client, scheduler and rooms that serve one workspace; calls wait in it until it is open."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from distributed.client.client import Client
from distributed.client.futures import Future
from distributed.crews.call import Call
from distributed.crews.options import CallOptions, MainSettings
from distributed.ids import counter, unique_id

__all__ = ["Crew"]


class Crew:
    """See the module; it opens in a thread of its own from the moment it is made."""

    def __init__(self, settings: MainSettings) -> None:
        self.lock = threading.Lock()
        self._gate = threading.Event()
        self._waiting: list[tuple[Call, Callable[[Client], Future]]] = []
        self._client: Client | None = None
        self._error: BaseException | None = None
        self._id = unique_id("crew")[-12:]
        self._settings = settings
        threading.Thread(target=self._open, name="distributed-crew", daemon=True).start()

    def submit(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Call:
        """One call, now or when the crew is open."""
        key = f"{getattr(function, '__name__', 'call')}-{self._id}-{counter()}"
        call = Call(self, key, self._gate)

        def submit(client: Client) -> Future:
            return client.submit(function, *args, key=key, retries=options.retries, **kwargs)

        with self.lock:
            if self._client is None and self._error is None:
                self._waiting.append((call, submit))
                return call
        self._place(call, submit)
        return call

    def why_waiting(self) -> str:
        """For people: what has to happen before calls can run."""
        return "the workers are being started"

    def close(self) -> None:
        """End it; what waits fails."""
        if self._client is not None:
            self._client.close()

    def _open(self) -> None:
        try:
            client = Client(n_workers=self._settings.n_workers, threads_per_worker=self._settings.threads)
        except Exception as error:  # for whoever waits
            self._error = error
            client = None
        with self.lock:
            self._client, waiting, self._waiting = client, self._waiting, []
        for call, submit in waiting:
            self._place(call, submit)
        self._gate.set()

    def _place(self, call: Call, submit: Callable[[Client], Future]) -> None:
        if self._client is None:
            assert self._error is not None
            call.fail(self._error)
        else:
            call.place(submit(self._client))
