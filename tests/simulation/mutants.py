"""Brokers and engines that each break one promise, to show that the simulation can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from celeriac.brokers.memory import MemoryBroker
from celeriac.core.broker import Promoted
from celeriac.core.executor import Done
from celeriac.core.lease import Eviction, Lease, Reaped
from celeriac.engine import shard, supervisor
from celeriac.engine.journal import Journal
from celeriac.engine.keeper import Keeper
from celeriac.engine.settle import Settler
from celeriac.engine.upkeep import Reaper, Renewer
from tests.simulation.world import World

__all__ = ["BROKERS", "ENGINES", "broken_broker", "broken_engine"]

# -- Brokers


class NoFencing(MemoryBroker):
    """Settles the message of a lease that was taken back, whoever holds it now."""

    def ack(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        lost = super().ack(leases)
        for lease in lost:
            for holder in self._leased.values():
                for id_, held in list(holder.items()):
                    if held.lease.message == lease.message:
                        del holder[id_]
        return []


class AcksByCount(MemoryBroker):
    """Acks as many of the owner's leases as are named, the oldest first."""

    def ack(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        oldest: list[Lease] = []
        for lease in leases:
            held = self._leased[lease.owner]
            oldest += [held[id_].lease for id_ in list(held)[len(oldest) : len(oldest) + 1]]
        return super().ack(oldest)


class LosesTheLastPromoted(MemoryBroker):
    """Drops a message where more than one is due."""

    def _promote(self, now: float, limit: int) -> int:
        due = [delayed for delayed in self._delayed if delayed.due <= now]
        if len(due) > 1:
            self._delayed.remove(due[-1])
        return super()._promote(now, limit)


class PromotesEarly(MemoryBroker):
    """Makes messages ready half a second before they are due."""

    def _promote(self, now: float, limit: int) -> int:
        return super()._promote(now + 0.5, limit)


class ReapsTheLiving(MemoryBroker):
    """Takes back what every owner holds, whatever its deadline."""

    def reap(self, now: float | None = None, *, max_deliveries: int) -> Reaped:
        return super().reap(float("inf"), max_deliveries=max_deliveries)


class CountsNoDeaths(MemoryBroker):
    """Lets a poison message circle for ever."""

    def evict(self, eviction: Eviction, *, max_deliveries: int) -> Reaped:
        uncounted = msgspec.structs.replace(eviction, interrupted=frozenset())
        return super().evict(uncounted, max_deliveries=max_deliveries)


class KeepsALeaseOnRelease(MemoryBroker):
    """Puts a message back and leaves it leased, so that it is in two states."""

    def release(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        with self._changed:
            for lease in leases:
                if (held := self._leased[lease.owner].get(lease.id)) is not None:
                    self._put_back(held, 0)
        return [lease for lease in leases if lease.id not in self._leased[lease.owner]]


class RenewsNothing(MemoryBroker):
    """Answers a renewal and does nothing."""

    def renew(self, owners: Iterable[str], lease_for: float) -> None:
        del owners, lease_for


class PromotesOnlyAFew(MemoryBroker):
    """Leaves what is due behind the first one where it is, and says so to nobody."""

    def promote_due(self, now: float | None = None, limit: int = 1000) -> Promoted:
        return super().promote_due(now, min(limit, 1))


BROKERS = (
    NoFencing,
    AcksByCount,
    LosesTheLastPromoted,
    PromotesEarly,
    ReapsTheLiving,
    CountsNoDeaths,
    KeepsALeaseOnRelease,
    RenewsNothing,
    PromotesOnlyAFew,
)


def broken_broker(kind: type[MemoryBroker]) -> Callable[[World], MemoryBroker]:
    """Return what opens such a broker on a world's clock."""
    return lambda world: kind(clock=lambda: world.now)


# -- Engines


class ForgetsWhatItCouldNotSettle(Settler):
    """Takes what has finished for settled even when the broker did not answer."""

    @contextmanager
    def _taken(self) -> Iterator[list[Any]]:
        try:
            with super()._taken() as taken:
                yield taken
        finally:
            self._finished.clear()


class StoresResultsLater(Settler):
    """Settles before the results are stored."""

    def settle(self) -> None:
        flush, self._executor.flush = self._executor.flush, lambda: None  # type: ignore[method-assign]
        try:
            super().settle()
        finally:
            self._executor.flush = flush  # type: ignore[method-assign]


class ForgetsWhatMustNotRunTwice(Journal):
    """Writes down every delivery as one that may be repeated."""

    def begin(self, lease: str, *, at_most_once: bool, deadline: float = 0.0) -> int:
        return super().begin(lease, at_most_once=False, deadline=deadline)


class NotesNoEnd(Journal):
    """Never writes down that something has finished."""

    def finish(self, slot: int) -> None:
        del slot


class KeepsWhatItGivesBack(Keeper):
    """Gives back what has not started, and lets it start all the same."""

    def _take_unstarted(self) -> list[Lease]:
        return list(self.unstarted)


class RenewsTheFirstOnly(Renewer):
    """Renews the leases of one shard of several."""

    def tick(self, now: float, owners: Iterable[str]) -> None:
        super().tick(now, list(owners)[:1])


class RenewsTooSeldom(Renewer):
    """Renews when the leases have just run out."""

    def tick(self, now: float, owners: Iterable[str]) -> None:
        if now >= self._next:
            super().tick(now, owners)
            self._next = now + 1.1 * self._lease


class NeverReaps(Reaper):
    """Looks after the shards of its own node alone."""

    def tick(self, now: float) -> None:
        del now


class EvictsTheUnstartedAsStarted(Reaper):
    """Counts a death for everything that a dead shard held."""

    def evict(self, eviction: Eviction) -> None:
        held = frozenset(f"{number}" for number in range(1, 2000))
        started = held - eviction.finished - eviction.forfeited.keys()
        super().evict(msgspec.structs.replace(eviction, interrupted=started))


class BuriesNothing(Settler):
    """Takes what is to be buried for done."""

    def add(self, finished: Any) -> None:
        finished.outcome = Done() if type(finished.outcome).__name__ == "Bury" else finished.outcome
        super().add(finished)


#: The engine's module, the name in it, and what stands there instead.
ENGINES = (
    (shard, "Settler", ForgetsWhatItCouldNotSettle),
    (shard, "Settler", StoresResultsLater),
    (shard, "Settler", BuriesNothing),
    (shard, "Keeper", KeepsWhatItGivesBack),
    (supervisor, "Journal", ForgetsWhatMustNotRunTwice),
    (supervisor, "Journal", NotesNoEnd),
    (supervisor, "Renewer", RenewsTheFirstOnly),
    (supervisor, "Renewer", RenewsTooSeldom),
    (supervisor, "Reaper", NeverReaps),
    (supervisor, "Reaper", EvictsTheUnstartedAsStarted),
)


@contextmanager
def broken_engine(module: Any, name: str, broken: type) -> Iterator[None]:
    """Put the broken part in the place of the real one for the time of the block."""
    real = getattr(module, name)
    setattr(module, name, broken)
    try:
        yield
    finally:
        setattr(module, name, real)
