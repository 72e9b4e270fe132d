"""What a scaling policy sees every fifteen seconds, and what it must answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

__all__ = ["TICK", "Due", "Firing", "Policy", "View"]

#: Seconds between two decisions, as the horizontal pod autoscaler takes them.
TICK = 15.0


class Due(NamedTuple):
    """Work that is known before it arrives: an ETA, a retry, the members of a chord, a beat entry."""

    at: float  #: when it arrives, in seconds on the clock of :attr:`View.now`
    tasks: int | None  #: how many; None for a beat entry, whose fan-out has to be learnt
    seconds: float  #: over how long they arrive; 0 where that has to be learnt
    entry: str = ""  #: which beat entry; empty for anything else


class Firing(NamedTuple):
    """A beat entry that has fired, and what came of it."""

    entry: str
    tasks: int
    seconds: float  #: from its first task to its last


@dataclass(slots=True)
class View:
    """A pool of workers at one moment; counts are since the view before."""

    now: float  #: seconds
    arrivals: int = 0  #: tasks that nobody had announced
    announced: int = 0  #: tasks that arrived as announced (:class:`Due`)
    queued: int = 0  #: tasks that wait
    running: int = 0  #: slots that run a task
    ready: int = 0  #: pods that take tasks
    starting: Sequence[float] = ()  #: for each pod under way, the seconds since it was asked for
    started: Sequence[float] = ()  #: for each pod that became ready since, the seconds that took
    finished: int = 0  #: tasks
    run_seconds: float = 0.0  #: of the finished tasks, together
    run_seconds_squared: float = 0.0  #: of the finished tasks, the sum of squares
    late: int = 0  #: tasks that began after having waited longer than the objective
    begun: int = 0  #: tasks that began
    longest_wait: float = 0.0  #: seconds, of the task that began last
    due: Sequence[Due] = ()  #: announced for the time after now, the earliest first
    fired: Sequence[Firing] = ()
    metrics: bool = True  #: False where the metrics could not be read: everything but now and pods is void

    @property
    def pods(self) -> int:
        """Pods that were asked for and not taken back: what Kubernetes calls ``spec.replicas``."""
        return self.ready + len(self.starting)


class Policy(Protocol):
    """Says how many pods there should be."""

    def decide(self, view: View) -> int:
        """Return how many pods there should be from now on."""
