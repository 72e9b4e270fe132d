"""The engine as a bootstep of Celery's worker: started last, and all there is to start."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from billiard.util import get_pdeathsig
from celery import bootsteps, signals
from celery.worker import state
from celery.worker.autoscale import AUTOSCALE_KEEPALIVE

from celeriac.bridge.clock import SharedClock
from celeriac.bridge.configuration import broker_for, read_settings, single_url
from celeriac.bridge.consumer import EngineConsumer
from celeriac.bridge.executor import CeleryExecutor
from celeriac.bridge.heart import Heart
from celeriac.bridge.limits import worker_limits
from celeriac.bridge.mingle import Mingle
from celeriac.bridge.orders import Orders
from celeriac.bridge.pool import EnginePool
from celeriac.bridge.pools import ASYNCIO, THREADS
from celeriac.bridge.process import Shared, make_shard, run_shard
from celeriac.bridge.queue_weights import with_weights
from celeriac.bridge.rate_limits import RateLimits
from celeriac.bridge.report import log_events
from celeriac.bridge.task_events import TaskEvents
from celeriac.bridge.totals import Totals
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.events import Events, ShardStarting
from celeriac.core.lease import DeadLetter
from celeriac.engine.autoscale import Autoscaler
from celeriac.engine.concurrent_supervisor import ConcurrentSupervisor
from celeriac.engine.note import Note, read_notes
from celeriac.engine.notices import AnyNotice, Queues, RateLimit, Revoked
from celeriac.engine.shard import ShardSpec
from celeriac.engine.solo import Solo
from celeriac.engine.supervisor import Supervisor, new_spec

if TYPE_CHECKING:
    from celeriac.bridge.metrics import WorkerMetrics

__all__ = ["ConcurrentEngine", "EngineStep", "PreforkEngine", "SoloEngine"]

#: Seconds for which an idle solo worker waits for tasks before it looks at remote control.
_IDLE_WAIT = 0.05


class _Engine:
    """What the engines share."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self.settings = with_weights(read_settings(worker.app), worker.queue_weights)
        self.url = single_url(worker.app.conf.broker_read_url) or ""
        self.broker = broker_for(worker.app, self.url)
        self.queues: Sequence[str] = list(worker.app.amqp.queues.consume_from)
        self.events = log_events(Events())
        names = list(worker.app.tasks)
        self.limits = None if worker.disable_rate_limits else RateLimits(names)
        task_events = TaskEvents(
            worker.app, worker.hostname, wanted=bool(worker.task_events), pid=os.getpid()
        )
        self.orders = Orders(worker.app, task_events, self.limits)
        self.totals = Totals(names)
        connect = partial(broker_for, worker.app, self.url)
        self.metrics: WorkerMetrics | None = worker.metrics
        counting = None if self.metrics is None else self.metrics.attend(self, connect)
        self.shared = Shared(
            self.orders, self.totals, worker_limits(worker), worker.pool_name, connect, connect(), counting
        )
        self.recorder = self._recorder()

    def _recorder(self) -> CeleryExecutor:
        """What tells result backend, signals and monitors of messages that died unfinished."""
        app, hostname = self.worker.app, self.worker.hostname
        limits, count = self.shared.limits, self.totals.counter(0).add
        recorder = CeleryExecutor(app, hostname, self.orders, count, limits, hold_results=False)
        recorder.store_within = self.settings.engine_lease_seconds / 5
        return recorder

    def record(self, letter: DeadLetter) -> None:
        """Tell of a message that died unfinished."""
        if self.recorder.retry_lost(letter):
            with suppress(BrokerUnavailable):  # the letter stays, beside the retry that runs
                self.broker.drop_dead([letter.id])
        else:
            self.recorder.bury(letter)
        self.recorder.flush()
        if self.metrics is not None:  # only now: what cannot be recorded yet is handed over again
            self.metrics.lost(letter)

    def tell(self, notice: AnyNotice) -> None:
        """Let this process and all shards know; those started later are forked from this one."""
        self.orders.heed(notice)
        self.tell_shards(notice)

    def revoke(self, ids: Sequence[str]) -> None:
        """Let the tasks not start here."""
        self.tell(Revoked(ids))

    def limit_rate(self, limit: RateLimit) -> None:
        """Let so many tasks of this name start in a time, beginning now."""
        if self.limits is not None:
            self.limits.forget(limit.name)
        self.tell(limit)

    def terminate_with(self, id_: str, signum: int) -> None:
        """Send the signal to the process that runs this task; the message leaves for good."""
        self.terminate([id_], signum)

    def active_and_processed(self) -> tuple[int, int]:
        """Return how many tasks have been running for a moment, and how many have been started."""
        return len(self.notes()), sum(self.totals.by_name().values())

    def tell_shards(self, notice: AnyNotice) -> None:
        """Let all shards know."""
        raise NotImplementedError

    def terminate(self, ids: Sequence[str], signum: int) -> None:
        """End these tasks, if they run, with the signal where there is a process to send it to."""
        raise NotImplementedError

    def notes(self) -> list[Note]:
        """Return what has been running for a moment."""
        raise NotImplementedError

    def vitals(self) -> tuple[int, int, int]:
        """Return how many tasks can run at a time, how many do, and how many processes for them live."""
        raise NotImplementedError

    @property
    def node(self) -> str:
        """The worker's name, told apart from its earlier lives by the process id."""
        return f"{self.worker.hostname}:{os.getpid()}"


