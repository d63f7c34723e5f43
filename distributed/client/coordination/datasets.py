"""The methods of a client that publish results under names, for others, and for programs that come later."""

from __future__ import annotations

from typing import Any

from distributed.client.coordination.errand import NOTHING, Errand
from distributed.client.part import ClientPart
from distributed.messages import RequestAnswered

__all__ = ["DatasetMethods"]

_RAISE = object()


class DatasetMethods(ClientPart):
    """A part of `Client`, see there."""

    def publish_dataset(self, *values: Any, name: str | None = None, override: bool = False, **named: Any) -> Any:
        """Keep results on the cluster under names, when this client is gone too, until `unpublish_dataset`.

            client.publish_dataset(numbers=client.map(load, paths))
            client.publish_dataset(futures, name='numbers')

        Args:
            values: one value, with `name`.
            override: put them in the place of what is published under the same names.
            named: futures, structures of futures, or anything of at most 1 MiB that can be pickled, by name.
        Raises:
            KeyError: the name is taken. CoordinationLimitError: too big: scatter it, and publish the future.
        """
        if len(values) > 1 or (name is None) != (not values):
            raise ValueError("give one value and name=, or name=value")
        datasets = {**named, **({name: values[0]} if name is not None else {})}
        errands = [
            (dataset, self._dataset("publish", dataset, count=int(override), item=value))
            for dataset, value in datasets.items()
        ]

        def check(dataset: str, answer: RequestAnswered | None) -> None:
            if answer is not None and answer.outcome == "taken":
                raise KeyError(f"dataset {dataset!r} is published already; say override=True, or another name")

        def now() -> None:
            for dataset, errand in errands:
                errand.now(lambda answer, dataset=dataset: check(dataset, answer))  # type: ignore[misc]

        async def later() -> None:
            for dataset, errand in errands:
                await errand.later(lambda answer, dataset=dataset: check(dataset, answer))  # type: ignore[misc]

        return self._live().run_or_await(now, later)

    def get_dataset(self, name: str, default: Any = _RAISE) -> Any:
        """What was published under `name`, its futures held by this client too.

        Raises:
            KeyError: nothing was, and there is no `default`.
        """
        errand = self._dataset("get", name)

        def finish(answer: RequestAnswered | None) -> Any:
            if answer is not None and answer.outcome == "done":
                return errand.take(answer)[0]
            if default is _RAISE:
                raise KeyError(f"dataset {name!r} is not published")
            return default

        return errand.run(finish)

    def list_datasets(self) -> Any:
        """Names of all published datasets, a tuple, in order of publication."""
        return self._dataset("list", "all").run(lambda answer: tuple(answer.names) if answer is not None else ())

    def unpublish_dataset(self, name: str) -> Any:
        """Keep what was published under `name` no more; who holds it goes on holding it.

        Raises:
            KeyError: nothing was.
        """

        def finish(answer: RequestAnswered | None) -> None:
            if answer is not None and answer.outcome == "unknown":
                raise KeyError(f"dataset {name!r} is not published")

        return self._dataset("unpublish", name).run(finish)

    def _dataset(self, verb: str, name: str, count: int = 0, item: Any = NOTHING) -> Errand:
        return Errand(self._live(), "dataset", [name], verb, count=count, item=item)
