"""Manifests that are small themselves, and would be much work for whoever believes them."""

from __future__ import annotations

import pytest

from distributed.errors import ManifestError
from distributed.workspace.limits import LINKS_MAX, WorkspaceLimits
from distributed.workspace.manifest import FILE, SYMLINK, Entry, Manifest, find_bad_links

SMALL = WorkspaceLimits(nbytes_max=10**6, files_max=1_000)


def test_few_paths_cannot_name_many_folders() -> None:
    """D09: a bomb of folders is refused before any is made."""
    entries = [Entry(f"{n}/" + "a/" * 100 + "f", FILE, 0, bytes(32)) for n in range(50)]
    with pytest.raises(ManifestError, match="more than 1000 folders"):
        Manifest.from_wire(Manifest(entries).to_wire(), SMALL)


def test_a_workspace_has_a_bounded_number_of_links() -> None:
    """D09: links are bounded, since each is followed."""
    entries = [Entry(f"l{n}", SYMLINK, 1, b"x" * 32) for n in range(LINKS_MAX + 1)]
    with pytest.raises(ManifestError, match="5001 links; at most 5000"):
        Manifest.from_wire(Manifest(entries).to_wire())


def test_a_link_is_followed_for_a_bounded_number_of_steps() -> None:
    """D09: links that lead through each other cost little to refuse."""
    targets = {f"l{n}": "a/../" * 400 + f"l{n + 1}" for n in range(30)}
    targets["l30"] = "a"
    faults = find_bad_links(["a/f", *targets], targets)
    assert [fault for link, _, fault in faults if link == "l0"] == ["it takes more than 2000 steps to follow it"]
    assert "l29" not in [link for link, _, _ in faults]
