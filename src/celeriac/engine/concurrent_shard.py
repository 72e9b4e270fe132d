"""A shard that runs several deliveries at a time: claims as many as it has room for, settles as they end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from celeriac.core.broker import Broker
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.events import Events
from celeriac.core.layer import Layer
from celeriac.core.lease import Lease
from celeriac.core.settings import Settings
from celeriac.engine.keeper import Keeper
from celeriac.engine.notices import AnyNotice, Slots, Terminate
from celeriac.engine.run import Finished
from celeriac.engine.shard import Shard, ShardSpec
from celeriac.engine.side_by_side import ConcurrentExecutor, Running, SideBySide
from celeriac.engine.threads import Threads

__all__ = ["ConcurrentShard"]

#: A message that is delivered for so many times has killed as many workers but one: no other such one
#: runs beside it, so that at the next death it is known which of them it was.
_SUSPECT_FROM = 3
#: Seconds between looks at whether the last running deliveries have ended.
_DRAIN_PAUSE = 0.05


class ConcurrentShard(Shard):
    """Runs up to ``spec.slots`` deliveries at a time.

    The main thread claims and waits, a bounded number of threads run deliveries or what is left to
    do of them, and the keeper settles what has finished and sees to time limits.
    """

    def __init__(
        self,
        spec: ShardSpec,
        broker: Broker,
        executor: ConcurrentExecutor,
        settings: Settings,
        events: Events,
        layers: Sequence[Layer] = (),
        heed: Callable[[AnyNotice], None] | None = None,
        *,
        doorbell: Broker,
    ) -> None:
        """``doorbell`` is a second connection to the same broker, on which the main thread waits."""
        self._jobs = SideBySide(executor, spec.journal, layers)
        super().__init__(spec, broker, executor, settings, events, layers, heed)
        self._doorbell = doorbell
        self._threads = Threads(spec.slots, spec.name)
        self._lock = threading.Lock()
        self._slots = spec.slots
        #: Slots that no delivery and no thread on its way to one has taken; below 0 there are too many.
        self._vacant = spec.slots
        #: Threads on their way to what waits, which need not be counted for anybody else.
        self._coming = 0
        #: Holds something when a slot has become vacant; a queue in C, which a signal leaves in order.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._ran = 0
        self._ran_for = 0.0
        self._suspect_from = min(_SUSPECT_FROM, settings.engine_max_deliveries)
        #: The lease of the suspect that runs.
        self._suspect: str | None = None
        #: Monotonic seconds since when nothing that waits for a slot has got one.
        self._waiting_since = 0.0

    def _keeper_kind(self) -> Callable[..., Keeper]:
        return partial(_ConcurrentKeeper, has_work=self._has_work)

    def close(self) -> None:
        """Let what runs finish, then settle it and give back the rest."""
        self._retire_if_worn_out()
        while self._slots - self._vacant > self._jobs.stuck:
            self._keeper.wake()
            self._await_bell(_DRAIN_PAUSE)
        super().close()

    # -- In the main thread

    def _work(self, idle_wait: float) -> None:
        try:
            room = self._room()
            if room <= 0:
                self._wait(partial(self._await_bell, idle_wait))
                self._heed()  # there may be no slot at all until it is told of one
                return
            leases = self._settler.claim(
                self._order.next(), room, self._spec.owner, self._settings.engine_lease_seconds
            )
            self._order.claimed(leases)
            self._heed()  # only now: what was told before a message was sent holds for that message
            if leases:
                self._start(leases)
            else:
                self._wait(partial(self._doorbell.wait, self._queues, idle_wait))
            self._outage.works()
        except BrokerUnavailable as error:
            self._wait(partial(time.sleep, self._outage.fails(error)))

    def _await_bell(self, timeout: float) -> None:
        with suppress(Empty):
            self._bell.get(timeout=timeout)

    def _ring(self) -> None:
        if self._bell.empty():
            self._bell.put(None)

    def _room(self) -> int:
        """Return how many to claim: one for each vacant slot, and more where tasks are quick."""
        with self._lock:
            ran, self._ran = self._ran, 0
            ran_for, self._ran_for = self._ran_for, 0.0
            vacant, waiting = self._vacant, len(self._keeper.unstarted)
            left = max(0, waiting - self._coming)
        self._size.learn(ran, ran_for)
        room = vacant + self._size.current - 1 - left
        if self._spec.max_tasks is not None:
            room = min(room, self._spec.max_tasks - self._wear.ran - waiting)
        # Asking for a few at a time, when many are on their way already, would only cost time.
        return room if vacant > left or room > self._size.current // 2 else 0

    def _start(self, leases: Sequence[Lease]) -> None:
        unstarted = self._keeper.unstarted
        if not unstarted:
            self._waiting_since = time.monotonic()
        unstarted.extend(leases)
        self._keeper.batch_begins()
        self._send_threads()

    def _send_threads(self) -> None:
        """Send a thread to everything that waits and that a vacant slot is there for."""
        with self._lock:
            count = max(0, min(self._vacant, len(self._keeper.unstarted) - self._coming))
            self._vacant -= count
            self._coming += count
        for _ in range(count):
            self._threads.submit(self._arrive)

    # -- In one of the threads, with a slot taken

    def _arrive(self) -> None:
        self._work_through(self._next(coming=1))

    def _work_through(self, lease: Lease | None) -> None:
        """Run it and what waits for a slot, one after the other; then leave the slot."""
        while lease is not None:
            try:
                running = self._begin(lease)
            except BrokerUnavailable:
                self._clear(lease)
                with self._lock:  # it could not even be decoded
                    self._keeper.unstarted.appendleft(lease)
                    self._wear.ran -= 1
                    self._vacant += 1
                return
            if running is None:
                self._clear(lease)
            else:
                outcome = self._jobs.launch(running, partial(self._resume, running))
                if outcome is None:
                    return  # its body runs elsewhere, in this slot
                self._end(running, self._jobs.end(running, outcome))
            lease = self._next()

    def _next(self, *, coming: int = 0) -> Lease | None:
        """Return the next delivery to start; None, the slot being vacant again, if there is none."""
        with self._lock:
            self._coming -= coming
            if self._may_start() and (lease := self._pop()) is not None:
                self._wear.ran += 1
                self._waiting_since = time.monotonic()
                return lease
            self._vacant += 1
        self._ring()
        return None

    def _may_start(self) -> bool:
        return not self._stopping and self._vacant >= 0 and not self._wear.out

    def _pop(self) -> Lease | None:
        """Take the first that may start now; suspects that may not are passed by."""
        unstarted, passed = self._keeper.unstarted, []
        try:
            while (lease := unstarted.popleft()).deliveries >= self._suspect_from:
                if self._suspect is None:
                    self._suspect = lease.id
                    break
                passed.append(lease)
            return lease
        except IndexError:
            return None  # all have been started or given back
        finally:
            unstarted.extendleft(reversed(passed))

    def _clear(self, lease: Lease) -> None:
        if self._suspect == lease.id:
            self._suspect = None

    def _begin(self, lease: Lease) -> Running | None:
        if lease.deliveries > 1:
            self._settler.settle()  # it may kill this process: nothing finished is to die with it
        begun = self._jobs.begin(lease, suspect=lease.id == self._suspect)
        if isinstance(begun, Running):
            return begun
        self._settler.add(begun)
        return None

    def _end(self, running: Running, finished: Finished | None) -> None:
        self._clear(running.lease)
        if finished is not None:
            self._settler.add(finished)
        with self._lock:
            self._ran += 1
            self._ran_for += time.monotonic() - running.since
        if len(self._keeper.unstarted) < self._size.current // 2:
            self._ring()

    def _resume(self, running: Running) -> None:
        self._threads.submit(partial(self._conclude, running))

    def _conclude(self, running: Running) -> None:
        self._end(running, self._jobs.end(running, self._jobs.conclude(running)))
        self._work_through(self._next())

    # -- In the keeper's thread

    def _has_work(self) -> bool:
        with self._lock:
            taken = self._slots - self._vacant
        # A slot is taken before its delivery is decoded, which may have to ask somebody and take a while.
        return bool(taken or len(self._jobs) or self._keeper.unstarted or len(self._settler))

    def _on_slow(self) -> None:
        self._heed()
        now = time.monotonic()
        self._jobs.tell(now)
        self._jobs.enforce_limits(now)
        self._jobs.take_abandoned(self._settler.add)
        if self._jobs.is_stuck(now) and not self._stopping:
            self._spec.journal.retire()
            self._stop_soon()
        self._settler.flush()
        self._settler.settle()
        if self._keeper.unstarted and now - self._waiting_since >= self._settings.engine_giveback_seconds:
            self._keeper.give_back()
            self._waiting_since = now

    def _do_as(self, notice: AnyNotice) -> None:
        super()._do_as(notice)
        if isinstance(notice, Terminate):
            self._jobs.terminate(notice.ids, notice.signum, time.monotonic())
        elif isinstance(notice, Slots):
            with self._lock:
                self._vacant += notice.count - self._slots
                self._slots = self._threads.most = notice.count
            self._send_threads()
            self._ring()

    def _retire_if_worn_out(self) -> None:
        if self._wear.out and not self._stopping:
            self._spec.journal.retire()


class _ConcurrentKeeper(Keeper):
    """Looks after any number of deliveries; sleeps once nothing runs, waits or is unsettled."""

    def __init__(self, *args: Any, has_work: Callable[[], bool], **rest: Any) -> None:
        super().__init__(*args, **rest)
        self._has_work = has_work

    def _look_after_slow_task(self) -> None:
        self._on_slow()
        self._busy.clear()
        if self._has_work() or self._closed.is_set():  # asked after, as more may have come since
            self._busy.set()
