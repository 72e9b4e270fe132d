"""A shard's process: Celery's own set-up of a pool child, then the engine's shard."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from types import FrameType
from typing import Any

from billiard.util import _run_after_forkers, set_pdeathsig
from celery.concurrency.prefork import process_destructor, process_initializer

from celeriac.bridge.executor import CeleryExecutor
from celeriac.bridge.kept_loop import await_async_tasks
from celeriac.bridge.report import log_events
from celeriac.core.broker import Broker
from celeriac.core.events import Events
from celeriac.core.settings import Settings
from celeriac.engine.shard import Shard, ShardSpec

__all__ = ["make_shard", "run_shard"]


def run_shard(app: Any, hostname: str, broker: Broker, settings: Settings, spec: ShardSpec) -> None:
    """Run a shard to its end in this process, which has just been forked."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    _run_after_forkers()  # drops what Celery's app and result backend inherited
    process_initializer(app, hostname)
    shard = make_shard(app, hostname, broker, settings, spec)

    def stop(_number: int, _frame: FrameType | None) -> None:
        shard.stop()

    signal.signal(signal.SIGTERM, stop)
    set_pdeathsig(signal.SIGTERM)  # the initializer chose KILL, which would cut a running task short
    gc.freeze()  # what the supervisor loaded stays shared between the processes
    try:
        shard.run()
    finally:
        process_destructor(os.getpid(), 0)
        broker.close()
        _flush_output()


def make_shard(app: Any, hostname: str, broker: Broker, settings: Settings, spec: ShardSpec) -> Shard:
    """Return a shard that runs the app's tasks in this process."""
    await_async_tasks(app, hostname)
    executor = CeleryExecutor(app, hostname)
    return Shard(spec, broker, executor, settings, log_events(Events()), app.layers)


def _flush_output() -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
