"""What a worker's processes count, in memory that outlives their SIGKILL and that its supervisor reads.

A page belongs to one process at a time, which alone writes it: the supervisor reads without a lock, and a
shard that replaces another counts on. A row's name is there once its length is, which is written last.
"""

from __future__ import annotations

import mmap
import threading
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

import msgspec

__all__ = ["BOUNDS", "OTHER", "OUTCOMES", "SIZES", "Counts", "Histogram", "Page", "Tally", "TaskCounts"]

#: Upper bounds of the histograms in seconds; the last one is infinite.
BOUNDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
#: The same for sizes of messages, in bytes.
SIZES: Final = (512, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 16_777_216)
#: What becomes of a delivery that was started, or refused because it was revoked or had expired.
OUTCOMES: Final = ("succeeded", "failed", "retried", "rejected", "revoked", "ignored", "lost")
#: Stands for everything that has no row of its own.
OTHER: Final = "_other"

_NAME_CELLS = 24
_CELL = 8
_NAME_MAX = _NAME_CELLS * _CELL
_TIMES = len(BOUNDS) + 2  # a bucket for each bound, one for what is beyond, and the sum
_SIZES = len(SIZES) + 2  # the same

_STARTED = 1 + _NAME_CELLS
_REDELIVERED = _STARTED + 1
_ENDED = _REDELIVERED + 1
_SUCCEEDED_IN = _ENDED + len(OUTCOMES)
_FAILED_IN = _SUCCEEDED_IN + _TIMES
_WAITED = _FAILED_IN + _TIMES
_LATE = _WAITED + _TIMES
_SIZE = _LATE + _TIMES
_TASK_CELLS = _SIZE + _SIZES
#: Where each histogram begins, and its width, in the order of ``TaskCounts``.
_HISTOGRAMS: Final = (
    *((at, _TIMES) for at in (_SUCCEEDED_IN, _FAILED_IN, _WAITED, _LATE)),
    (_SIZE, _SIZES),
)
_EVENT_CELLS = 1 + _NAME_CELLS + 1
_TASK_ROWS, _EVENT_ROWS = 256, 256

#: Where each outcome is counted, and where its run times are, if they are.
_OUTCOMES_AT: Final = {outcome: _ENDED + number for number, outcome in enumerate(OUTCOMES)}
_TIMED: Final = {"succeeded": _SUCCEEDED_IN, "failed": _FAILED_IN}


class Histogram(msgspec.Struct, array_like=True):
    """How many are at most each bound, not counting those of smaller bounds, and their sum."""

    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    sum: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.buckets)

    def add(self, other: Histogram) -> None:
        """Count what the other has counted."""
        self.buckets = [ours + theirs for ours, theirs in zip(self.buckets, other.buckets, strict=True)]
        self.sum += other.sum

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds


class TaskCounts(msgspec.Struct, array_like=True):
    """Deliveries of one task from one queue."""

    started: int = 0
    redelivered: int = 0
    #: In the order of ``OUTCOMES``.
    ended: list[int] = msgspec.field(default_factory=lambda: [0] * len(OUTCOMES))
    #: Run times of those that succeeded, and of those that failed.
    succeeded_in: Histogram = msgspec.field(default_factory=Histogram)
    failed_in: Histogram = msgspec.field(default_factory=Histogram)
    #: From publishing, or from the time it was due, to the start.
    waited: Histogram = msgspec.field(default_factory=Histogram)
    #: From the time it was due to the start, of those that were published with one.
    late: Histogram = msgspec.field(default_factory=Histogram)
    #: Of their messages.
    size: Histogram = msgspec.field(default_factory=lambda: Histogram([0] * (len(SIZES) + 1)))

    def add(self, other: TaskCounts) -> None:
        """Count what the other has counted."""
        self.started += other.started
        self.redelivered += other.redelivered
        self.ended = [ours + theirs for ours, theirs in zip(self.ended, other.ended, strict=True)]
        self.succeeded_in.add(other.succeeded_in)
        self.failed_in.add(other.failed_in)
        self.waited.add(other.waited)
        self.late.add(other.late)
        self.size.add(other.size)


class Counts(msgspec.Struct):
    """What was counted, by queue and task; and what else happened, by kind and two words on it."""

    tasks: dict[tuple[str, str], TaskCounts] = {}
    events: dict[tuple[str, str, str], int] = {}

    def add(self, other: Counts) -> None:
        """Count what the other has counted."""
        for name, counts in other.tasks.items():
            self.tasks.setdefault(name, TaskCounts()).add(counts)
        for event, count in other.events.items():
            self.events[event] = self.events.get(event, 0) + count


