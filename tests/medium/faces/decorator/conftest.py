"""A Main whose workers are threads of this process: all of the decorator's side is the real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distributed import Client
from distributed.client.futures import Future
from distributed.crews.options import CallOptions
from distributed.faces.decorator import starting
from distributed.rooms.references import packable


class NearMain:
    """What `distributed.crews.main.Main` does, without workspaces, offers and rooms."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def submit(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Future:
        """As `Main.submit`; futures of the engine are sources, too."""
        return self.client.submit(packable(function, None), *args, pure=False, retries=options.retries, **kwargs)

    def close(self) -> None:
        """The fixture does it."""


@pytest.fixture(scope="module")
def near_client() -> Iterator[Client]:
    with Client(processes=False, n_workers=1, threads_per_worker=4) as client:
        yield client


@pytest.fixture
def near_main(near_client: Client) -> NearMain:
    return NearMain(near_client)


@pytest.fixture
def near(near_main: NearMain, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Calls of decorated functions go to `near_client`."""
    monkeypatch.setattr(starting, "_main", near_main)
    return near_main.client
