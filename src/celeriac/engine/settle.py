"""Finished deliveries on their way to the broker."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from celeriac.core.broker import Broker
from celeriac.core.events import Events, LeaseLost, MessageBuried
from celeriac.core.executor import Bury, Delay, Done, Executor, Release
from celeriac.core.lease import Claimed, Lease
from celeriac.engine.journal import Journal
from celeriac.engine.run import Finished

__all__ = ["Settler"]


class Settler:
    """Collects what a shard has finished and settles it in batches.

    Both of a shard's threads use it: ``add`` needs no lock, everything that talks to the broker
    holds ``lock``. What could not be settled because the broker is away is kept for the next time.
    """

    def __init__(
        self, broker: Broker, executor: Executor, journal: Journal, events: Events, every: float
    ) -> None:
        """Become due ``every`` seconds after the last settlement."""
        self.lock = threading.RLock()
        self.due = 0.0
        self._broker = broker
        self._executor = executor
        self._journal = journal
        self._events = events
        self._every = every
        self._finished: deque[Finished] = deque()
        #: Leases that a call may have settled although it failed.
        self._unsure: set[str] = set()

    def __len__(self) -> int:
        return len(self._finished)

    def add(self, finished: Finished) -> None:
        """Take over a delivery whose outcome is known."""
        self._finished.append(finished)

    def settle(self) -> None:
        """Store the results of everything finished, then settle it."""
        if not self._finished:
            return
        with self.lock, self._taken() as taken:
            done = self._settle_others(taken)
            self.report_lost(self._broker.ack([finished.lease for finished in done]))
            self._forget(done)
            taken.clear()

    def flush(self) -> None:
        """Let the executor store what it has, though nothing may have finished."""
        with self.lock:
            self._executor.flush()

    def claim(self, queues: Sequence[str], n: int, owner: str, lease_for: float) -> Sequence[Lease]:
        """Settle everything finished and claim the next batch, both in one call where it can be."""
        with self.lock, self._taken() as taken:
            done = self._settle_others(taken)
            claimed: Claimed = self._broker.claim(
                queues, n, owner=owner, lease_for=lease_for, ack=[finished.lease for finished in done]
            )
            self.report_lost(claimed.lost)
            self._forget(done)
            taken.clear()
            return claimed.leases

    def report_lost(self, leases: Sequence[Lease]) -> None:
        """Tell that these leases had been taken back before they were settled."""
        for lease in leases:
            unsure = lease.id in self._unsure
            self._events.emit(LeaseLost(lease=lease.id, queue=lease.message.queue, unsure=unsure))

    @contextmanager
    def _taken(self) -> Iterator[list[Finished]]:
        """Everything finished; what is left in the list when something fails goes back."""
        taken = [self._finished.popleft() for _ in range(len(self._finished))]
        self.due = time.monotonic() + self._every
        sent = False
        try:
            if taken:
                self._executor.flush()
                self._note_stored(taken)
            sent = True
            yield taken
        except BaseException:  # still leased and journaled: kept for the next time, or for the eviction
            self._finished.extendleft(reversed(taken))
            if sent:
                self._unsure.update(finished.lease.id for finished in taken)
            raise

    def _note_stored(self, taken: Sequence[Finished]) -> None:
        for finished in taken:
            if finished.slot is not None and type(finished.outcome) is Done:
                self._journal.finish(finished.slot)

    def _settle_others(self, taken: list[Finished]) -> Sequence[Finished]:
        """Settle all but the plainly done, which are returned; ``taken`` keeps what is not settled."""
        if all(type(finished.outcome) is Done for finished in taken):
            return list(taken)
        delayed = [(one, one.outcome.due) for one in taken if isinstance(one.outcome, Delay)]
        buried = [(one, one.outcome.reason) for one in taken if isinstance(one.outcome, Bury)]
        done = [one for one in taken if isinstance(one.outcome, Done)]
        released = [one for one in taken if not isinstance(one.outcome, Delay | Bury | Done)]
        self.report_lost(self._broker.delay([(one.lease, due) for one, due in delayed]))
        self._settled(taken, [one for one, _ in delayed])
        lost = self._broker.bury([(one.lease, reason) for one, reason in buried])
        self.report_lost(lost)
        self._settled(taken, [one for one, _ in buried])
        for one, reason in buried:
            if one.lease not in lost:
                self._events.emit(MessageBuried(queue=one.lease.message.queue, reason=reason))
        for one in tuple(released):
            if isinstance(one.outcome, Release) and one.outcome.payload is not None:
                self._replace(one.lease, one.outcome.payload)
                self._settled(taken, [one])
                released.remove(one)
        self.report_lost(self._broker.release([one.lease for one in released]))
        self._settled(taken, released)
        return done

    def _replace(self, lease: Lease, payload: bytes) -> None:
        """Send what goes back otherwise than it came, then ack what came: a crash between repeats it."""
        self._broker.send([msgspec.structs.replace(lease.message, payload=payload)])
        self.report_lost(self._broker.ack([lease]))

    def _settled(self, taken: list[Finished], settled: Sequence[Finished]) -> None:
        for finished in settled:
            taken.remove(finished)
        self._forget(settled)

    def _forget(self, settled: Sequence[Finished]) -> None:
        if self._unsure:
            self._unsure.difference_update(finished.lease.id for finished in settled)
        for finished in settled:
            if finished.slot is not None:
                self._journal.settle(finished.slot)
