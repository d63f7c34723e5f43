"""How functions and values are named for a room: a script that runs here, and the same script imported over there."""

from __future__ import annotations

import functools
import json
import pickle
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from distributed import errors
from distributed.protocol.serialize import Serialized, loads_payload
from distributed.rooms import entry as entry_module
from distributed.rooms.entry import be_main, be_room
from distributed.rooms.references import Carried, Reference, dumps_reference_payload, packable, unwrapped

ENTRY = "script_of_a_test"

SOURCE = """
import dataclasses, enum, functools, typing

class Decorated:
    is_distributed = True
    def __init__(self, function):
        functools.update_wrapper(self, function)
    def __call__(self, *args):
        return "a handle"

def logged(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper

@dataclasses.dataclass
class Point:
    x: int
    class Inner:
        def __eq__(self, other):
            return type(self) is type(other)

class Color(enum.Enum):
    RED = 1

class Wrong(Exception):
    def __init__(self, code):
        super().__init__(f"wrong: {code}")
        self.code = code
    def __reduce__(self):
        return Wrong, (self.code,)

T = typing.TypeVar("T")
Pair = typing.NamedTuple("Pair", [("a", int), ("b", int)])

def plain(x):
    return x + 1

@Decorated
def decorated(x):
    return (x, Point(x))

@logged
@Decorated
def outside(x):
    return "inner"

@Decorated
@logged
def inside(x):
    return "inner"

adder = lambda x: plain(x) + 1

def closure(n):
    return lambda x: (plain(x), Color.RED, n)

if __name__ == "__main__":
    def guarded(x):
        return x
"""


def run_as(name: str, patch: pytest.MonkeyPatch) -> Any:
    module = ModuleType(name)
    patch.setitem(sys.modules, name, module)
    exec(compile(SOURCE, "script.py", "exec", dont_inherit=True), module.__dict__)
    return module


class Sides:
    """A Main and a room in one process: the same script under two names."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.main, self.room, self._patch = run_as("__main__", patch), run_as(ENTRY, patch), patch
        patch.setattr(entry_module, "_place", None)
        self.go("main")

    def go(self, side: str) -> Any:
        self._patch.setitem(sys.modules, "__main__", self.main if side == "main" else sys)
        self._patch.setitem(sys.modules, ENTRY, self.main if side == "main" else self.room)
        return self.main if side == "main" else self.room

    def across(self, value: Any) -> Any:
        """`value` of the Main, as the room gets it."""
        self.go("main")
        payload = dumps_reference_payload(value, ENTRY)
        self.go("room")
        return loads_payload(payload)


@pytest.fixture
def sides(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sides]:
    yield Sides(monkeypatch)


def test_a_function_of_the_script_is_named_by_the_file(sides: Sides) -> None:
    reference = Reference.of(sides.main.plain, ENTRY)
    assert reference == Reference(ENTRY, "plain")
    assert reference.__name__ == "plain"
    blob = pickle.dumps(reference)
    sides.go("room")
    assert pickle.loads(blob) is sides.room.plain


@pytest.mark.parametrize("name", ["decorated", "inside", "outside"])
def test_a_reference_leads_through_decorators_to_the_function_inside(sides: Sides, name: str) -> None:
    function = unwrapped(getattr(sides.main, name))
    reference = Reference.of(function, ENTRY)
    assert reference == Reference(ENTRY, name)
    sides.go("room")
    assert reference.resolve() is unwrapped(getattr(sides.room, name))


def test_other_decorators_inside_of_ours_stay(sides: Sides) -> None:
    assert unwrapped(sides.main.inside).__wrapped__(1) == "inner"
    assert unwrapped(sides.main.plain) is sides.main.plain
    cached = functools.lru_cache(sides.main.plain)
    assert unwrapped(cached) is cached


def test_what_has_no_name_of_its_own_is_carried(sides: Sides) -> None:
    for function in (sides.main.adder, sides.main.closure(3), functools.partial(sides.main.plain, 1), lambda: 1):
        assert isinstance(packable(function, ENTRY), Carried)
    assert isinstance(packable(sides.main.decorated, ENTRY), Reference)
    assert isinstance(packable(sides.main.plain, None), Carried), "a notebook has no file"


def test_a_closure_uses_what_the_room_has_by_name(sides: Sides) -> None:
    blob = pickle.dumps(packable(sides.main.closure(3), ENTRY))
    sides.go("room")
    value = pickle.loads(blob)(1)
    assert value == (2, sides.room.Color.RED, 3)
    assert value[1] is sides.room.Color.RED


def test_values_of_the_scripts_classes_are_of_the_rooms_classes_there(sides: Sides) -> None:
    """D11: dataclasses, enums, nested classes, named tuples, exceptions, functions, classes themselves."""
    main, room = sides.main, sides.room
    value = [main.Point(1), main.Color.RED, main.Point.Inner(), main.Pair(1, 2), main.Wrong(7), main.Point, main.plain]
    value += [main.Point.__init__, main.T, unwrapped(main.decorated), main, main.decorated]
    there = sides.across(value)
    assert there[:4] == [room.Point(1), room.Color.RED, room.Point.Inner(), room.Pair(1, 2)]
    assert (type(there[4]), there[4].code) == (room.Wrong, 7)
    assert there[5] is room.Point
    assert there[6] is room.plain
    assert there[7] is room.Point.__init__
    assert there[8] is room.T
    assert there[9] is unwrapped(room.decorated)
    assert there[10] is room
    assert there[11] is room.decorated


def test_results_come_back_as_the_scripts_own_classes(sides: Sides) -> None:
    """D11: the Main answers to the entry's name too."""
    sides.go("room")
    results = [sides.room.Point(1), sides.room.Color.RED, sides.room.Wrong(3)]
    blob = pickle.dumps(results)
    sides.go("main")
    back = pickle.loads(blob)
    assert back[0] == sides.main.Point(1)
    assert back[1] is sides.main.Color.RED
    assert type(back[2]) is sides.main.Wrong


