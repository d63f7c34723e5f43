"""What the workers do."""

from __future__ import annotations

import sys
from collections import Counter

from distributed import distributed
from library.chapters import Chapter, EmptyChapterError


@distributed(retries=1)
def count(chapter: Chapter) -> tuple[str, Counter[str]]:
    """The chapter's number as books print it, and how often each word is in it."""
    import roman  # lazy: of requirements.txt, which the workers have and the Main does not need

    words = chapter.text.lower().split()
    if not words:
        raise EmptyChapterError(f"chapter {chapter.number} has no words")
    return roman.toRoman(chapter.number), Counter(words)


@distributed
def python() -> str:
    """Which Python a worker is."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"
