"""A whole program up to its first result: what "cluster start, from nothing" times.

``python first_result.py [JSON of LocalCluster keywords]`` prints 2. It runs unchanged with both packages.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from distributed import Client, LocalCluster


def inc(value: int) -> int:
    return value + 1


if __name__ == "__main__":
    keywords: dict[str, Any] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    with LocalCluster(n_workers=2, threads_per_worker=1, **keywords) as cluster, Client(cluster) as client:
        print(client.submit(inc, 1).result(), flush=True)
