"""The pods of a simulated pool: slots that run one task after another, first come, first served."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from heapq import heapify, heappush, heapreplace
from itertools import islice
from random import Random

__all__ = ["Fleet"]


class Fleet:
    """Slots as a heap of the moments at which each is free; exact to the task.

    While no task waits, the slots need not be known: who runs is who would run in a pool without end.
    """

    def __init__(self, pods: int, slots: int, startup: float, random: Random) -> None:
        """``pods`` are ready from the start; ``startup`` seconds pass before any other takes tasks."""
        self.slots = slots
        self.startup = startup
        self._random = random
        self._ready = pods
        self._free: list[float] | None = [0.0] * (pods * slots)  #: None while the slots are not known
        self._crowd: tuple[int, Callable[[], list[float]]] = (0, list)
        self._leaving: list[float] = []  #: when the tasks of draining pods end
        self._delayed_until = 0.0  #: when the last task ends that has waited
        #: (when asked for, when ready), the earliest ready last.
        self._starting: list[tuple[float, float]] = []
        self._draining: list[float] = []
        self._arrivals: list[float] = []
        self._run_times: list[float] = []

    @property
    def ready(self) -> int:
        return self._ready

    @property
    def pods(self) -> int:
        return self.ready + len(self._starting)

    def ages(self, now: float) -> list[float]:
        """Return for each pod under way the seconds since it was asked for."""
        return [now - asked for asked, _ready in self._starting]

    def queued(self) -> int:
        return len(self._arrivals)

    def overdue(self, moment: float) -> int:
        """Return how many of the tasks that wait arrived before the moment."""
        return bisect_left(self._arrivals, moment)

    def running(self, now: float) -> int:
        if self._free is not None:
            return sum(1 for free in self._free if free > now)
        return self._crowd[0] - len(self._gone_by(now))

    def become_ready(self, until: float) -> list[float]:
        """Put to work what is ready before ``until``; return the seconds that each took to start."""
        took = []
        while self._starting and self._starting[-1][1] < until:
            asked, ready = self._starting.pop()
            took.append(ready - asked)
            self._ready += 1
            if self._free is not None:
                for _slot in range(self.slots):
                    heappush(self._free, ready)
        return took

    def has_room(self, most: float, now: float) -> bool:
        """Whether none will wait of tasks of which so many run at once, told before any becomes ready."""
        return not self._arrivals and now >= self._delayed_until and most <= self._ready * self.slots

    def pass_by(self, left: int, who: Callable[[], list[float]]) -> None:
        """Let tasks for which there is room run; ``left`` run still, and ``who`` says when those end."""
        self._free = None
        self._crowd = (left, who)

    def recall(self, now: float) -> list[float]:
        """Return the slots, made up again where they were not known: when each is free."""
        if self._free is None:
            busy = Counter(self._crowd[1]()) - Counter(self._gone_by(now))
            ends = list(busy.elements())
            self._free = ends + [0.0] * (self._ready * self.slots - len(ends))
            heapify(self._free)
        return self._free

    def _gone_by(self, now: float) -> list[float]:
        self._leaving = [end for end in self._leaving if end > now]
        return self._leaving

    def work(self, arrivals: list[float], run_times: list[float], until: float) -> tuple[list[float], float]:
        """Begin every task that can begin before ``until``; return their waits and run times' sum.

        The slots have to be known (:meth:`recall`).
        """
        if self._arrivals:
            arrivals = self._arrivals + arrivals
            run_times = self._run_times + run_times
        free = self._free
        waits: list[float] = []
        wait = waits.append
        if free:
            for arrived, run in zip(arrivals, run_times, strict=True):
                first = free[0]
                if first <= arrived:
                    heapreplace(free, arrived + run)
                    wait(0.0)
                    continue
                if first >= until:
                    break
                heapreplace(free, first + run)
                wait(first - arrived)
                if first + run > self._delayed_until:
                    self._delayed_until = first + run
        begun = len(waits)
        self._arrivals = arrivals[begun:]
        self._run_times = run_times[begun:]
        return waits, sum(islice(run_times, begun))

    def scale(self, pods: int, now: float) -> None:
        """Ask for pods, or take back those still starting, then those with the least left to finish."""
        for _pod in range(pods - self.pods):
            ready = now + self.startup * self._random.lognormvariate(0.0, 0.1)
            self._starting.append((now, ready))
        self._starting.sort(key=lambda times: -times[1])
        while self._starting and self.pods > pods:
            self._starting.pop(0)
        if self.pods > pods:
            self._drain(self.pods - pods, now)

    def _drain(self, pods: int, now: float) -> None:
        slots = sorted(self.recall(now))
        self._random.shuffle(slots)
        size = self.slots
        groups = [slots[i : i + size] for i in range(0, len(slots), size)]
        groups.sort(key=lambda group: max(group) - now if max(group) > now else 0.0)
        self._draining.extend(max(*group, now) if size > 1 else max(group[0], now) for group in groups[:pods])
        self._leaving.extend(end for group in groups[:pods] for end in group if end > now)
        self._free = sorted(free for group in groups[pods:] for free in group)
        self._ready -= pods

    def paid(self, begin: float, end: float) -> float:
        """Return the pod-seconds of the time span, those of starting and draining pods too."""
        draining = sum(min(gone, end) - begin for gone in self._draining if gone > begin)
        self._draining = [gone for gone in self._draining if gone > end]
        return self.pods * (end - begin) + draining
