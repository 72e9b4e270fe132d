"""The supervisor: starts shards, replaces dead ones, and looks after their leases. Runs no user code."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from uuid import uuid4

from celeriac.core.broker import Broker
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.events import BrokerLost, BrokerRegained, Events, ShardStarted, ShardStopped
from celeriac.core.lease import DeadLetter, Eviction
from celeriac.core.settings import Settings
from celeriac.engine.journal import Entry, Journal
from celeriac.engine.shard import ShardSpec
from celeriac.engine.upkeep import Promoter, Reaper, Renewer

__all__ = ["TIME_LIMIT", "RunningShard", "Supervisor", "new_spec"]

_RETRY_FIRST, _RETRY_MAX = 0.1, 5.0
_PAUSE, _STOPPING_PAUSE = 0.1, 0.02
#: A shard that lived shorter than this many seconds is replaced after a pause that doubles.
_SHORT_LIFE = 1.0
#: Bytes of a shard's note: in any case, and for each delivery it may run at a time.
_NOTE_FIRST, _NOTE_EACH = 16384, 1024
TIME_LIMIT = "it ran longer than its time limit"
_WORKER_LOST = "its worker process died while it ran, and it must not start twice (acks_late is off)"
_ANOTHER_OVERDUE = "its worker process ended as another task in it ran too long, and it must not start twice"
_COLD_SHUTDOWN = "its worker was shut down cold while it ran, and it must not start twice (acks_late is off)"


def new_spec(
    name: str,
    node: str,
    queues: Sequence[str],
    settings: Settings,
    max_tasks: int | None = None,
    slots: int = 1,
) -> ShardSpec:
    """Return the specification of a shard that no other ever shares its owner id with."""
    return ShardSpec(
        name=name,
        owner=f"{node}/{name}/{uuid4().hex[:12]}",
        queues=tuple(queues),
        journal=Journal(2 * (settings.engine_batch_max + slots) + 16, _NOTE_FIRST + _NOTE_EACH * slots),
        supervisor=os.getpid(),
        max_tasks=max_tasks,
        slots=slots,
    )


class RunningShard:
    """A shard's process as its supervisor sees it."""

    def __init__(self, number: int, spec: ShardSpec, process: BaseProcess) -> None:
        self.number = number
        self.spec = spec
        self.process = process
        self.started_at = time.monotonic()
        #: Why the supervisor killed it, if it did: the reason kept with what must not start twice.
        self.killed_for: str | None = None
        #: Leases that ran longer than their time limit.
        self.overdue: frozenset[str] = frozenset()
        #: Another has taken its place, and it is only finishing what it runs.
        self.retired = False


