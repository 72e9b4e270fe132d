"""The engine as a bootstep of Celery's worker: started last, and all there is to start."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from celery import bootsteps
from celery.worker import state

from celeriac.bridge.configuration import broker_for, read_settings, single_url
from celeriac.bridge.consumer import EngineConsumer
from celeriac.bridge.executor import CeleryExecutor
from celeriac.bridge.process import make_shard, run_shard
from celeriac.bridge.report import log_events
from celeriac.core.events import Events
from celeriac.engine.shard import ShardSpec
from celeriac.engine.solo import Solo
from celeriac.engine.supervisor import Supervisor, new_spec

__all__ = ["EngineStep", "ShardsEngine", "SoloEngine"]

#: Seconds for which an idle solo worker waits for tasks before it looks at remote control.
_IDLE_WAIT = 0.05


class _Engine:
    """What the engines share."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self.settings = read_settings(worker.app)
        self.url = single_url(worker.app.conf.broker_read_url) or ""
        self.broker = broker_for(worker.app, self.url)
        self.queues: Sequence[str] = list(worker.app.amqp.queues.consume_from)
        self.events = log_events(Events())
        self.recorder = self._recorder()

    def _recorder(self) -> CeleryExecutor:
        """What tells result backend and signals of messages that died unfinished."""
        return CeleryExecutor(self.worker.app, self.worker.hostname, hold_results=False)

    @property
    def node(self) -> str:
        """The worker's name, told apart from its earlier lives by the process id."""
        return f"{self.worker.hostname}:{os.getpid()}"


class ShardsEngine(_Engine):
    """Shards in processes of their own: many that run one task at a time, or one that runs many."""

    def __init__(self, worker: Any) -> None:
        super().__init__(worker)
        one_at_a_time = worker.pool_name == "prefork"
        self.supervisor = Supervisor(
            self.broker,
            self.settings,
            self.events,
            node=self.node,
            queues=self.queues,
            count=worker.concurrency if one_at_a_time else 1,
            slots=1 if one_at_a_time else worker.concurrency,
            launch=self._launch,
            on_buried=self.recorder.bury,
            max_tasks=worker.max_tasks_per_child,
        )

    def start(self) -> None:
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

    def notes(self) -> list[bytes]:
        return [line for _, note in self.supervisor.notes() for line in note.splitlines()]

    def pids(self) -> list[int]:
        return [shard.process.pid or 0 for shard in self.supervisor.shards.values()]

    def _launch(self, spec: ShardSpec) -> None:
        app, hostname, pool = self.worker.app, self.worker.hostname, self.worker.pool_name
        run_shard(app, hostname, pool, partial(broker_for, app, self.url), self.settings, spec)


class SoloEngine(_Engine):
    """Everything in this process."""

    def __init__(self, worker: Any) -> None:
        super().__init__(worker)
        spec = new_spec("Solo", self.node, self.queues, self.settings)
        self._spec = spec
        shard_broker = broker_for(worker.app, self.url)
        shard = make_shard(worker.app, worker.hostname, shard_broker, self.settings, spec)
        self.solo = Solo(shard, self.broker, self.settings, self.events, self.recorder.bury)

    def start(self) -> None:
        self.solo.start()

    def tick(self, poll: Callable[[float], None]) -> None:
        self.solo.tick(_IDLE_WAIT)
        poll(0)

    def stop(self) -> None:
        self.solo.stop()

    kill = stop

    finished = True

    def notes(self) -> list[bytes]:
        note = self._spec.journal.read_note()
        return [note] if note else []

    def pids(self) -> list[int]:
        return [os.getpid()]


class EngineStep(bootsteps.StartStopStep):
    """Runs the engine until the worker is told to stop."""

    label = "Engine"
    last = True

    def create(self, worker: Any) -> Any:
        engine_class = SoloEngine if worker.pool_name == "solo" else ShardsEngine
        worker.engine = engine_class(worker)
        worker.consumer = EngineConsumer(worker)
        return worker.engine

    def start(self, worker: Any) -> None:
        """Start the shards, tell that the worker is ready, and look after them until told to stop."""
        worker.consumer.poll(0)
        worker.engine.start()
        worker.ready_callback(worker.consumer)
        while True:
            state.maybe_shutdown()
            worker.engine.tick(worker.consumer.poll)

    def stop(self, worker: Any) -> None:
        """Wait for what runs to finish; a second signal kills it instead."""
        worker.engine.stop()
        while not worker.engine.finished:
            if state.should_terminate not in (None, False):
                worker.engine.kill()
            worker.engine.tick(worker.consumer.poll)
        self._close(worker)

    def terminate(self, worker: Any) -> None:
        """Kill what runs; what may run again goes back to its queue."""
        worker.engine.kill()
        while not worker.engine.finished:
            worker.engine.tick(worker.consumer.poll)
        self._close(worker)

    def _close(self, worker: Any) -> None:
        worker.consumer.stop()
        worker.engine.broker.close()
