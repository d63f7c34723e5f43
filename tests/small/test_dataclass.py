"""Our `dataclass` does what the standard library's does, where both can do it."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any, ClassVar

import pytest

from distributed.dataclass import dataclass, field, fields, replace


@dataclass(slots=True)
class Parcel:
    kind: ClassVar[str] = "parcel"
    name: str
    weight: int = 1
    labels: list[str] = field(default_factory=list)
    opened: bool = field(default=False, init=False)
    log: list[str] = field(default_factory=list, init=False, repr=False)


@dataclass(slots=True)
class Sealed(Parcel):
    seal: str = "red"

    def __post_init__(self) -> None:
        self.log.append(self.seal)


@dataclass(slots=True, frozen=True)
class Place:
    street: str
    number: int = 1
    seen: list[str] = field(default_factory=list, compare=False)


@dataclass(slots=True, eq=False, repr=False)
class Record:
    name: str


@dataclass(slots=True)
class Nothing:
    """No field at all."""


def test_fields_are_given_by_place_by_name_or_by_default() -> None:
    assert str(Parcel("a")) == "Parcel(name='a', weight=1, labels=[], opened=False)"
    assert Parcel("a", 2, ["x"]) == Parcel(labels=["x"], weight=2, name="a")
    assert Parcel("a") != Parcel("b")
    assert Parcel("a") != Sealed("a")
    assert Parcel.kind == "parcel" and fields(Parcel)[0].name == "name"
    assert Nothing() == Nothing() and str(Nothing()) == "Nothing()"


def test_a_default_that_is_made_anew_is_shared_by_no_two() -> None:
    first, second = Parcel("a"), Parcel("b")
    first.labels.append("x")
    first.log.append("x")
    assert (second.labels, second.log) == ([], [])


def test_there_are_slots_and_nothing_else() -> None:
    with pytest.raises(AttributeError):
        Parcel("a").colour = "red"  # type: ignore[attr-defined]
    assert not hasattr(Sealed("a"), "__dict__")


def test_fields_are_inherited_and_the_hook_after_init_is_called() -> None:
    sealed = Sealed("a", 2, [], "blue")
    assert sealed.log == ["blue"] and sealed.name == "a"
    assert [each.name for each in fields(sealed)] == ["name", "weight", "labels", "opened", "log", "seal"]


def test_a_wrong_call_says_whose_and_what() -> None:
    with pytest.raises(TypeError, match=r"Parcel.__init__\(\) missing 1 required positional argument: 'name'"):
        Parcel()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'opened'"):
        Parcel("a", opened=True)  # type: ignore[call-arg]


def test_a_frozen_one_has_a_hash_and_refuses_to_be_changed() -> None:
    place = Place("here")
    assert {place: 1}[Place("here", 1, ["x"])] == 1
    with pytest.raises(AttributeError, match=r"Place.street cannot be assigned"):
        place.street = "there"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del place.street
    assert pickle.loads(pickle.dumps(place)) == copy.deepcopy(place) == place


def test_without_eq_two_are_equal_only_if_they_are_one() -> None:
    one, other = Record("a"), Record("a")
    assert one != other and len({one, other}) == 2
    assert "Record object" in str(one)


def test_one_with_eq_has_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Parcel("a"))


def test_replace_makes_another_one() -> None:
    parcel = Parcel("a", 2)
    assert replace(parcel, name="b") == Parcel("b", 2) and parcel.name == "a"
    with pytest.raises(TypeError, match="colour"):
        replace(parcel, colour="red")


def test_the_functions_of_the_standard_library_take_it_too() -> None:
    assert dataclasses.is_dataclass(Parcel)
    assert dataclasses.replace(Parcel("a", 2), name="b") == Parcel("b", 2)  # type: ignore[type-var]
    assert dataclasses.astuple(Place("here")) == ("here", 1, [])  # type: ignore[call-overload]
    assert [each.name for each in dataclasses.fields(Place)] == ["street", "number", "seen"]  # type: ignore[arg-type]


def test_defaults_that_cannot_work_are_refused() -> None:
    with pytest.raises(TypeError, match="the field 'b' without default follows one with"):

        @dataclass(slots=True)
        class Wrong:
            a: int = 1
            b: int

    with pytest.raises(TypeError, match="the default of field 'a' would be shared"):

        @dataclass(slots=True)
        class Shared:
            a: list[int] = []  # noqa: RUF012  (what is refused)


def test_signatures_are_those_of_the_standard_library() -> None:
    def signature(kind: Any) -> list[tuple[str, Any]]:
        return [(name, p.annotation) for name, p in inspect.signature(kind).parameters.items()]

    theirs = dataclasses.make_dataclass(
        "Parcel", [("name", "str"), ("weight", "int", 1), ("labels", "list[str]", None)]
    )
    assert signature(Parcel) == signature(theirs)


def test_two_of_one_shape_share_code_but_no_names_or_defaults() -> None:
    @dataclass(slots=True)
    class One:
        first: int
        second: int = 5

    @dataclass(slots=True)
    class Other:
        left: int
        right: str = "r"

    assert str((One(1), Other(2))).replace(
        "test_two_of_one_shape_share_code_but_no_names_or_defaults.<locals>.", ""
    ) == ("(One(first=1, second=5), Other(left=2, right='r'))")
    assert One.__init__.__code__.co_code == Other.__init__.__code__.co_code
