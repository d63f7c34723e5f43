"""A module is edited between two calls, and the second call runs the new code. Nothing is restarted."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from distributed import distributed, setup, teardown

BEFORE = "def price(amount):\n    return amount * 100\n"
AFTER = "def price(amount):\n    return amount * 90  # a discount\n"


@distributed
def quote(amount: int) -> int:
    """What the shop asks for now."""
    import shop  # type: ignore[import-not-found]  # lazy: a module of the project that this program makes

    price: int = shop.price(amount)
    return price


def main() -> None:
    """Make a project, call, edit, call."""
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder, "shop.py")
        module.write_text(BEFORE)
        setup(workspace=folder)
        print("before:", quote(3).unwrap())
        module.write_text(AFTER)
        began = time.perf_counter()
        print("after:", quote(3).unwrap())
        print(f"edit to result: {time.perf_counter() - began:.3f} s")
        teardown()  # before the project is gone


if __name__ == "__main__":
    main()
