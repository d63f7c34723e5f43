"""Tasks that fail: some are worth another try, the others bring their exception home."""

from __future__ import annotations

import argparse
import random

from distributed import Client, wait


def fetch_page(number: int) -> str:
    """A service that is down a third of the time, and does not know page 13."""
    if number == 13:
        raise LookupError("there is no page 13")
    if random.random() < 1 / 3:
        raise ConnectionError("try again")
    return f"page {number}"


def main() -> None:
    """Fetch twenty pages with up to ten retries each, and show what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", help="of a running scheduler")
    options = parser.parse_args()

    with Client(options.address) as client:
        pages = client.map(fetch_page, range(20), retries=10)
        wait(pages)
        print(len(client.gather(pages, errors="skip")), "pages came")
        for future in pages:
            if future.status == "error":
                print(future.key, "failed:", repr(future.exception()))
                print(future.traceback())


if __name__ == "__main__":
    main()
