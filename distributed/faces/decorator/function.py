"""Distributed: a function whose calls run on workers; `distributed` is the decorator that makes it of yours.

On the Main a call is given to the Main's scheduler, and a handle comes back at once. Inside a task it runs there and
then, and the handle has its outcome already; or it goes back to the Main's scheduler or to other workers, if the
function was decorated so. Not here: handles (`task`), `setup` (`starting`), `map` (`mapping`).
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import sys
from collections.abc import Callable, Coroutine, Iterable
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Generic, ParamSpec, TypeVar, overload

from distributed.crews.options import CallOptions
from distributed.errors import CalledByImportError, ConfigError, NestedCallError, NoMatchError, UndistributableError
from distributed.faces.decorator.arguments import packed, plain
from distributed.faces.decorator.chunks import Chunked
from distributed.faces.decorator.mapping import checked_chunk, start_chunks, start_measured
from distributed.faces.decorator.sides import Sides, side
from distributed.faces.decorator.sources import Made, Outcome, Running, Source, error_of, ran
from distributed.faces.decorator.starting import main
from distributed.faces.decorator.task import Remote, Task, TaskSequence
from distributed.ids import counter
from distributed.rooms.entry import is_importing, is_inside
from distributed.units import parse_nbytes

__all__ = ["Bound", "Distributed", "distributed"]

P = ParamSpec("P")
R = TypeVar("R")

NESTED = ("inline", "error")


class Distributed(Remote, Generic[P, R]):
    """A function whose calls return handles at once, and run on workers; made by `distributed`.

    It looks like the function it was made of: name, documentation, signature, attributes. In a class it makes a method;
    the object then travels as the first argument, so what the method changes in it stays on the worker.

    Attributes:
        options: what its calls ask of workers.
        nested: what its calls do inside tasks: ``'inline'`` or ``'error'``.
    """

    is_distributed = True  # references to it lead to the function, see `distributed.rooms.references`
    __wrapped__: Callable[P, R]

    def __init__(self, function: Callable[P, R], options: CallOptions, nested: str) -> None:
        functools.update_wrapper(self, function)
        self.options = options
        self.nested = nested
        self._chunked: Chunked | None = None
        module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
        self._name = f"{module or 'unknown'}/{name or type(function).__name__}"

    @property
    def name(self) -> str:
        """What it is called among all functions of the workspace: ``module/name``."""
        return self._name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Task[R]:
        """The handle of a call that has begun, or will."""
        if side() is Sides.WORKER:
            return Task(self._start_nested(args, kwargs), self._name)
        return Task(self._submit(self.__wrapped__, args, kwargs), self._name)

    def local(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The function as it was written, called here and now."""
        return self.__wrapped__(*args, **kwargs)

    def map(self, *iterables: Iterable[Any], chunk: int | None = None) -> TaskSequence[R]:
        """The handles of a call for each element, as the builtin `map` makes them of several iterables; at once.

        Args:
            chunk: calls that go to a worker as one task; None: as measured, so that a task takes about 50 ms. Calls
                of one task have outcomes of their own, but are cancelled together, and lost together if they kill
                their worker.
        """
        length = checked_chunk(chunk)
        calls = list(zip(*iterables, strict=False))
        if side() is Sides.WORKER:
            return TaskSequence([self._start_nested(args, {}) for args in calls], self._name)
        if length is None:
            sources = start_measured(self._new_key(), calls, self._start, self._start_chunk)
        else:
            sources = start_chunks(calls, length, self._start, self._start_chunk)
        return TaskSequence(sources, self._name)

    # ------------------------------------------------------------ as others see it

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Distributed[P, R]: ...

    @overload
    def __get__(self, instance: object, owner: Any = None) -> Bound: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else Bound(self, instance)

    def __reduce__(self) -> Any:
        # By name where the name leads here; in a script the pickler of rooms does that, and a notebook has no names.
        module, qualname = self.__module__, getattr(self, "__qualname__", "<none>")
        if module != "__main__" and "<" not in qualname:
            found: Any = sys.modules.get(module)
            for part in qualname.split("."):
                found = getattr(found, part, None)
            if found is self:
                return qualname
        return Distributed, (self.__wrapped__, self.options, self.nested)

    def __repr__(self) -> str:
        return f"<Distributed: {self._name}>"

    # ------------------------------------------------------------ private

    def _new_key(self) -> str:
        return f"{self._name.rpartition('/')[2]}-{counter()}"

    def _start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Source:
        return self._submit(self.__wrapped__, args, kwargs)

    def _start_chunk(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Source:
        if self._chunked is None:
            self._chunked = Chunked(self.__wrapped__, self.options.retries, finished)
        return self._submit(self._chunked, args, kwargs)

    def _submit(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Source:
        """What stands for a call of the Main with these arguments, whatever handles are in them."""
        arguments = packed(args, kwargs, self._submit)
        if arguments is None:
            return self._give(function, args, kwargs)
        if arguments.error is not None:
            return Outcome(self._new_key(), error=arguments.error)
        if arguments.late is None:
            return self._give(function, arguments.args, arguments.kwargs)

        def make(done: Source) -> Source:
            error = error_of(done, 0)
            return self._submit(function, args, kwargs) if error is None else Outcome(self._new_key(), error=error)

        return Made(self._new_key(), arguments.late, make)

    def _give(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Source:
        if is_inside():
            from distributed.crews import inside  # lazy: see `starting.main`

            try:
                return inside.submit(function, args, kwargs, self.options)
            except NoMatchError as error:  # as on the Main the handle tells
                return Outcome(self._new_key(), error=error)
        source: Source = main().submit(function, args, kwargs, self.options)
        return source

    def _start_nested(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Source:
        if is_importing():
            raise CalledByImportError(self._name)
        if self.nested == "error":
            raise NestedCallError(self._name)
        if self.options.redistribute is not None and is_inside():
            return self._submit(self.__wrapped__, args, kwargs)
        if inspect.iscoroutinefunction(self.__wrapped__) and _has_loop():
            return Running(self._new_key(), self.__wrapped__(*args, **kwargs))

        def run() -> Any:
            given, named = plain(args, kwargs)
            value: Any = self.__wrapped__(*given, **named)
            return finished(value)

        return ran(self._new_key(), run)


class Bound(Remote):
    """A method whose calls run on workers, of one object, which travels as the first argument."""

    is_distributed = True

    def __init__(self, function: Distributed[Any, Any], instance: Any) -> None:
        self.__func__ = function
        self.__self__ = instance
        self.__wrapped__ = function.__wrapped__.__get__(instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Task[Any]:
        return self.__func__(self.__self__, *args, **kwargs)

    def map(self, *iterables: Iterable[Any], chunk: int | None = None) -> TaskSequence[Any]:
        """As `Distributed.map`."""
        return self.__func__.map(itertools.repeat(self.__self__), *iterables, chunk=chunk)

    def local(self, *args: Any, **kwargs: Any) -> Any:
        """The method as it was written, called here and now."""
        return self.__func__.local(self.__self__, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__func__, name)

    def __repr__(self) -> str:
        return f"<Distributed: {self.__func__.name} of {self.__self__!r}>"


@overload
def distributed(function: Callable[P, Coroutine[Any, Any, R]], /) -> Distributed[P, R]: ...


@overload
def distributed(function: Callable[P, R], /) -> Distributed[P, R]: ...


@overload
def distributed(
    *,
    platform: str | Iterable[str] = "*",
    threads: int = -1,
    memory: int | str = -1,
    strict: bool = False,
    retries: int = 0,
    redistribute: str | None = None,
    nested: str = "inline",
) -> Callable[[Callable[P, R]], Distributed[P, R]]: ...


def distributed(
    function: Any = None,
    /,
    *,
    platform: str | Iterable[str] = "*",
    threads: int = -1,
    memory: int | str = -1,
    strict: bool = False,
    retries: int = 0,
    redistribute: str | None = None,
    nested: str = "inline",
) -> Any:
    """A decorator: calls of the function return a `Task` at once, and run on workers.

        @distributed
        def square(x): return x * x

        @distributed(platform='linux', threads=4, memory='2 GiB')
        def align(sequence): ...

    Functions, methods, static and class methods (below ``@staticmethod`` and ``@classmethod``), async functions, and
    generators, whose calls give the list of what they yield.

    Args:
        platform: tags of workers that will do, as patterns of file names: ``'linux'``, ``'linux-x86_64'``; one or more.
        threads: slots of a worker that a call takes; -1: one.
        memory: bytes that must be free there, such as ``'2 GiB'``; -1: whatever there is.
        strict: fail if no worker can ever match; else such calls run on any worker, with a warning.
        retries: how often a call is tried again when it raises, >= 0.
        redistribute: what calls do inside a task: None: they run there and then, as plain calls; ``'relayed'``: the
            Main's scheduler gives them to workers; ``'direct'``: the worker gives them to other workers itself.
        nested: ``'error'``: calls inside a task are refused with NestedCallError.
    Raises:
        UndistributableError: this cannot be decorated; the text says what to write instead.
        ConfigError: an option with a value that cannot be.
    """
    if nested not in NESTED:
        raise ConfigError("nested", nested, f"it is one of {', '.join(NESTED)}")
    if type(strict) is not bool:
        raise ConfigError("strict", strict, "it is True or False")
    options = CallOptions(
        platform=(platform,) if isinstance(platform, str) else tuple(platform),
        threads=threads,
        memory_nbytes=-1 if memory == -1 else parse_nbytes(memory, "memory"),
        strict=strict,
        retries=retries,
        redistribute=redistribute,
    ).check()
    if function is None:
        return lambda given: Distributed(_checked(given), options, nested)
    return Distributed(_checked(function), options, nested)


def _checked(function: Any) -> Any:
    name = getattr(function, "__qualname__", None) or type(function).__name__
    if isinstance(function, (staticmethod, classmethod, property)):
        kind = type(function).__name__
        raise UndistributableError(name, f"it is a {kind} already; write @distributed below @{kind}")
    if isinstance(function, Remote):
        raise UndistributableError(name, "it is @distributed already; decorate it once")
    if isinstance(function, type):
        raise UndistributableError(name, "it is a class; decorate its methods, or a function that makes one")
    if not callable(function):
        raise UndistributableError(
            repr(function), "it cannot be called; options are given by name: @distributed(platform='linux-*')"
        )
    return function


_UNFINISHED = frozenset({GeneratorType, CoroutineType, AsyncGeneratorType})


def finished(value: Any) -> Any:
    """What a worker makes of what a function returned: a generator becomes a list, a coroutine its result."""
    if type(value) not in _UNFINISHED:
        return value
    if type(value) is GeneratorType:
        return list(value)
    return asyncio.run(value if type(value) is CoroutineType else _listed(value))


async def _listed(values: Any) -> list[Any]:
    return [value async for value in values]


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
