"""What the workers do."""

from __future__ import annotations

import os
import sys
import time
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
def python() -> tuple[int, str]:
    """Which process a worker is, and which Python."""
    time.sleep(0.05)  # so that the calls after this one go to others
    return os.getpid(), f"{sys.version_info.major}.{sys.version_info.minor}"
