"""Manifests and deltas: identity, round trips, and everything that a peer may not send."""

from __future__ import annotations

import hashlib
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.errors import ManifestError
from distributed.workspace.limits import PART_NBYTES_MAX, PATH_NBYTES_MAX, PATH_PARTS_MAX, WorkspaceLimits
from distributed.workspace.manifest import EXECUTABLE, FILE, SYMLINK, Delta, Entry, Manifest, find_bad_links


def entry(path: str, content: bytes = b"x", mode: int = FILE) -> Entry:
    return Entry(path, mode, len(content), hashlib.sha256(content).digest())


def sent(value: Any) -> Any:
    """As it arrives."""
    return msgpack.unpackb(msgpack.packb(value))


PARTS = st.sampled_from(["a", "b", "A", "é", "x.py", " ", "a b", "...", "..a", "ﬀ", "-", "\n"])
PATHS = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
CONTENTS = st.sampled_from([b"", b"x", b"yy"])


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    paths = sorted(draw(st.sets(PATHS, max_size=12)))
    free = [path for path in paths if not any(other.startswith(f"{path}/") for other in paths)]
    return Manifest(entry(path, draw(CONTENTS), draw(st.sampled_from([FILE, EXECUTABLE]))) for path in free)


@given(manifests())
def test_a_manifest_comes_back_from_the_wire(manifest: Manifest) -> None:
    back = Manifest.from_wire(sent(manifest.to_wire()))
    assert back == manifest
    assert (back.id, back.md5, back.nbytes) == (manifest.id, manifest.md5, manifest.nbytes)


@given(manifests(), manifests())
def test_a_delta_leads_from_any_manifest_to_any_other(base: Manifest, other: Manifest) -> None:
    """D08: what changed between two workspaces is enough to make the one of the other."""
    delta = Delta.from_wire(sent(other.delta(base).to_wire()))
    made = base.apply(delta)
    assert made == other
    assert made.id == other.id == delta.id


@given(manifests(), manifests())
def test_ids_are_equal_exactly_if_manifests_are(one: Manifest, other: Manifest) -> None:
    assert (one.id == other.id) is (one == other)


def test_the_id_is_that_of_the_documented_bytes() -> None:
    manifest = Manifest([entry("b", b"", EXECUTABLE), entry("a/é", b"hello")])
    hello, nothing = hashlib.sha256(b"hello").digest(), hashlib.sha256(b"").digest()
    wanted = b"distributed workspace 1\na/\xc3\xa9\x00644 5 " + hello + b"b\x00755 0 " + nothing
    assert manifest.id == hashlib.sha256(wanted).hexdigest()
    assert manifest.md5 == hashlib.md5(wanted).hexdigest()


def test_the_order_of_files_does_not_count() -> None:
    entries = [entry("a"), entry("b"), entry("d/c")]
    assert Manifest(entries).id == Manifest(reversed(entries)).id


def test_one_file_of_a_thousand_makes_a_delta_of_less_than_four_kilobytes() -> None:
    """D08: one touched file of 1,000 moves at most 4 KiB of manifest."""
    entries = [entry(f"package/folder{n // 25:03}/module{n:04}.py", b"%d" % n) for n in range(1_000)]
    base = Manifest(entries)
    entries[500] = entry(entries[500].path, b"other")
    delta = Manifest(entries).delta(base)
    assert len(msgpack.packb(delta.to_wire())) < 4_096
    assert [each.path for each in delta.changed] == [entries[500].path]
    assert delta.removed == ()


def wire(**changes: Any) -> dict[str, Any]:
    return {**Manifest([entry("a"), entry("b", b"yy")]).to_wire(), **changes}


LONG_PART = "p" * (PART_NBYTES_MAX + 1)


@pytest.mark.parametrize(
    ("paths", "rule"),
    [
        (["b", "a"], "sorted"),
        (["a", "a"], "sorted"),
        (["../a", "b"], "relative"),
        (["..", "b"], "relative"),
        ([".", "b"], "relative"),
        (["/a", "b"], "relative"),
        (["", "b"], "sorted"),
        (["a//b", "b"], "relative"),
        (["a/", "b"], "relative"),
        (["a/../b", "b"], "relative"),
        (["a/./b", "b"], "relative"),
        (["a\0b", "b"], "NUL"),
        (["a", "a/b"], "a file and a folder"),
        (["a", 5], "a text"),
        (["a", LONG_PART], f"parts of {PART_NBYTES_MAX}"),
        (["a", "é" * 200], f"parts of {PART_NBYTES_MAX}"),
        (["a", "/".join(["d" * 100] * 30)], f"at most {PATH_NBYTES_MAX}"),
        (["a", "/".join("d" * (PATH_PARTS_MAX + 1))], f"{PATH_PARTS_MAX} parts"),
        (["a", "\udcff"], "valid Unicode"),
    ],
)
def test_a_path_that_is_unsafe_is_refused(paths: list[Any], rule: str) -> None:
    with pytest.raises(ManifestError, match=rule):
        Manifest.from_wire(wire(paths=paths))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"paths": []},
        wire(more=1),
        wire(paths="ab"),
        wire(paths=["a"]),
        wire(modes=b"\0"),
        wire(modes=b"\0\3"),
        wire(modes="ab"),
        wire(sizes=[1]),
        wire(sizes=[1, -1]),
        wire(sizes=[1, True]),
        wire(sizes=[1, 1.0]),
        wire(sizes=[1, 2**63]),
        wire(digests=b"x" * 63),
        wire(digests=b"x" * 64),
        wire(digests="x" * 64),
        wire(modes=b"\2\0", sizes=[0, 2]),
        wire(modes=b"\2\0", sizes=[PATH_NBYTES_MAX + 1, 2]),
    ],
    ids=str,
)
def test_what_is_no_manifest_is_refused(value: Any) -> None:
    with pytest.raises(ManifestError):
        Manifest.from_wire(value)


