"""The loop: looks at all pools at once, decides for each, and tells."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from celeriac.core.broker import Broker
from celeriac.core.errors import BrokerError
from celeriac.core.lease import Scheduled
from celeriac.core.message import Message
from celeriac.core.watch import Watchable
from celeriac.deploy.outlets.answers import Answer, Answers
from celeriac.deploy.scaling.view import TICK
from celeriac.observe.beats import read_beats
from celeriac.observe.queues import QueueNow, QueueWatch
from celeriac.observe.report import WorkerReport, posted_reports
from celeriac.scaler.agenda import Agenda
from celeriac.scaler.cluster_side import PoolSide
from celeriac.scaler.pool_scaler import PoolScaler
from celeriac.scaler.pool_watch import PoolWatch
from celeriac.scaler.remembered import PoolMemory, write_memories

__all__ = ["PoolParts", "Service", "Upkeep"]

logger = logging.getLogger("celeriac.scaler")

_AHEAD = 1800.0  # seconds for which delayed messages are looked at, and the most of them
_PAGE, _PAGES = 500, 10
_REMARK = 5.0  # seconds: as often as workers tell whether they are busy
_WRITE_EVERY = 300.0


class PoolParts(msgspec.Struct, frozen=True):
    """What belongs to one pool."""

    watch: PoolWatch
    scaler: PoolScaler
    side: PoolSide
    beat_is_near: Callable[[float], str | None]


class Upkeep(msgspec.Struct):
    """How the loop itself fares, for its metrics."""

    broker_up: bool = False
    decision_seconds: float = 0.0  #: of the last tick, for one pool
    ticks: int = 0


class Service:
    """``tick`` decides for every pool; ``run`` does so every 15 seconds until ``close``."""

    def __init__(
        self,
        broker: Broker,
        sent_at: Callable[[Message], float | None],
        pools: Mapping[str, PoolParts],
        answers: Answers,
        agenda: Agenda,
        state: Path | None = None,
    ) -> None:
        """``state`` is the file in which what was learnt is kept."""
        self.upkeep = Upkeep()
        self._broker = broker
        self._watch = QueueWatch(broker, sent_at)
        self._pools = pools
        self._answers = answers
        self._agenda = agenda
        self._state = state
        self._written_at = time.monotonic()
        self._closed = threading.Event()
        self._shrinking: set[str] = set()

    def run(self) -> None:
        """Decide now and every 15 seconds, until ``close``."""
        begun = time.monotonic()
        while not self._closed.is_set():
            self.tick(time.time())
            self._keep(after=_WRITE_EVERY)
            begun = max(begun + TICK, time.monotonic() - TICK)
            while (left := begun - time.monotonic()) > 0 and not self._closed.wait(min(left, _REMARK)):
                self._mark_again()
        self._keep(after=0.0)

    def close(self) -> None:
        """Let ``run`` return, with what was learnt written down."""
        self._closed.set()

    def tick(self, now: float) -> None:
        """Decide for every pool now (Unix seconds)."""
        self.upkeep.ticks += 1
        queues = list(dict.fromkeys(name for parts in self._pools.values() for name in parts.watch.queues))
        try:
            posted = self._posted()
            self._agenda.hear(read_beats(posted), now)
            reports = posted_reports(posted)
            lengths = {one.name: one for one in self._watch.look(queues, reports, now)}
            scheduled = {name: self._scheduled(parts, lengths, now) for name, parts in self._pools.items()}
        except BrokerError as error:
            self._hold(now, error)
            return
        if not self.upkeep.broker_up:
            logger.info("The broker answers: deciding for %s", ", ".join(self._pools))
        self.upkeep.broker_up = True
        for name, parts in self._pools.items():
            self._decide(name, parts, now, lengths, reports, scheduled[name])

    def _decide(
        self,
        name: str,
        parts: PoolParts,
        now: float,
        lengths: Mapping[str, QueueNow],
        reports: Mapping[str, WorkerReport],
        scheduled: Sequence[Scheduled],
    ) -> None:
        own = parts.watch.workers(reports)
        pods = parts.side.look(now, len({report.hostname for report in own.values()}))
        seen = parts.watch.look(now, [lengths[q] for q in parts.watch.queues], reports, scheduled, pods)
        begun = time.perf_counter()
        answer = parts.scaler.decide(seen, parts.beat_is_near(now))
        self.upkeep.decision_seconds = time.perf_counter() - begun
        if not answer.preview:
            parts.side.asked_for(answer.desired, now)
            self._shrink(name, parts, answer, seen.hosts)
        self._answers.tell(answer)

    def _shrink(self, name: str, parts: PoolParts, answer: Answer, hosts: Mapping[str, float | None]) -> None:
        """Mark who is to go, before anybody is told that fewer are wanted."""
        if answer.desired < answer.pods:
            self._shrinking.add(name)
            parts.side.scale_in(answer.desired, hosts)
        else:
            self._shrinking.discard(name)

    def _mark_again(self) -> None:
        """An autoscaler takes its time to scale in: meanwhile who was idle may have got work."""
        for name in tuple(self._shrinking):
            parts, now = self._pools[name], time.time()
            answer = self._answers.latest(name)
            try:
                own = parts.watch.workers(posted_reports(self._posted()))
            except BrokerError:
                return  # what is written stays until the broker answers
            if answer is not None:
                parts.side.look(now, len({report.hostname for report in own.values()}))
                parts.side.scale_in(answer.desired, parts.watch.hosts(now, own))

    def _hold(self, now: float, error: BrokerError) -> None:
        if self.upkeep.broker_up or self.upkeep.ticks == 1:
            logger.warning("The broker does not answer, so nothing changes: %s", error)
        self.upkeep.broker_up = False
        for parts in self._pools.values():
            parts.watch.lost_sight()
            answer = parts.scaler.hold(now, parts.side.look(now, 0))
            if answer is not None:
                self._answers.tell(answer)

    def _posted(self) -> Collection[bytes]:
        """Return what workers and beats tell of themselves."""
        return self._broker.posted().values() if isinstance(self._broker, Watchable) else ()

    def _scheduled(self, parts: PoolParts, lengths: Mapping[str, QueueNow], now: float) -> list[Scheduled]:
        """Return what is due soon, the earliest first."""
        queues = [name for name in parts.watch.queues if lengths[name].stats.delayed]
        found: list[Scheduled] = []
        for page in range(_PAGES if queues else 0):
            more = self._broker.scheduled(queues, page * _PAGE, _PAGE)
            found += [entry for entry in more if entry.due <= now + _AHEAD]
            if len(more) < _PAGE or more[-1].due > now + _AHEAD:
                break
        return found

    def _keep(self, after: float) -> None:
        if self._state is None or time.monotonic() - self._written_at < after:
            return
        self._written_at = time.monotonic()
        memories: dict[str, PoolMemory] = {}
        for name, parts in self._pools.items():
            if (memory := parts.scaler.memory()) is not None:
                memories[name] = memory
        if memories:
            write_memories(self._state, memories)