class PreforkEngine(_Engine):
    """Shards in processes of their own."""

    def __init__(self, worker: Any) -> None:
        super().__init__(worker)
        announce = signals.worker_before_create_process.send
        self.events.subscribe(ShardStarting, lambda _: announce(sender=worker.pool))
        self.supervisor = self._supervisor(
            worker.concurrency,
            node=self.node,
            queues=self.queues,
            launch=self._launch,
            on_buried=self.record,
            max_tasks=worker.max_tasks_per_child,
            max_memory=worker.max_memory_per_child,
        )

    def _supervisor(self, concurrency: int, **options: Any) -> Supervisor:
        return Supervisor(self.broker, self.settings, self.events, count=concurrency, **options)

    def start(self) -> None:
        self.supervisor.tick()
        _make_ready_to_fork()
        self.supervisor.start()

    def tick(self, poll: Callable[[float], None]) -> None:
        self.supervisor.tick()
        poll(self.supervisor.pause)

    def stop(self) -> None:
        self.supervisor.stop()

    def kill(self) -> None:
        self.supervisor.kill()

    @property
    def finished(self) -> bool:
        return self.supervisor.finished

    def notes(self) -> list[Note]:
        return [note for _, note in self.supervisor.notes()]

    def vitals(self) -> tuple[int, int, int]:
        return self.supervisor.count, self.supervisor.busy, len(self.supervisor.shards)

    def tell_shards(self, notice: AnyNotice) -> None:
        self.supervisor.tell(notice)

    def consume(self, queues: Sequence[str]) -> None:
        self.queues = queues
        self.supervisor.consume(queues)

    @property
    def count(self) -> int:
        return self.supervisor.count

    def resize(self, count: int) -> None:
        self.supervisor.resize(count)

    def restart(self) -> None:
        self.supervisor.restart()

    def terminate(self, ids: Sequence[str], signum: int) -> None:
        self.orders.remember_terminations(ids, signum)
        self.supervisor.terminate(ids, signum)

    def pids(self) -> list[int]:
        return [shard.process.pid for shard in self.supervisor.shards.values()]

    def _launch(self, spec: ShardSpec) -> None:
        run_shard(self.worker.app, self.worker.hostname, self.settings, spec, self.shared)


def _make_ready_to_fork() -> None:
    """What every shard would need for itself is loaded, and what is loaded stays shared."""
    with suppress(OSError):
        get_pdeathsig()  # every child sets its own; with cffi installed that takes a parser of C, some 7 MB
    gc.collect()
    gc.freeze()  # or each process' collections would write into all of it
    # What is frozen would count as alive, and nothing old be collected until a quarter as much is new.
    gc.collect()


class ConcurrentEngine(PreforkEngine):
    """One shard in a process of its own, which runs many tasks at a time."""

    def _supervisor(self, concurrency: int, **options: Any) -> Supervisor:
        return ConcurrentSupervisor(self.broker, self.settings, self.events, slots=concurrency, **options)