def test_bounds_hold_for_manifests_and_for_what_deltas_lead_to() -> None:
    manifest = Manifest([entry("a", b"x" * 10), entry("b", b"y" * 10)])
    for limits in (WorkspaceLimits(nbytes_max=19), WorkspaceLimits(files_max=1)):
        with pytest.raises(ManifestError, match="at most"):
            Manifest.from_wire(manifest.to_wire(), limits)
        with pytest.raises(ManifestError, match="at most"):
            Manifest([entry("a", b"x" * 10)]).apply(manifest.delta(Manifest([entry("a", b"x" * 10)])), limits)


def test_names_that_collide_where_case_is_folded_are_refused_if_asked() -> None:
    for first, second in (("A.py", "a.py"), ("é", "e\u0301"), ("B/x", "b")):
        manifest = Manifest([entry(first), entry(second)])
        assert len(manifest.collisions()) == 1
        assert Manifest.from_wire(manifest.to_wire()) == manifest
        with pytest.raises(ManifestError, match="one file where case does not count"):
            Manifest.from_wire(manifest.to_wire(), folds_case=True)
    assert Manifest([entry("A/x"), entry("a/y"), entry("B/c/d"), entry("b/c/e")]).collisions() == []


@pytest.mark.parametrize(
    "change",
    [
        {"base": "0" * 64},
        {"id": "0" * 64},
        {"id": "x"},
        {"base": None},
        {"removed": ["nothing"]},
        {"removed": ["../a"]},
        {"removed": ["b", "a"]},
        {"removed": "a"},
        {"changed": {}},
        {"changed": Manifest([entry("a/b")]).to_wire()},
        {"more": 1},
    ],
    ids=str,
)
def test_a_delta_that_is_wrong_is_refused(change: dict[str, Any]) -> None:
    base = Manifest([entry("a"), entry("b")])
    value = {**Manifest([entry("a"), entry("c")]).delta(base).to_wire(), **change}
    with pytest.raises(ManifestError):
        base.apply(Delta.from_wire(value))


def test_two_entries_of_one_path_are_no_manifest() -> None:
    with pytest.raises(ManifestError, match="twice"):
        Manifest([entry("a"), entry("a", b"y")])


@pytest.mark.parametrize(
    ("links", "faults"),
    [
        ({"l": "a"}, {}),
        ({"l": "./d/../a"}, {}),
        ({"d/l": "../a"}, {}),
        ({"l": "d"}, {}),
        ({"l": "m", "m": "d/x"}, {}),
        ({"l": "m/x", "m": "d"}, {}),
        ({"d/l": "x"}, {}),
        ({"l": "/etc/passwd"}, {"l": "absolute"}),
        ({"l": "../a"}, {"l": "out of"}),
        ({"l": "d/../../w/a"}, {"l": "out of"}),
        ({"d/l": "m/../../a", "d/m": "."}, {"d/l": "out of", "d/m": "circle"}),
        ({"l": "nothing"}, {"l": "leads to nothing"}),
        ({"l": "a/x"}, {"l": "leads to nothing"}),
        ({"l": "l"}, {"l": "circle"}),
        ({"l": "m", "m": "l"}, {"l": "circle", "m": "circle"}),
        ({"d/l": ".."}, {"d/l": "circle"}),
        ({"d/l": "../d"}, {"d/l": "circle"}),
        ({"l": "m", "m": "/tmp"}, {"l": "absolute", "m": "absolute"}),
    ],
    ids=str,
)
def test_links_lead_to_files_and_folders_of_the_workspace(links: dict[str, str], faults: dict[str, str]) -> None:
    found = find_bad_links(["a", "d/x", *links], links)
    assert [link for link, _, _ in found] == sorted(faults)
    for link, target, fault in found:
        assert target == links[link]
        assert faults[link] in fault


def test_a_link_is_an_entry_of_its_own() -> None:
    manifest = Manifest([entry("a"), entry("l", b"a", SYMLINK)])
    assert Manifest.from_wire(sent(manifest.to_wire())) == manifest
    assert len(manifest.digests()) == 2
    assert repr(manifest).startswith(f"<Manifest {manifest.id[:12]}, 2 files")
