"""Messages in the memory of one process, for tests: the shortest complete reading of the contract."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import count
from threading import Condition
from typing import NamedTuple, TypeVar

from celeriac.brokers.burial import cause_of_death, letter
from celeriac.core.broker import Features, Promoted, QueueStats
from celeriac.core.lease import Claimed, DeadLetter, Eviction, Lease, Reaped, Scheduled
from celeriac.core.message import Message

__all__ = ["MemoryBroker"]

Value = TypeVar("Value")


class _Ready(NamedTuple):
    """Sorts as messages of one queue are claimed; no two have the same place."""

    priority: int
    place: int
    deliveries: int
    message: Message


class _Delayed(NamedTuple):
    """Sorts as messages are promoted."""

    due: float
    number: int
    deliveries: int
    message: Message


class _Held(NamedTuple):
    lease: Lease
    #: Where the message stood in its queue, and will stand again if it goes back.
    place: int


class MemoryBroker:
    """Keeps messages as long as it lives; its threads may share it. ``clock`` returns Unix seconds."""

    features = Features(blocking_wait=True, native_delay=True, priorities=True, fan_out=True)

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        #: Its lock guards everything below; it is notified when a message may have become ready.
        self._changed = Condition()
        self._numbers = count(1)
        self._ready: defaultdict[str, list[_Ready]] = defaultdict(list)
        self._leased: defaultdict[str, dict[str, _Held]] = defaultdict(dict)
        self._deadlines: dict[str, float] = {}
        self._delayed: list[_Delayed] = []
        self._dead: dict[str, DeadLetter] = {}
        self._bindings: defaultdict[str, dict[tuple[str, str, str], None]] = defaultdict(dict)
        #: By queue: seconds without a touch after which it is forgotten, and when that will be.
        self._expiring: dict[str, tuple[float, float]] = {}

    def send(self, messages: Sequence[Message]) -> None:
        with self._changed:
            for message in messages:
                if message.due is not None and message.due > self._clock():
                    self._hold_until(message.due, message, 1)
                else:
                    self._append(message, 1)

    def claim(
        self,
        queues: Sequence[str],
        n: int,
        *,
        owner: str,
        lease_for: float,
        ack: Sequence[Lease] = (),
    ) -> Claimed:
        with self._changed:
            lost = self.ack(ack)
            now = self._clock()
            self._deadlines[owner] = now + lease_for
            for queue in self._expiring.keys() & set(queues):
                self.expire_queue(queue, self._expiring[queue][0])
            self._promote(now, limit=1000)
            leases: list[Lease] = []
            while len(leases) < n and (line := self._next_line(queues)):
                leases.append(self._lease(heappop(line), owner))
                if leases[-1].deliveries > 1:
                    break
            return Claimed(leases, lost)

    def _next_line(self, queues: Sequence[str]) -> list[_Ready] | None:
        lines = (self._ready[queue] for queue in queues if self._ready[queue])
        return min(lines, key=lambda line: line[0].priority, default=None)

    def _lease(self, ready: _Ready, owner: str) -> Lease:
        lease = Lease(f"{next(self._numbers)}", owner, ready.message, ready.deliveries)
        self._leased[owner][lease.id] = _Held(lease, ready.place)
        return lease

    def wait(self, queues: Sequence[str], timeout: float) -> None:
        give_up = time.monotonic() + timeout
        with self._changed:
            while not any(self._ready[queue] for queue in queues):
                left = give_up - time.monotonic()
                if self._delayed:
                    left = min(left, self._delayed[0].due - self._clock())
                if left <= 0:
                    return
                self._changed.wait(left)

    def renew(self, owners: Iterable[str], lease_for: float) -> None:
        with self._changed:
            deadline = self._clock() + lease_for
            self._deadlines.update({owner: deadline for owner in owners if owner in self._deadlines})

    def ack(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        return self._settle(((lease, None) for lease in leases), lambda *_: None)

    def release(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        return self._settle(((lease, 0) for lease in leases), self._put_back)

    def delay(self, leases: Sequence[tuple[Lease, float]]) -> Sequence[Lease]:
        return self._settle(
            leases, lambda held, due: self._hold_until(due, held.lease.message, held.lease.deliveries)
        )

    def bury(self, leases: Sequence[tuple[Lease, str]]) -> Sequence[Lease]:
        return self._settle(leases, lambda held, reason: self._bury(held.lease, reason))

    def _settle(
        self, leases: Iterable[tuple[Lease, Value]], finish: Callable[[_Held, Value], object]
    ) -> list[Lease]:
        """Finish each lease that is still held, and return the others."""
        lost = []
        with self._changed:
            for lease, value in leases:
                held = self._leased[lease.owner].pop(lease.id, None)
                if held is None:
                    lost.append(lease)
                else:
                    finish(held, value)
        return lost

    def promote_due(self, now: float | None = None, limit: int = 1000) -> Promoted:
        with self._changed:
            now = self._clock() if now is None else now
            self._forget_expired(now)
            promoted = self._promote(now, limit)
            return Promoted(promoted, self._delayed[0].due if self._delayed else None)

    def _promote(self, now: float, limit: int) -> int:
        for promoted in range(limit):
            if not self._delayed or self._delayed[0].due > now:
                return promoted
            delayed = heappop(self._delayed)
            self._append(delayed.message, delayed.deliveries)
        return limit

    def reap(self, now: float | None = None, *, max_deliveries: int) -> Reaped:
        returned, buried = 0, list[DeadLetter]()
        with self._changed:
            now = self._clock() if now is None else now
            for owner in [owner for owner, deadline in self._deadlines.items() if deadline <= now]:
                everything = Eviction(owner=owner, interrupted=frozenset(self._leased[owner]))
                reaped = self.evict(everything, max_deliveries=max_deliveries)
                returned += reaped.returned
                buried += reaped.buried
        return Reaped(returned, buried)

    def evict(self, eviction: Eviction, *, max_deliveries: int) -> Reaped:
        returned, buried = 0, list[DeadLetter]()
        with self._changed:
            self._deadlines.pop(eviction.owner, None)
            for id_, held in self._leased.pop(eviction.owner, {}).items():
                if id_ in eviction.finished:
                    continue
                if reason := cause_of_death(held.lease, eviction, max_deliveries):
                    buried.append(self._bury(held.lease, reason))
                else:
                    self._put_back(held, id_ in eviction.interrupted)
                    returned += 1
        return Reaped(returned, buried)

    def stats(self, queues: Sequence[str]) -> Mapping[str, QueueStats]:
        with self._changed:
            leased = [
                held.lease.message.queue for leases in self._leased.values() for held in leases.values()
            ]
            delayed = [delayed.message.queue for delayed in self._delayed]
            dead = [letter.message.queue for letter in self._dead.values()]
            return {
                queue: QueueStats(
                    ready=len(self._ready[queue]),
                    leased=leased.count(queue),
                    delayed=delayed.count(queue),
                    dead=dead.count(queue),
                )
                for queue in queues
            }

    def scheduled(self, queues: Sequence[str], offset: int = 0, limit: int = 100) -> Sequence[Scheduled]:
        with self._changed:
            ours = [delayed for delayed in sorted(self._delayed) if delayed.message.queue in queues]
            return [Scheduled(delayed.message, delayed.due) for delayed in ours[offset : offset + limit]]

    def dead_letters(self, offset: int = 0, limit: int = 100) -> Sequence[DeadLetter]:
        with self._changed:
            return [*reversed(self._dead.values())][offset : offset + limit]

    def retry_dead(self, ids: Iterable[str]) -> int:
        with self._changed:
            retried = [self._dead.pop(id_) for id_ in ids if id_ in self._dead]
            for letter_ in retried:
                self._append(letter_.message, 1)
            return len(retried)

    def drop_dead(self, ids: Iterable[str]) -> int:
        with self._changed:
            return len([self._dead.pop(id_) for id_ in ids if id_ in self._dead])

    def purge(self, queues: Sequence[str]) -> int:
        with self._changed:
            kept = [delayed for delayed in self._delayed if delayed.message.queue not in queues]
            dropped = len(self._delayed) - len(kept)
            self._delayed = kept
            heapify(kept)
            return dropped + sum(len(self._ready.pop(queue, ())) for queue in queues)

    def close(self) -> None:
        """Nothing is held that would have to be let go of."""

    def bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        with self._changed:
            self._bindings[exchange][routing_key, pattern, queue] = None

    def bindings(self, exchange: str) -> Sequence[tuple[str, str, str]]:
        with self._changed:
            self._forget_expired(self._clock())
            return list(self._bindings[exchange])

    def expire_queue(self, queue: str, after: float) -> None:
        with self._changed:
            self._expiring[queue] = (after, self._clock() + after)

    def forget_queue(self, queue: str) -> None:
        with self._changed:
            self._ready.pop(queue, None)
            self._expiring.pop(queue, None)
            for bindings in self._bindings.values():
                for binding in [binding for binding in bindings if binding[2] == queue]:
                    del bindings[binding]

    def _forget_expired(self, now: float) -> None:
        for queue in [queue for queue, (_, deadline) in self._expiring.items() if deadline <= now]:
            self.forget_queue(queue)

    def _append(self, message: Message, deliveries: int) -> None:
        """Make the message ready, behind all others."""
        self._line_up(message, next(self._numbers), deliveries)

    def _put_back(self, held: _Held, crashes: int) -> None:
        """Make the message ready at its old place, which is ahead of all that were never claimed."""
        self._line_up(held.lease.message, held.place, held.lease.deliveries + crashes)

    def _line_up(self, message: Message, place: int, deliveries: int) -> None:
        heappush(self._ready[message.queue], _Ready(message.priority, place, deliveries, message))
        self._changed.notify_all()

    def _hold_until(self, due: float, message: Message, deliveries: int) -> None:
        heappush(self._delayed, _Delayed(due, next(self._numbers), deliveries, message))
        self._changed.notify_all()

    def _bury(self, lease: Lease, reason: str) -> DeadLetter:
        id_ = f"{next(self._numbers)}"
        self._dead[id_] = letter(id_, lease, reason, self._clock())
        return self._dead[id_]