class SoloEngine(_Engine):
    """Everything in this process."""

    def __init__(self, worker: Any) -> None:
        super().__init__(worker)
        spec = new_spec("Solo", self.node, self.queues, self.settings)
        self._spec = spec
        broker = self.shared.connect()
        shard = make_shard(worker.app, worker.hostname, broker, self.settings, spec, self.shared)
        self.solo = Solo(shard, self.broker, self.settings, self.events, self.record)

    def start(self) -> None:
        self.solo.start()

    def tick(self, poll: Callable[[float], None]) -> None:
        self.solo.tick(_IDLE_WAIT)
        poll(0)

    def stop(self) -> None:
        self.solo.stop()

    kill = stop

    finished = True

    def notes(self) -> list[Note]:
        return read_notes(self._spec.journal.read_note())

    def vitals(self) -> tuple[int, int, int]:
        return 1, len(self.notes()), 1

    def tell_shards(self, notice: AnyNotice) -> None:
        self._spec.notices.send(notice)

    def consume(self, queues: Sequence[str]) -> None:
        self.queues = queues
        self.tell_shards(Queues(tuple(queues)))

    count = 1

    def resize(self, count: int) -> None:
        raise NotImplementedError(f"the solo pool has one process, not {count}")

    def restart(self) -> None:
        raise NotImplementedError("the solo pool cannot be restarted: restart the worker")

    def terminate(self, ids: Sequence[str], signum: int) -> None:
        """Do nothing: while remote control is listened to, no task runs."""

    def pids(self) -> list[int]:
        return [os.getpid()]


_ENGINES = {
    "prefork": PreforkEngine,
    "solo": SoloEngine,
    THREADS: ConcurrentEngine,
    ASYNCIO: ConcurrentEngine,
}


class EngineStep(bootsteps.StartStopStep):
    """Runs the engine until the worker is told to stop."""

    label = "Engine"
    last = True

    def create(self, worker: Any) -> Any:
        worker.app.clock = SharedClock(worker.app.clock.value)
        worker.engine = _ENGINES[worker.pool_name](worker)
        worker.pool = EnginePool(worker.engine, worker.pool_name, _pool_options(worker))
        worker.autoscaler = _autoscaler(worker)
        worker.heart = Heart(
            worker.app,
            worker.hostname,
            task_events=bool(worker.task_events),
            beats=not worker.options.get("without_heartbeat"),
            interval=worker.options.get("heartbeat_interval"),
            count=worker.engine.active_and_processed,
        )
        worker.consumer = EngineConsumer(worker)
        worker.mingle = Mingle(worker.app, worker.hostname, worker.engine.revoke)
        return worker.engine

    def start(self, worker: Any) -> None:
        """Start the shards, tell that the worker is ready, and look after them until told to stop."""
        worker.consumer.poll(0)
        if not worker.options.get("without_mingle"):
            worker.mingle.start()
        worker.heart.start()
        worker.mingle.poll()
        worker.consumer.poll(0)
        worker.engine.start()
        if worker.metrics is not None:
            worker.metrics.start()
        worker.ready_callback(worker.consumer)
        while True:
            state.maybe_shutdown()
            worker.engine.tick(worker.consumer.poll)
            _beat(worker)
            worker.mingle.poll()
            if worker.autoscaler is not None:
                worker.autoscaler.tick(time.monotonic())
            if worker.relay is not None:
                worker.relay.tick()

    def stop(self, worker: Any) -> None:
        """Wait for what runs to finish; a second signal, or the end of a soft shutdown, kills it instead."""
        if worker.metrics is not None:
            worker.metrics.health.stop()
        worker.engine.stop()
        while worker.soft_shutdown.lingers or not worker.engine.finished:
            if state.should_terminate not in (None, False) or worker.soft_shutdown.over:
                worker.engine.kill()
            worker.engine.tick(worker.consumer.poll)
            _beat(worker)
        self._close(worker)

    def terminate(self, worker: Any) -> None:
        """Kill what runs; what may run again goes back to its queue."""
        worker.engine.kill()
        while not worker.engine.finished:
            worker.engine.tick(worker.consumer.poll)
        self._close(worker)

    def _close(self, worker: Any) -> None:
        worker.heart.stop()
        if worker.metrics is not None:
            worker.metrics.close()
        worker.mingle.stop()
        worker.engine.orders.events.close()
        worker.consumer.stop()
        worker.engine.broker.close()


def _beat(worker: Any) -> None:
    worker.heart.tick()
    if worker.metrics is not None:
        worker.metrics.tick()


def _pool_options(worker: Any) -> dict[str, Any]:
    return {
        "max-tasks-per-child": worker.max_tasks_per_child or "N/A",
        "timeouts": (worker.soft_time_limit or 0, worker.time_limit or 0),
    }


def _autoscaler(worker: Any) -> Autoscaler | None:
    if not worker.autoscale:
        return None
    most, least = worker.autoscale
    return Autoscaler(worker.engine.supervisor, worker.engine.broker, most, least, AUTOSCALE_KEEPALIVE)
