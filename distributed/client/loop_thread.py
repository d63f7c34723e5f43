"""An event loop in a thread of its own, for clients of programs that have none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

__all__ = ["LoopThread", "run_on"]


class LoopThread:
    """Runs a new asyncio loop until `stop`; the thread is a daemon, so it never keeps a program alive."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._executor = ThreadPoolExecutor(thread_name_prefix=f"{name}-executor")
        self.loop.set_default_executor(self._executor)
        started = threading.Event()
        self.loop.call_soon(started.set)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        started.wait()

    def run(self, coroutine: Coroutine[Any, Any, Any], timeout_s: float | None = None) -> Any:
        """Run `coroutine` over there and wait here; TimeoutError and Ctrl-C cancel it."""
        return run_on(self.loop, coroutine, timeout_s)

    def stop(self) -> None:
        """Cancel what still runs, and end the thread. May be called twice."""
        if self.loop.is_closed() or not self._thread.is_alive():
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            # Its threads end by themselves; waiting for them could mean waiting for a name server.
            self._executor.shutdown(wait=False)
            self.loop.close()


def run_on(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], timeout_s: float | None) -> Any:
    """Run `coroutine` on a loop that another thread runs, and wait here; TimeoutError and Ctrl-C cancel it."""
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result(timeout_s)
    except BaseException:
        future.cancel()
        raise
    finally:
        del future  # it holds the exception, whose traceback holds this frame
