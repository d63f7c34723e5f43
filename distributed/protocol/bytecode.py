"""Functions that travel by value carry bytecode, which only its own minor version of Python can run; others crash.

So code objects are pickled with the version that made them, and another one refuses them by name when it loads them.
"""

from __future__ import annotations

import io
import sys
from collections import ChainMap
from functools import cache
from types import CodeType
from typing import Any, ClassVar

from distributed.errors import PythonMismatchError

__all__ = ["MINOR", "by_value", "code_from", "value_pickler"]

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


def by_value(value: Any, protocol: int, buffer_callback: Any = None) -> bytes:
    """As ``cloudpickle.dumps``. Raises what that does."""
    with io.BytesIO() as file:
        value_pickler()(file, protocol, buffer_callback=buffer_callback).dump(value)
        return file.getvalue()


@cache
def value_pickler() -> Any:
    """cloudpickle's ``Pickler``, with versions on code."""
    import cloudpickle  # lazy: 20 ms of import that most programs never need
    from cloudpickle.cloudpickle import _code_reduce

    def reduction(code: CodeType) -> tuple[Any, ...]:
        kind, arguments = _code_reduce(code)
        return (code_from, (MINOR, code.co_name, *arguments)) if kind is CodeType else (kind, arguments)

    class ValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table: ClassVar[Any] = ChainMap({CodeType: reduction}, cloudpickle.Pickler.dispatch_table)

    return ValuePickler


def code_from(minor: str, name: str, *arguments: Any) -> CodeType:
    """The code that was pickled.

    Raises:
        PythonMismatchError: by another minor version.
    """
    if minor != MINOR:
        raise PythonMismatchError(name, minor, MINOR)
    return CodeType(*arguments)
