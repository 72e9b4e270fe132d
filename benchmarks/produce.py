"""Does jobs for the harness in a contender's own way: one JSON object per line in, its answer out.

    python produce.py contenders.huey_app

With BENCH_RECORD in the environment its calls to Redis pass through a recorder.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rig.recorder import Recorder
from rig.tape import Tape, split_list_pushes

if TYPE_CHECKING:
    from contenders.adapter import Adapter

_WARM_UP = 20
_AT_ONCE = 10_000


class Jobs:
    """What the harness may ask for, by the names of the methods."""

    def __init__(self, adapter: Adapter, recorder: Recorder | None) -> None:
        self._adapter = adapter
        self._recorder = recorder

    def fill(self, count: int, task: str, arguments: Sequence[Any]) -> float:
        start = time.perf_counter()
        for first in range(0, count, _AT_ONCE):
            self._adapter.enqueue_many(task, [tuple(arguments)] * min(_AT_ONCE, count - first))
        return time.perf_counter() - start

    def one_by_one(self, count: int, seconds: float) -> tuple[int, float]:
        sent = 0
        start = time.perf_counter()
        while sent < count and time.perf_counter() - start < seconds:
            self._adapter.enqueue_each("noop", [()] * 100)
            sent += 100
        return sent, time.perf_counter() - start

    def round_trips(self, count: int, seconds: float) -> list[float]:
        self._adapter.round_trips(_WARM_UP, 1.0)
        return self._adapter.round_trips(count, seconds)

    def record(self, first: int, count: int, file: str) -> None:
        recorder = self._recorder
        assert recorder is not None
        calls = [(index,) for index in range(first, first + count)]
        recorder.cut()
        if self._adapter.bulk_is_list:
            self._adapter.enqueue_many("stamp", calls)
            pieces = split_list_pushes(recorder.cut())
        else:
            pieces = []
            self._adapter.enqueue_each("stamp", calls, lambda: pieces.append(recorder.cut()))
        if len(pieces) != count:
            raise ValueError(f"{len(pieces)} messages were recorded where {count} were sent")
        Tape(pieces).write(Path(file))


def main(module: str) -> None:
    """Answer each line of standard input; what libraries print goes to standard error."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        recorder = None
        if "BENCH_RECORD" in os.environ:
            recorder = Recorder(int(os.environ["BENCH_RECORD"]))
            os.environ["BENCH_BROKER"] = f"redis://127.0.0.1:{recorder.port}/0"
        adapter = import_module(module).adapter
        adapter.connect()
        adapter.enqueue_each("noop", [()] * _WARM_UP)
        jobs = Jobs(adapter, recorder)
        for line in sys.stdin:
            order = json.loads(line)
            answer = getattr(jobs, order.pop("job"))(**order)
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
