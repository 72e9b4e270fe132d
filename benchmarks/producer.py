"""Sends tasks one by one with ``.delay()`` and prints how long it took, as a program of its own.

python producer.py stock_app 5000
"""

from __future__ import annotations

import sys
import time
from importlib import import_module

from workload import NOOP

_WARM_UP = 50


def main(module: str, count: int) -> None:
    """Print the seconds that ``count`` calls took, after some that opened the connection."""
    task = import_module(module).app.tasks[NOOP]
    for _ in range(_WARM_UP if count > 1 else 0):
        task.delay()
    start = time.perf_counter()
    for _ in range(count):
        task.delay()
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
