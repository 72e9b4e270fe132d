"""What a worker does for the broker besides running tasks: renew, reap, promote."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from celeriac.core.broker import Broker
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.events import BrokerLost, Events, LeasesRenewed, LeasesReturned, MessageBuried
from celeriac.core.lease import DeadLetter, Eviction, Reaped
from celeriac.core.settings import Settings
from celeriac.engine.outage import LONGEST_PAUSE
from celeriac.engine.terminate import TERMINATED

__all__ = ["Promoter", "Reaper", "Renewer"]


class Renewer:
    """Keeps the leases of this worker's shards, three times as often as needed."""

    def __init__(self, broker: Broker, settings: Settings, events: Events | None = None) -> None:
        self._broker = broker
        self._events = events or Events()
        self._lease = settings.engine_lease_seconds
        self._next = 0.0

    def tick(self, now: float, owners: Iterable[str]) -> None:
        """Renew if it is time; ``now`` is monotonic."""
        if now >= self._next:
            owners = list(owners)
            self._broker.renew(owners, self._lease)
            self._events.emit(LeasesRenewed(count=len(owners)))
            self._next = now + self._lease / 3


class Reaper:
    """Returns the leases of the dead: nodes that stopped renewing, and shards known to be dead.

    Each message that is buried on the way is recorded with ``on_buried``. When that raises
    :class:`BrokerUnavailable` (a result store that does not answer), it is tried again later.
    """

    def __init__(
        self,
        broker: Broker,
        settings: Settings,
        events: Events,
        on_buried: Callable[[DeadLetter], None],
    ) -> None:
        self._broker = broker
        self._events = events
        self._on_buried = on_buried
        self._max_deliveries = settings.engine_max_deliveries
        self._lease = settings.engine_lease_seconds
        self._every = self._lease / 5
        self._next = 0.0
        self._record_at = 0.0
        #: Buried, and not recorded yet.
        self.unrecorded: deque[DeadLetter] = deque()

    def tick(self, now: float) -> None:
        """Look for owners whose deadline has passed, if it is time; ``now`` is monotonic."""
        if now >= self._next:
            self._next = now + self._every
            self._report(None, self._broker.reap(max_deliveries=self._max_deliveries))
        if self.unrecorded and now >= self._record_at:
            self._record(now)

    def hold_off(self, now: float) -> None:
        """Give those a lease's time to come back who could not renew either; ``now`` is monotonic."""
        self._next = now + self._lease + LONGEST_PAUSE

    def evict(self, eviction: Eviction) -> None:
        """Return a dead shard's leases at once."""
        reaped = self._broker.evict(eviction, max_deliveries=self._max_deliveries)
        self._report(eviction.owner, reaped)

    def _report(self, owner: str | None, reaped: Reaped) -> None:
        if reaped.returned:
            self._events.emit(LeasesReturned(owner=owner, count=reaped.returned))
        for letter in reaped.buried:
            if letter.reason != TERMINATED:
                self._events.emit(MessageBuried(queue=letter.message.queue, reason=letter.reason))
        self.unrecorded.extend(reaped.buried)

    def _record(self, now: float) -> None:
        try:
            while self.unrecorded:
                letter = self.unrecorded[0]
                self._on_buried(letter)
                self.unrecorded.popleft()
                if letter.reason == TERMINATED:
                    self._broker.drop_dead([letter.id])
        except BrokerUnavailable as error:
            self._record_at = now + self._every
            self._events.emit(BrokerLost(error=str(error), retry_in=self._every))


class Promoter:
    """Makes delayed messages ready when they are due."""

    #: Most seconds between looks, as messages may be delayed by any worker at any time.
    EVERY = 0.1
    #: The same where the broker holds messages back by itself and only tidies up.
    EVERY_NATIVE = 1.0
    #: Least seconds between looks, whatever this machine's clock says compared to the broker's.
    LEAST = 0.005
    _LIMIT = 1000

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._every = self.EVERY_NATIVE if broker.features.native_delay else self.EVERY
        self.next = 0.0

    def tick(self, now: float, wall: float) -> None:
        """Promote what is due, if it is time to look; ``now`` is monotonic, ``wall`` Unix seconds."""
        if now < self.next:
            return
        promoted = self._broker.promote_due(limit=self._LIMIT)
        pause = self._every
        if promoted.count >= self._LIMIT:
            pause = 0.0
        elif promoted.next_due is not None and not self._broker.features.native_delay:
            pause = min(max(promoted.next_due - wall, self.LEAST), self._every)
        self.next = now + pause
