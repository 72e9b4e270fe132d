"""Keeps an eye on a run: how far it is, whether its processes live, whether it has recovered."""

from __future__ import annotations

import time
from collections.abc import Callable

from celeriac.demo.broker import DemoBroker
from celeriac.demo.ledger import Counts, Kill, Ledger
from celeriac.demo.orders_import import OrdersImport
from celeriac.demo.processes import Worker
from celeriac.demo.view import View

__all__ = ["Stalled", "Watch"]

#: Seconds between two looks at the ledger, and at what it says of recovery, which costs more.
_LOOK_EVERY = 0.1
_RECOVERY_LOOK_EVERY = 0.5


class Stalled(Exception):
    """Nothing has moved for so long that nothing will."""


class Watch:
    """Looks at the ledger until something has become true, and shows what it sees."""

    def __init__(
        self,
        ledger: Ledger,
        broker: DemoBroker,
        worker: Worker,
        orders_import: OrdersImport,
        view: View,
        stalled_after: float,
    ) -> None:
        self._ledger = ledger
        self._broker = broker
        self._worker = worker
        self._import = orders_import
        self._view = view
        self._stalled_after = stalled_after
        self._kills: dict[str, Kill] = {}
        self._next_recovery_look = 0.0
        #: Whether no more orders will come.
        self.import_ended = False
        self.counts = Counts()
        #: Seconds each kill took to recover from, by what was killed; absent while it has not.
        self.recovery: dict[str, float] = {}

    def killed(self, what: str, kill: Kill) -> None:
        """From now on, look for the recovery from this kill."""
        self._kills[what] = kill

    def until(self, condition: Callable[[], bool]) -> None:
        """Return once ``condition()`` is true.

        Raises :class:`Stalled`, and what the processes raise when one of them has failed.
        """
        moved = time.monotonic()
        while True:
            before = self.counts
            self._look()
            if condition():
                return
            if self.counts != before:
                moved = time.monotonic()
            elif time.monotonic() - moved > self._stalled_after:
                raise Stalled
            time.sleep(_LOOK_EVERY)

    def all_shipped(self) -> bool:
        """Whether no order is left, and none will come."""
        return self.import_ended and self.counts.shipped >= self.counts.committed

    def drained(self) -> bool:
        """Whether the broker, too, has nothing left: also those come back that a kill left unsettled."""
        return self._broker.backlog() == 0

    def look_for_recovery(self) -> None:
        """Each recovery that the ledger shows by now is known."""
        for what in self._kills.keys() - self.recovery.keys():
            seconds = self._recovery(self._kills[what])
            if seconds is not None:
                self.recovery[what] = seconds
                self._view.say(f"recovered from the {what}'s end after {seconds:.2f} s")

    def _recovery(self, kill: Kill) -> float | None:
        if kill.unsent is None:
            return self._ledger.recovery(kill)
        return None if self._ledger.unsent(kill.unsent) else time.time() - kill.at

    def _look(self) -> None:
        if self._worker.exit_code is not None:
            raise self._worker.failure()
        # Looked at before the orders are counted: then the count holds all of them.
        self.import_ended = self._import.exit_code is not None
        if self.import_ended:
            self._import.report()
        self.counts = self._ledger.counts()
        self._view.progress(self.counts)
        if time.monotonic() >= self._next_recovery_look:
            self._next_recovery_look = time.monotonic() + _RECOVERY_LOOK_EVERY
            self.look_for_recovery()
