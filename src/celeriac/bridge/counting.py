"""What a worker's processes count, each in memory of its own, made before it is forked."""

from __future__ import annotations

from celeriac.core.events import (
    BrokerLost,
    BrokerRegained,
    Events,
    LeaseLost,
    LeasesRenewed,
    LeasesReturned,
    MessageBuried,
    ShardStarting,
    ShardStopped,
)
from celeriac.observe.health import Health
from celeriac.observe.tally import Counts, Page, Tally

__all__ = ["Counting"]

#: What the reason of a dead letter begins with or contains, and the word under which it is counted.
_REASONS = (
    ("time limit", "time_limit"),
    ("worker died", "poison"),
    ("process died", "worker_lost"),
    ("process ended", "worker_lost"),
    ("shut down cold", "worker_lost"),
    ("unknown task", "unknown_task"),
    ("rejected by", "rejected"),
    ("it failed", "failed"),
    ("could not be", "not_run"),
)


_LEAST_ROWS = 256


class Counting:
    """The memory of all processes; a shard that replaces another counts on in that of its name."""

    def __init__(self, health: Health, tasks: int) -> None:
        """``health`` is told whether the broker answers; so many tasks are to be shown by name."""
        self._health = health
        #: A task has a row for each queue that it comes from, and few come from more than one.
        self._rows = max(2 * tasks, _LEAST_ROWS)
        self._pages: dict[str, Page] = {}

    def follow(self, events: Events) -> None:
        """Make room for each shard before it is forked."""
        events.subscribe(ShardStarting, lambda event: self._make_room(event.shard))

    def listen(self, process: str, events: Events) -> Tally:
        """Count the engine's events of the process of this name; return what it counts with.

        For one call in each life of the process.
        """
        tally = Tally(self._page(process))
        _count(events, tally)
        events.subscribe(BrokerLost, lambda event: self._health.broker_lost(event.error))
        events.subscribe(BrokerRegained, lambda _: self._health.broker_found())
        return tally

    def counts(self) -> Counts:
        """Return what all of them have counted so far."""
        total = Counts()
        for page in list(self._pages.values()):
            total.add(page.read())
        return total

    def _make_room(self, process: str) -> None:
        self._page(process)

    def _page(self, process: str) -> Page:
        if process not in self._pages:
            self._pages[process] = Page(self._rows)
        return self._pages[process]


def _count(events: Events, tally: Tally) -> None:
    events.subscribe(LeaseLost, lambda _: tally.happened("lease_lost"))
    events.subscribe(LeasesRenewed, lambda event: tally.happened("renewed", count=event.count))
    events.subscribe(LeasesReturned, lambda event: tally.happened("expired", count=event.count))
    events.subscribe(MessageBuried, lambda event: tally.happened("buried", event.queue, _why(event.reason)))
    events.subscribe(BrokerRegained, lambda _: tally.happened("reconnect"))
    events.subscribe(
        ShardStopped, lambda event: tally.happened("restart", "expected" if event.expected else "lost")
    )


def _why(reason: str) -> str:
    return next((word for text, word in _REASONS if text in reason), "malformed")
