"""The methods of a client that run failed tasks again, and the one that makes an executor of it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from distributed.client.part import ClientPart
from distributed.client.structures import listed, records_in
from distributed.messages import RetryKeys

__all__ = ["CallMethods"]


class _Done:
    """An awaitable of None that nobody has to await."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


class CallMethods(ClientPart):
    """A part of `Client`, see there."""

    def retry(self, futures: Any) -> Any:
        """Run tasks that failed once more, and whatever failed before them; returns at once.

        Their futures are pending again, for every client that holds them. They have all their retries again, and the
        deaths of workers are forgotten.

        Args:
            futures: a future, or any structure of futures; those that did not fail are left alone, and so are those
                that could not be sent, for which there is nothing to run again.
        Raises:
            CommClosedError: the client is closed.
        """
        session = self._live()
        with session.table.lock:
            session.check_open()
            keys = session.table.begin_retrying(records_in(session, [listed(futures)]))
            if keys:
                session.link.outbox.append(RetryKeys(keys))
        session.link.wake()
        return _Done() if self.asynchronous else None

    def get_executor(
        self,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        **submit_options: Any,
    ) -> Any:
        """A `concurrent.futures.Executor` whose calls run on this client's cluster; see `distributed.Executor`.

        Args:
            initializer, initargs: called once in every worker process, before the first call there.
            submit_options: how its calls run, as for `submit`: ``workers resources retries priority
                allow_other_workers platform memory_limit timeout redundant threads``.
        """
        from distributed.client.executor import Executor  # lazy: few programs want one

        client: Any = self  # a Client, whose part this is
        return Executor(client=client, initializer=initializer, initargs=initargs, submit_options=submit_options)
