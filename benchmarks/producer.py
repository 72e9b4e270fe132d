"""Sends tasks one by one with ``.delay()``, then many at once, and prints both rates.

python producer.py stock_app 5000
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from celery import group
from workload import NOOP

_WARM_UP = 50
#: Tasks sent at once for each one sent by itself, where that is quick.
_BULK = 10


def main(module: str, count: int) -> None:
    """Print tasks per second of ``count`` calls and of a bulk call, after some that opened the connection."""
    task = import_module(module).app.tasks[NOOP]
    for _ in range(_WARM_UP if count > 1 else 0):
        task.delay()
    print(count / _seconds(lambda: [task.delay() for _ in range(count)] and None))
    if hasattr(task, "delay_many"):
        count *= _BULK
        print(count / _seconds(lambda: task.delay_many(() for _ in range(count))))
    else:
        print(count / _seconds(lambda: group(task.s() for _ in range(count)).apply_async()))


def _seconds(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