class Page:
    """The memory of one process's counts; made before the fork."""

    def __init__(self, tasks: int = _TASK_ROWS) -> None:
        """There is room for so many tasks, each by itself if it comes from several queues."""
        self.task_rows = tasks
        self.events_at = tasks * _TASK_CELLS
        memory = memoryview(mmap.mmap(-1, (self.events_at + _EVENT_ROWS * _EVENT_CELLS) * _CELL))
        self.text = memory
        self.whole = memory.cast("Q")
        self.real = memory.cast("d")

    def read(self) -> Counts:
        """Return what has been counted so far."""
        counts = Counts()
        for at, name in self.tasks():
            queue, _, task = name.partition("\n")
            counts.tasks.setdefault((queue, task), TaskCounts()).add(self._task(at))
        for at, name in self.events():
            kind, first, second = _three(name)
            counts.events[kind, first, second] = self.whole[at + _EVENT_CELLS - 1]
        return counts

    def tasks(self) -> Iterator[tuple[int, str]]:
        """Yield where each row of a task begins, and its name."""
        return self._rows(0, self.task_rows, _TASK_CELLS)

    def events(self) -> Iterator[tuple[int, str]]:
        """Yield where each row of an event begins, and its name."""
        return self._rows(self.events_at, _EVENT_ROWS, _EVENT_CELLS)

    def take_task(self, name: str) -> int | None:
        """Give the next free row this name and return where it begins; None if all are taken."""
        return self._take(0, self.task_rows, _TASK_CELLS, name)

    def take_event(self, name: str) -> int | None:
        """The same for an event."""
        return self._take(self.events_at, _EVENT_ROWS, _EVENT_CELLS, name)

    def _rows(self, start: int, rows: int, width: int) -> Iterator[tuple[int, str]]:
        for at in range(start, start + rows * width, width):
            length = self.whole[at]
            if not length:
                return
            begin = (at + 1) * _CELL
            yield at, bytes(self.text[begin : begin + length]).decode("utf-8", "replace")

    def _take(self, start: int, rows: int, width: int, name: str) -> int | None:
        for at in range(start, start + rows * width, width):
            if not self.whole[at]:
                text = name.encode("utf-8", "replace")[:_NAME_MAX]
                begin = (at + 1) * _CELL
                self.text[begin : begin + len(text)] = text
                self.whole[at] = len(text)
                return at
        return None

    def _task(self, at: int) -> TaskCounts:
        return TaskCounts(
            self.whole[at + _STARTED],
            self.whole[at + _REDELIVERED],
            self.whole[at + _ENDED : at + _SUCCEEDED_IN].tolist(),
            *(self._histogram(at + first, cells) for first, cells in _HISTOGRAMS),
        )

    def _histogram(self, at: int, cells: int) -> Histogram:
        last = at + cells - 1
        return Histogram(self.whole[at:last].tolist(), self.real[last])


class Tally:
    """Counts into a page, in the one process that writes it; any of its threads may."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._whole, self._real = page.whole, page.real
        self._lock = threading.Lock()
        self._tasks: dict[tuple[str, str], int] = {}
        self._events: dict[tuple[str, str, str], int] = {}
        for at, name in page.tasks():
            queue, _, task = name.partition("\n")
            self._tasks[queue, task] = at
        for at, name in page.events():
            self._events[_three(name)] = at
        # What finds all rows taken is counted here.
        self._row(OTHER, OTHER)
        self._event("failure", OTHER, OTHER)

    def started(
        self, queue: str, task: str, size: int, *, redelivered: bool, waited: float | None, late: float | None
    ) -> None:
        """A delivery of so many bytes begins, so many seconds after it was published and after it was due."""
        with self._lock:
            at = self._tasks.get((queue, task)) or self._row(queue, task)
            self._whole[at + _STARTED] += 1
            self._whole[at + _SIZE + bisect_left(SIZES, size)] += 1
            self._real[at + _SIZE + _SIZES - 1] += size
            if redelivered:
                self._whole[at + _REDELIVERED] += 1
            if waited is not None:
                self._observe(at + _WAITED, waited)
            if late is not None:
                self._observe(at + _LATE, late)

    def ended(self, queue: str, task: str, outcome: str, seconds: float = 0.0) -> None:
        """A delivery has ended so, after so many seconds."""
        with self._lock:
            at = self._tasks.get((queue, task)) or self._row(queue, task)
            self._whole[at + _OUTCOMES_AT[outcome]] += 1
            if (times := _TIMED.get(outcome)) is not None:
                self._observe(at + times, seconds)

    def happened(self, kind: str, first: str = "", second: str = "", count: int = 1) -> None:
        """Count something else, by its kind and two words on it."""
        with self._lock:
            at = self._event(kind, first, second)
            if at is not None:
                self._whole[at + _EVENT_CELLS - 1] += count

    def _observe(self, at: int, seconds: float) -> None:
        if seconds < 0:  # a clock was set
            seconds = 0.0
        self._whole[at + bisect_left(BOUNDS, seconds)] += 1
        self._real[at + _TIMES - 1] += seconds

    def _row(self, queue: str, task: str) -> int:
        found = self._tasks.get((queue, task))
        if found is None:
            taken = self._page.take_task(f"{queue}\n{task}")
            found = self._tasks[OTHER, OTHER] if taken is None else taken
            self._tasks[queue, task] = found
        return found

    def _event(self, kind: str, first: str, second: str) -> int | None:
        key = kind, first, second
        if key not in self._events:
            taken = self._page.take_event("\n".join(key))
            if taken is None:  # only the failures of many different exceptions can be so many
                taken = self._events.get((kind, OTHER, OTHER))
            if taken is None:
                return None
            self._events[key] = taken
        return self._events[key]


def _three(name: str) -> tuple[str, str, str]:
    kind, _, rest = name.partition("\n")
    first, _, second = rest.partition("\n")
    return kind, first, second
