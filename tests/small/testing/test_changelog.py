"""The changelog is made of notes: each in its place, older releases untouched."""

from __future__ import annotations

from pathlib import Path

from distributed.testing import changelog

OLD = "## 1.0 (2025-01-01)\n\n- The first one.\n"


def test_notes_are_sorted_by_kind_and_name() -> None:
    notes = {
        "b.feature.md": "Second,\non two lines.",
        "a.feature.md": "First.",
        "c.fix.md": "Mended.",
        "d.break.md": "Gone.",
    }
    assert changelog.section(notes, "2.0") == (
        "## 2.0 (not yet released)\n\n### What has to be changed\n\n- Gone.\n\n"
        "### New\n\n- First.\n- Second,\n  on two lines.\n\n### Mended\n\n- Mended.\n"
    )


def test_only_what_is_not_released_is_written_anew() -> None:
    text = f"# Changelog\n\nWords.\n\n## 2.0 (not yet released)\n\n- Old note.\n\n{OLD}"
    new = changelog.section({"a.fix.md": "New note."}, "2.0")
    written = changelog.with_section(text, new)
    assert written == f"# Changelog\n\nWords.\n\n{new}\n{OLD}"
    assert changelog.with_section(written, new) == written


def test_the_first_note_after_a_release_begins_a_section() -> None:
    new = changelog.section({"a.fix.md": "New note."}, "2.0")
    assert changelog.with_section(f"# Changelog\n\n{OLD}", new) == f"# Changelog\n\n{new}\n{OLD}"


def test_the_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "docs" / "changes").mkdir(parents=True)
    (tmp_path / "docs" / "changes" / "x.feature.md").write_text("Something new.\n")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n")
    assert changelog.main([str(tmp_path)]) == 0
    assert "### New\n\n- Something new.\n" in (tmp_path / "CHANGELOG.md").read_text()