class Supervisor:
    """Call ``start``, then ``tick`` every ``pause`` seconds until ``finished``."""

    def __init__(
        self,
        broker: Broker,
        settings: Settings,
        events: Events,
        *,
        node: str,
        queues: Sequence[str],
        count: int,
        launch: Callable[[ShardSpec], None],
        on_buried: Callable[[DeadLetter], None],
        max_tasks: int | None = None,
        slots: int = 1,
    ) -> None:
        """``launch`` runs a shard to its end, in a process of its own."""
        self.shards: dict[int, RunningShard] = {}
        self.queues = tuple(queues)
        self.count = count
        self._broker = broker
        self._settings = settings
        self._events = events
        self._node = node
        self._launch = launch
        self._max_tasks = max_tasks
        self._slots = slots
        self._renewer = Renewer(broker, settings)
        self._reaper = Reaper(broker, settings, events, on_buried)
        self._promoter = Promoter(broker)
        self._evictions: list[Eviction] = []
        self._stopping = False
        self._start_at: dict[int, float] = {}
        self._pause: dict[int, float] = {}
        self._upkeep_at = 0.0
        self._give_up_at = 0.0
        self._retry_in = _RETRY_FIRST
        self._fork = multiprocessing.get_context("fork")

    # -- What the worker calls

    def start(self) -> None:
        """Start all shards."""
        for number in range(1, self.count + 1):
            self._start_shard(number)

    def tick(self) -> None:
        """Replace dead shards and do the upkeep that is due."""
        now = time.monotonic()
        self._kill_overdue(now)
        self._replace_retired(now)
        for shard in [shard for shard in self.shards.values() if not shard.process.is_alive()]:
            self._bury_shard(shard, now)
        if not self._stopping:
            for number in [number for number, at in self._start_at.items() if now >= at]:
                self._start_shard(number)
        if now >= self._upkeep_at:
            self._keep_up(now)

    @property
    def pause(self) -> float:
        """Seconds until something may be due; a dead shard waits no longer than this either."""
        if self._stopping:
            return _STOPPING_PAUSE
        return min(max(self._promoter.next - time.monotonic(), 0.0), _PAUSE)

    @property
    def finished(self) -> bool:
        """Whether, after ``stop`` or ``kill``, nothing is left to wait for.

        For a broker that stays away it waits until the last shard's leases have run out.
        """
        if not self._stopping or self.shards:
            return False
        owed = self._evictions or self._reaper.unrecorded
        return not owed or time.monotonic() > self._give_up_at

    def stop(self) -> None:
        """Ask every shard to finish what it runs and give back the rest (warm)."""
        self._stopping = True
        for shard in self.shards.values():
            self._signal(shard, signal.SIGTERM)

    def kill(self) -> None:
        """Kill every shard; what ran goes back, or, if it must not start twice, is buried (cold)."""
        self._stopping = True
        for shard in self.shards.values():
            shard.killed_for = _COLD_SHUTDOWN
            self._signal(shard, signal.SIGKILL)

    def sentinels(self) -> list[int]:
        """Return a file descriptor for each shard that becomes readable when it dies."""
        return [shard.process.sentinel for shard in self.shards.values()]

    def notes(self) -> list[tuple[RunningShard, bytes]]:
        """Return what each shard that runs something for long says of it."""
        busy = {shard.number for shard, _ in self.running()}
        return [
            (shard, note)
            for shard in self.shards.values()
            if shard.number in busy and (note := shard.spec.journal.read_note())
        ]

    def running(self) -> list[tuple[RunningShard, Entry]]:
        """Return what every shard is running now."""
        return [
            (shard, entry)
            for shard in self.shards.values()
            for entry in shard.spec.journal.entries()
            if not entry.finished
        ]

    # -- Shards

    def _start_shard(self, number: int) -> None:
        self._start_at.pop(number, None)
        name = f"Shard-{number}"
        spec = new_spec(name, self._node, self.queues, self._settings, self._max_tasks, self._slots)
        self._broker.close()  # a connection must not be shared with the child
        process = self._fork.Process(target=self._launch, args=(spec,), name=spec.name, daemon=False)
        process.start()
        self.shards[number] = RunningShard(number, spec, process)
        self._events.emit(ShardStarted(shard=spec.name, pid=process.pid or 0))

    def _bury_shard(self, shard: RunningShard, now: float) -> None:
        process, spec = shard.process, shard.spec
        exitcode, pid = process.exitcode or 0, process.pid or 0
        process.join()
        process.close()
        del self.shards[shard.number]
        deliberate = shard.killed_for is not None
        self._evictions.append(
            spec.journal.eviction(
                spec.owner,
                reason=shard.killed_for or _WORKER_LOST,
                counted=not deliberate,
                overdue=shard.overdue,
                overdue_reason=TIME_LIMIT,
            )
        )
        spec.journal.close()
        self._upkeep_at = 0.0
        self._give_up_at = now + self._settings.engine_lease_seconds
        expected = deliberate or exitcode == 0
        self._events.emit(ShardStopped(shard=spec.name, pid=pid, exitcode=exitcode, expected=expected))
        if not self._stopping and not shard.retired:
            self._start_at[shard.number] = now + self._pause_before_restart(shard, expected, now)

    def _pause_before_restart(self, shard: RunningShard, expected: bool, now: float) -> float:
        if expected or now - shard.started_at > _SHORT_LIFE:
            self._pause.pop(shard.number, None)
            return 0.0
        pause = self._pause.get(shard.number, 0.0)
        self._pause[shard.number] = min(max(2 * pause, _RETRY_FIRST), _RETRY_MAX)
        return pause

    def _replace_retired(self, now: float) -> None:
        for shard in [shard for shard in self.shards.values() if not shard.retired]:
            if shard.spec.journal.retired and not self._stopping:
                self._start_at[shard.number] = now
                del self.shards[shard.number]
                shard.retired, shard.number = True, -(shard.process.pid or 0)  # a number no other has
                self.shards[shard.number] = shard

    def _kill_overdue(self, now: float) -> None:
        for shard, entry in self.running():
            if entry.deadline and now > entry.deadline and shard.killed_for in (None, _ANOTHER_OVERDUE):
                shard.killed_for = _ANOTHER_OVERDUE
                shard.overdue |= {entry.lease}
                self._signal(shard, signal.SIGKILL)

    def _signal(self, shard: RunningShard, number: signal.Signals) -> None:
        if shard.process.pid is not None and shard.process.is_alive():
            os.kill(shard.process.pid, number)

    # -- Upkeep

    def _keep_up(self, now: float) -> None:
        try:
            self._renewer.tick(now, [shard.spec.owner for shard in self.shards.values()])
            while self._evictions:
                self._reaper.evict(self._evictions[0])
                self._evictions.pop(0)
            self._reaper.tick(now)
            self._promoter.tick(now, time.time())
        except BrokerUnavailable as error:
            self._upkeep_at = now + self._retry_in
            self._events.emit(BrokerLost(error=str(error), retry_in=self._retry_in))
            self._retry_in = min(self._retry_in * 2, _RETRY_MAX)
        else:
            if self._retry_in > _RETRY_FIRST:
                self._retry_in = _RETRY_FIRST
                self._events.emit(BrokerRegained())
