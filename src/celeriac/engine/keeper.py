"""A shard's second thread, which looks after what is claimed while a task takes long."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from celeriac.core.broker import Broker
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.lease import Lease
from celeriac.core.settings import Settings
from celeriac.engine.settle import Settler

__all__ = ["Keeper", "is_orphan"]

#: Seconds for which the keeper of an idle shard stays awake, as the next batch may come soon.
_LINGER: Final = 0.5


def is_orphan(supervisor: int) -> bool:
    """Return whether this process was started by a supervisor that is gone."""
    return os.getpid() != supervisor and os.getppid() != supervisor


class Keeper:
    """Renews the shard's leases, settles what has finished and gives back what has not started.

    The supervisor renews the leases too, and each does without the other: one may be held up by a
    connection that gives no answer, or stopped. The keeper sleeps while the shard is idle.
    """

    def __init__(
        self,
        broker: Broker,
        settler: Settler,
        settings: Settings,
        *,
        owner: str,
        supervisor: int,
        on_orphaned: Callable[[], None],
        on_slow: Callable[[], None],
    ) -> None:
        """``on_orphaned`` and ``on_slow`` (a task runs long) are called in the keeper's thread."""
        self.unstarted: deque[Lease] = deque()
        #: Monotonic seconds since when the present delivery runs.
        self.running_since = 0.0
        self._broker = broker
        self._settler = settler
        self._settings = settings
        self._owner = owner
        self._supervisor = supervisor
        self._on_orphaned = on_orphaned
        self._on_slow = on_slow
        #: On their way back: never to be started, as the broker may have taken them back already.
        self._returning: list[Lease] = []
        #: Set by the main thread alone, and false between its batches.
        self._in_batch = False
        #: Whether the keeper looks around every few milliseconds; to wake it costs some 50 µs.
        self._busy = threading.Event()
        self._closed = threading.Event()
        self._renew_at = 0.0
        self._thread = threading.Thread(target=self._keep, name="Keeper", daemon=True)

    def start(self) -> None:
        """Begin to look after the shard."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; return once it has ended."""
        self._closed.set()
        self._busy.set()
        self._thread.join()

    def batch_begins(self) -> None:
        """Wake up: a batch has been claimed, which has renewed all leases of the shard."""
        self.wake()
        self._renew_at = self.running_since + self._settings.engine_lease_seconds / 3

    def wake(self) -> None:
        """Wake up: there is something to look after."""
        self.running_since = time.monotonic()
        self._in_batch = True
        if not self._busy.is_set():
            self._busy.set()

    def batch_ended(self) -> None:
        """Rest: the shard itself does what is left, and perhaps the next batch comes soon."""
        self._in_batch = False

    def give_back(self) -> None:
        """Return everything claimed and not started to the queue, in its old order."""
        if not (self.unstarted or self._returning):
            return
        with self._settler.lock:
            self._returning += self._take_unstarted()
            self._settler.report_lost(self._broker.release(self._returning))
            self._returning.clear()

    def _take_unstarted(self) -> list[Lease]:
        taken: list[Lease] = []
        while self.unstarted:
            try:
                taken.append(self.unstarted.pop())
            except IndexError:
                break  # the other thread has just taken the last one
        taken.reverse()
        return taken

    def _keep(self) -> None:
        while True:
            self._busy.wait()
            if self._closed.wait(self._settings.engine_settle_seconds):
                return
            if not self._in_batch:
                self._sleep_if_idle()
                continue
            try:
                self._hold_leases()
                self._look_after_slow_task()
            except BrokerUnavailable:
                continue  # everything is kept; the main thread meets the same error and reports it

    def _sleep_if_idle(self) -> None:
        """Wait for the next batch, if none has come for a while."""
        if time.monotonic() - self.running_since < _LINGER:
            return
        self._busy.clear()
        if self._in_batch:  # since just now
            self._busy.set()

    def _hold_leases(self) -> None:
        if is_orphan(self._supervisor):
            self._on_orphaned()
        now = time.monotonic()
        if now >= self._renew_at:
            with self._settler.lock:
                self._broker.renew([self._owner], self._settings.engine_lease_seconds)
            self._renew_at = now + self._settings.engine_lease_seconds / 3

    def _look_after_slow_task(self) -> None:
        if not self._in_batch:
            return
        running_for = time.monotonic() - self.running_since
        if running_for >= self._settings.engine_settle_seconds:
            self._settler.settle()
            self._on_slow()
        if running_for >= self._settings.engine_giveback_seconds:
            self.give_back()
