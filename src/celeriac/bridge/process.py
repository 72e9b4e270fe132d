"""A shard's process: Celery's own set-up of a pool child, then the engine's shard."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from types import FrameType
from typing import Any

from billiard.util import _run_after_forkers, set_pdeathsig
from celery.concurrency.prefork import process_destructor, process_initializer

from celeriac.bridge.async_executor import AsyncExecutor
from celeriac.bridge.executor import CeleryExecutor
from celeriac.bridge.kept_loop import await_async_tasks
from celeriac.bridge.pools import ASYNCIO
from celeriac.bridge.report import log_events
from celeriac.bridge.thread_executor import ThreadExecutor
from celeriac.core.broker import Broker
from celeriac.core.events import Events
from celeriac.core.settings import Settings
from celeriac.engine.concurrent_shard import ConcurrentShard
from celeriac.engine.shard import Shard, ShardSpec

__all__ = ["make_shard", "run_shard"]


#: By pool, for those that run several tasks at a time in one process.
_CONCURRENT = {"threads": ThreadExecutor, ASYNCIO: AsyncExecutor}


def run_shard(
    app: Any, hostname: str, pool: str, connect: Callable[[], Broker], settings: Settings, spec: ShardSpec
) -> None:
    """Run a shard of the pool to its end in this process, which has just been forked.

    ``connect`` returns a new connection to the broker each time it is called.
    """
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    _run_after_forkers()  # drops what Celery's app and result backend inherited
    process_initializer(app, hostname)
    with ExitStack() as left_open:
        if pool in _CONCURRENT:
            shard = _concurrent_shard(app, hostname, pool, connect, settings, spec, left_open)
        else:
            broker = left_open.enter_context(closing(connect()))
            shard = make_shard(app, hostname, broker, settings, spec)
        _run(shard)
    _flush_output()


def _run(shard: Shard) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        shard.stop()

    signal.signal(signal.SIGTERM, stop)
    set_pdeathsig(signal.SIGTERM)  # the initializer chose KILL, which would cut a running task short
    gc.freeze()  # what the supervisor loaded stays shared between the processes
    try:
        shard.run()
    finally:
        process_destructor(os.getpid(), 0)


def make_shard(app: Any, hostname: str, broker: Broker, settings: Settings, spec: ShardSpec) -> Shard:
    """Return a shard that runs the app's tasks in this process, one at a time."""
    await_async_tasks(app, hostname)
    executor = CeleryExecutor(app, hostname)
    return Shard(spec, broker, executor, settings, log_events(Events()), app.layers)


def _concurrent_shard(
    app: Any,
    hostname: str,
    pool: str,
    connect: Callable[[], Broker],
    settings: Settings,
    spec: ShardSpec,
    left_open: ExitStack,
) -> Shard:
    await_async_tasks(app, hostname)
    broker, doorbell = (left_open.enter_context(closing(connect())) for _ in range(2))
    executor = left_open.enter_context(closing(_CONCURRENT[pool](app, hostname)))
    events = log_events(Events())
    return ConcurrentShard(spec, broker, executor, settings, events, app.layers, doorbell=doorbell)


def _flush_output() -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
