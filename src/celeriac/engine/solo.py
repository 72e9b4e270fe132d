"""A worker of one process: shard and supervisor in one, for debuggers and very small machines."""

from __future__ import annotations

import time
from collections.abc import Callable

from celeriac.core.broker import Broker
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.events import Events
from celeriac.core.lease import DeadLetter
from celeriac.core.settings import Settings
from celeriac.engine.shard import Shard
from celeriac.engine.upkeep import Promoter, Reaper

__all__ = ["Solo"]


class Solo:
    """Runs a batch in each ``tick``; its shard's keeper renews the leases."""

    def __init__(
        self,
        shard: Shard,
        broker: Broker,
        settings: Settings,
        events: Events,
        on_buried: Callable[[DeadLetter], None],
    ) -> None:
        self._shard = shard
        self._reaper = Reaper(broker, settings, events, on_buried)
        self._promoter = Promoter(broker)
        self._stopping = False

    def start(self) -> None:
        """Make ready for ``tick``."""
        self._shard.open()

    def tick(self, idle_wait: float) -> None:
        """Run one batch, or wait up to ``idle_wait`` seconds for one; then do the upkeep that is due."""
        if not self._stopping:
            self._shard.work(idle_wait)
        now = time.monotonic()
        try:
            self._reaper.tick(now)
            self._promoter.tick(now, time.time())
        except BrokerUnavailable:
            self._reaper.hold_off(now)
            return  # the shard meets the same error, reports it and waits

    def stop(self) -> None:
        """Settle what has finished and give back the rest."""
        if not self._stopping:
            self._stopping = True
            self._shard.close()
