"""A `dataclass` that costs a tenth of the standard library's to make, for all that every process makes at its start.

The standard library writes the source text of five methods for each class and compiles it. Here text and equality are
shared by all classes, and `__init__` is compiled once for each *shape* (how many fields, which of them have a default
that is made anew); a class gets a copy with its own names in it. What comes out is called as fast as theirs.

Not here, use the standard library's: classes without slots, `order`, `kw_only`, `unsafe_hash`. Methods of these classes
cannot use `super()` without arguments (as with ``slots=True`` there).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar, dataclass_transform

__all__ = ["Field", "dataclass", "field", "fields", "replace"]

Kind = TypeVar("Kind", bound=type[Any])
Instance = TypeVar("Instance")

_MISSING: Any = type("_Missing", (), {"__slots__": (), "__repr__": lambda self: "<made anew>"})()


class Field:
    """What is known of one field; `name` and `type`, the text of its annotation, are filled in by `dataclass`."""

    __slots__ = ("compare", "default", "default_factory", "init", "name", "repr", "type")

    def __init__(
        self, default: Any, default_factory: Any, init: bool = True, repr: bool = True, compare: bool = True
    ) -> None:
        self.default = default
        self.default_factory = default_factory
        self.init = init
        self.repr = repr
        self.compare = compare
        self.name = ""
        self.type = ""

    @property
    def _field_type(self) -> Any:
        """What the functions of `dataclasses` (replace, asdict, ...) look at; who calls them has imported it."""
        return sys.modules["dataclasses"]._FIELD


def field(
    *,
    default: Any = _MISSING,
    default_factory: Any = _MISSING,
    init: bool = True,
    repr: bool = True,
    compare: bool = True,
) -> Any:
    """A field with a default that each instance makes anew, that is no argument, not shown, or not compared."""
    return Field(default, default_factory, init, repr, compare)


@dataclass_transform(field_specifiers=(field,))
def dataclass(*, slots: bool, eq: bool = True, repr: bool = True, frozen: bool = False) -> Callable[[Kind], Kind]:
    """Make a class of annotated fields: ``@dataclass(slots=True)``.

    Args:
        slots: True; it is written out so that readers know, and see that other ones are the standard library's.
        eq: instances are equal if all fields are, and have no hash. False: if they are the same, as objects are.
        repr: their text shows the fields.
        frozen: fields are not assigned after `__init__`; then they have a hash, of all fields.
    Raises:
        TypeError: a field without default follows one with, or a default is a list or the like, which all would share.
    """
    assert slots

    def make(kind: Kind) -> Kind:
        made: Kind = _make(kind, eq, repr, frozen)
        return made

    return make


def fields(kind: Any) -> tuple[Field, ...]:
    """The fields of such a class or of an instance of it, in order."""
    found: tuple[Field, ...] = kind._fields_
    return found


def replace(instance: Instance, **changes: Any) -> Instance:
    """Another one with these fields changed.

    Raises:
        TypeError: it has no such field, or none that is an argument.
    """
    values = {each.name: getattr(instance, each.name) for each in fields(instance) if each.init}
    return type(instance)(**{**values, **changes})


# ---------------------------------------------------------------- private


def _make(kind: Any, has_eq: bool, has_repr: bool, is_frozen: bool) -> Any:
    own = _own_fields(kind)
    names = {each.name for each in own}
    inherited = [each for each in getattr(kind, "_fields_", ()) if each.name not in names]
    every = (*inherited, *own)
    hidden = {"__dict__", "__weakref__", *names}
    content = {name: value for name, value in kind.__dict__.items() if name not in hidden}
    content["__slots__"] = tuple(each.name for each in own)
    content["_fields_"] = every
    content["__dataclass_fields__"] = {each.name: each for each in every}
    content["__match_args__"] = tuple(each.name for each in every if each.init)
    if has_repr and "__repr__" not in content:
        content["__repr__"] = _text
    if has_eq and "__eq__" not in content:
        content["__eq__"] = _are_equal
        content["__hash__"] = _hash if is_frozen else None
    if is_frozen:
        content.update(__setattr__=_refuse, __delattr__=_refuse, __reduce__=_reduce)
    made: Any = type(kind)(kind.__name__, kind.__bases__, content)
    made.__qualname__ = kind.__qualname__
    made.__init__ = _init_of(made, is_frozen)
    return made


def _own_fields(kind: Any) -> list[Field]:
    own = []
    for name, annotation in kind.__annotations__.items():
        if annotation.startswith("ClassVar"):
            continue
        default = kind.__dict__.get(name, _MISSING)
        if default.__hash__ is None:
            raise TypeError(f"the default of field {name!r} would be shared: use default_factory")
        each = default if isinstance(default, Field) else Field(default, _MISSING)
        each.name, each.type = name, annotation
        own.append(each)
    return own


def _text(self: Any) -> str:
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in self._fields_ if each.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _are_equal(self: Any, other: Any) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return all(getattr(self, each.name) == getattr(other, each.name) for each in self._fields_ if each.compare)


def _hash(self: Any) -> int:
    return hash(tuple(getattr(self, each.name) for each in self._fields_ if each.compare))


def _refuse(self: Any, name: str, value: Any = None) -> None:
    raise AttributeError(f"{type(self).__qualname__}.{name} cannot be assigned: it is frozen")


def _reduce(self: Any) -> tuple[Any, ...]:
    return type(self), tuple(getattr(self, each.name) for each in self._fields_ if each.init)


_templates: dict[tuple[str, bool, bool], FunctionType] = {}  # `__init__` by shape; its fields are called a0, a1, ...


def _init_of(kind: Any, is_frozen: bool) -> FunctionType:
    every: tuple[Field, ...] = kind._fields_
    shape = ("".join(map(_shape_of, every)), is_frozen, hasattr(kind, "__post_init__"))
    template = _templates.get(shape)
    if template is None:
        template = _templates[shape] = _template(*shape)
    name_of = {f"a{number}": each.name for number, each in enumerate(every)}
    code = template.__code__
    code = code.replace(
        co_names=tuple(name_of.get(name, name) for name in code.co_names),
        co_varnames=tuple(name_of.get(name, name) for name in code.co_varnames),
    )
    space: dict[str, Any] = {"MISSING": _MISSING}
    for number, each in enumerate(every):
        space[f"d{number}"] = each.default if each.default_factory is _MISSING else each.default_factory
        if is_frozen:
            space[f"s{number}"] = getattr(kind, each.name).__set__  # of the slot, around `__setattr__`
    init = FunctionType(code, space, "__init__", _defaults_of(every))
    init.__qualname__ = f"{kind.__qualname__}.__init__"  # what a wrong call's error says
    init.__annotations__ = {**{each.name: each.type for each in every if each.init}, "return": "None"}
    return init


def _shape_of(each: Field) -> str:
    """``.``: an argument; ``+``: one whose default is made anew; ``c``: no argument, constant; ``m``: made anew."""
    if each.default_factory is _MISSING:
        return "." if each.init else "c"
    return "+" if each.init else "m"


def _template(letters: str, is_frozen: bool, has_post: bool) -> FunctionType:
    value_of = {".": "a{0}", "+": "d{0}() if a{0} is MISSING else a{0}", "c": "d{0}", "m": "d{0}()"}
    line = " s{0}(self, {1})" if is_frozen else " self.a{0} = {1}"
    arguments = [f"a{number}" for number, letter in enumerate(letters) if letter in ".+"]
    lines = [line.format(number, value_of[letter].format(number)) for number, letter in enumerate(letters)]
    if has_post:
        lines.append(" self.__post_init__()")
    space: dict[str, Any] = {}
    exec("\n".join([f"def __init__({', '.join(['self', *arguments])}):", *(lines or [" return"])]), {}, space)
    template: FunctionType = space["__init__"]
    return template


def _defaults_of(every: tuple[Field, ...]) -> tuple[Any, ...]:
    """Of the arguments at the end. The constant of one whose default is made anew means: make it."""
    defaults: list[Any] = []
    for each in every:
        if not each.init:
            continue
        if each.default is not _MISSING or each.default_factory is not _MISSING:
            defaults.append(each.default)
        elif defaults:
            raise TypeError(f"the field {each.name!r} without default follows one with")
    return tuple(defaults)
