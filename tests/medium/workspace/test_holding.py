"""Any series of edits, shipped one after the other by an honest or a forgetful Main, arrives as it was."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from distributed.testing.workspaces import Project, read_tree
from distributed.workspace.holding import Holding
from distributed.workspace.manifest import Manifest
from distributed.workspace.scanning import Workspace
from distributed.workspace.store import BlobStore, on_disk

NAMES = ["a.py", "b.py*", "d/c.py", "d/e/f.txt", "d/link@", "z"]
CONTENTS = ["", "x", "y" * 5000, "a.py", "same"]
Edits = list[dict[str, str]]


@some.composite
def edits(draw: some.DrawFn) -> Edits:
    """States of a project, one after the other; its link leads to a file that is always there."""
    states = []
    for _ in range(draw(some.integers(1, 5))):
        files = draw(some.dictionaries(some.sampled_from(NAMES), some.sampled_from(CONTENTS), max_size=6))
        if "d/link@" in files:
            files["d/link@"] = "../a.py"
            files.setdefault("a.py", "linked")
        states.append(files)
    return states


def bring(holding: Holding, project: Project, manifest: Manifest, known: Manifest | None, forget: bool) -> None:
    """What `ship` does, without a wire."""
    delta = None if known is None or forget else manifest.delta(known).to_wire()
    answer = holding.offer(manifest.id, delta=delta)
    if "lacks" not in answer:
        answer = holding.offer(manifest.id, manifest=manifest.to_wire())
    for digest in answer["lacks"]:
        left = holding.take(manifest.id, [digest], [0], [project.content_by_digest[digest]])
    assert not answer["lacks"] or left == 0


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(states=edits(), forgets=some.lists(some.booleans(), min_size=5, max_size=5), is_tight=some.booleans())
def test_every_state_of_a_project_arrives_as_it_was(states: Edits, forgets: list[bool], is_tight: bool) -> None:
    """D08: deltas, manifests and contents in any mixture lead to the same tree, also in a store that evicts."""
    with tempfile.TemporaryDirectory() as folder:
        store = BlobStore(f"{folder}/store", (9 if is_tight else 1000) * on_disk(1))
        holding = Holding(store)
        known = None
        for number, (files, forget) in enumerate(zip(states, forgets, strict=False)):
            project = Project(files)
            manifest = project.manifest()
            bring(holding, project, manifest, known, forget)
            assert holding.lay_out(manifest.id, f"{folder}/w{number}", lambda: True)
            assert read_tree(f"{folder}/w{number}") == files
            assert store.usage() <= store.nbytes_max
            known = manifest
        holding.close()
        holding.close()
        store.close()


def test_a_real_project_arrives_as_it_lies_there(tmp_path: Path) -> None:
    """D08: what a scan of a folder finds is what is laid out."""
    root = tmp_path / "project"
    for name, content in {
        "main.py": "import pkg\n",
        "pkg/__init__.py": "",
        "ünï/ö.txt": "ä",
        "run": "#!/bin/sh\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "run").chmod(0o755)
    (root / "pkg" / "link").symlink_to("../main.py")
    workspace = Workspace(root)
    manifest = workspace.scan()
    store = BlobStore(str(tmp_path / "store"), 2**20)
    holding = Holding(store)
    for digest in holding.offer(manifest.id, manifest=manifest.to_wire())["lacks"]:
        holding.take(manifest.id, [digest], [0], [workspace.read(digest)])
    assert holding.lay_out(manifest.id, str(tmp_path / "w"), lambda: True)
    assert read_tree(str(tmp_path / "w")) == read_tree(str(root))
    assert Workspace(tmp_path / "w").scan().id == manifest.id
    holding.close()
    store.close()