def test_a_second_copy_of_the_script_that_a_helper_has_imported_is_the_script(sides: Sides) -> None:
    there = sides.across([sides.room.Point(5)])
    assert there == [sides.room.Point(5)]


def test_a_value_with_a_lambda_in_it_keeps_names_for_the_rest(sides: Sides) -> None:
    there = sides.across({"point": sides.main.Point(1), "of": lambda x: x * 2})
    assert there["point"] == sides.room.Point(1)
    assert there["of"](4) == 8


def test_big_buffers_travel_beside_the_pickle(sides: Sides) -> None:
    whole = bytes(100_000)
    payload = dumps_reference_payload([pickle.PickleBuffer(bytearray(whole)), sides.main.Point(1)], ENTRY)
    assert isinstance(payload, Serialized)
    assert [len(bytes(frame)) for frame in payload.frames[1:]] == [100_000]
    plain = dumps_reference_payload(whole, ENTRY)
    assert isinstance(plain, Serialized)
    assert plain.frames[1] is whole


def test_without_a_file_the_script_travels_by_value(sides: Sides) -> None:
    payload = dumps_reference_payload(sides.main.Point(4), None)
    sides.go("room")
    assert loads_payload(payload).x == 4


def test_what_cannot_be_pickled_is_said_by_name(sides: Sides) -> None:
    with pytest.raises(errors.UnpicklableError, match="an argument of type list"):
        dumps_reference_payload([sys._getframe()], ENTRY)


def test_what_stands_below_the_guard_is_missed_by_name(sides: Sides) -> None:
    reference = Reference.of(sides.main.guarded, ENTRY)
    assert reference is not None
    sides.go("room")
    with pytest.raises(errors.NameMissingError, match="at the top level"):
        reference.resolve()


def test_a_missing_module_is_told_with_its_cure(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_module, "_failures", {})
    with pytest.raises(errors.ModuleMissingError, match=r"no_such_module.part cannot .* requirements=") as caught:
        Reference("no_such_module.part", "f").resolve()
    assert caught.value.missing == "no_such_module"


def test_a_module_that_raises_says_what_and_is_not_tried_for_every_call(
    sides: Sides, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(entry_module, "_failures", {})
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "tried_once.py").write_text("import sys; sys.tries = getattr(sys, 'tries', 0) + 1; sys.exit('no')")
    for _ in range(3):
        with pytest.raises(errors.ModuleFailedError, match="SystemExit: no"):
            Reference("tried_once", "f").resolve()
    assert vars(sys).pop("tries") == 1


def test_modules_of_the_workspace_come_before_those_that_are_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(entry_module, "_place", None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "sndhdr_of_test.py").write_text("here = True")
    monkeypatch.setitem(sys.modules, "sndhdr_of_test", ModuleType("sndhdr_of_test"))
    sys.modules["sndhdr_of_test"].__file__ = "/elsewhere/sndhdr_of_test.py"
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "data.json").touch()
    source = tmp_path / "source"
    installed = source / ".venv" / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (source / "src").mkdir()
    sys.path[:0] = [str(source), str(source / "src"), str(installed)]
    be_room("ab" * 32, str(tmp_path), [".", "src"], source=str(source))
    assert sys.path[:3] == [str(tmp_path), str(tmp_path / "src"), str(installed)]
    assert str(source) not in sys.path
    assert entry_module.import_module("sndhdr_of_test").here
    assert sys.modules["json"] is json, "a folder of data hides no module"
    assert entry_module.is_inside()
    assert entry_module.workspace_root() == tmp_path


def test_the_main_knows_its_script_by_two_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(entry_module, "_place", None)
    script = tmp_path / "script.py"
    script.touch()
    main = ModuleType("__main__")
    main.__file__ = str(script)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert entry_module.workspace_root() == tmp_path.resolve()
    monkeypatch.setitem(sys.modules, ENTRY, sys)
    be_main(str(tmp_path), ENTRY)
    assert sys.modules[ENTRY] is sys.modules["__main__"]
    package = ModuleType("package_of_test")
    monkeypatch.setitem(sys.modules, "package_of_test", package)
    monkeypatch.setitem(sys.modules, "package_of_test.tool", sys)
    be_main(str(tmp_path), "package_of_test.tool")
    assert package.tool is sys.modules["package_of_test.tool"] is main
    assert not entry_module.is_inside()
    assert entry_module.workspace_root() == tmp_path
