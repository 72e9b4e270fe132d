"""A shard's process: Celery's own set-up of a pool child, then the engine's shard."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import kombu.pools
import msgspec
from billiard.process import current_process
from billiard.util import _run_after_forkers, set_pdeathsig
from celery.concurrency.prefork import process_destructor, process_initializer

from celeriac.bridge.async_executor import AsyncExecutor
from celeriac.bridge.child_signals import heed_signals
from celeriac.bridge.counted_events import CountedEvents
from celeriac.bridge.counting import Counting
from celeriac.bridge.executor import CeleryExecutor
from celeriac.bridge.kept_loop import await_async_tasks
from celeriac.bridge.limits import TimeLimits
from celeriac.bridge.orders import Orders
from celeriac.bridge.pool_child import run_as_pool_child
from celeriac.bridge.pools import ASYNCIO, THREADS
from celeriac.bridge.report import log_events
from celeriac.bridge.solo_executor import SoloExecutor
from celeriac.bridge.thread_executor import ThreadExecutor
from celeriac.bridge.totals import Totals
from celeriac.core.broker import Broker
from celeriac.core.events import Events
from celeriac.core.settings import Settings
from celeriac.engine.concurrent_shard import ConcurrentShard
from celeriac.engine.shard import Shard, ShardSpec

__all__ = ["Shared", "make_shard", "run_shard"]


#: By pool, for those that run several tasks at a time in one process.
_CONCURRENT = {THREADS: ThreadExecutor, ASYNCIO: AsyncExecutor}


class Shared(msgspec.Struct, frozen=True):
    """What a worker's shards have in common, made before they are forked."""

    orders: Orders
    totals: Totals
    limits: TimeLimits
    pool: str
    #: Returns a new connection to the broker each time it is called.
    connect: Callable[[], Broker]
    #: Made before the fork and never used in that process; to make it takes pages that then stay shared.
    unused_broker: Broker
    #: Where the shards count what they do; None: they do not.
    counting: Counting | None = None


def run_shard(app: Any, hostname: str, settings: Settings, spec: ShardSpec, shared: Shared) -> None:
    """Run a shard to its end in this process, which has just been forked."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # until the shard is made
    _run_after_forkers()  # Celery's app and result backend forget what they inherited
    inherited = _forget_pools()
    current_process().index = spec.number - 1  # the %i in the name of a log file
    revocations = shared.orders.revocations()
    process_initializer(app, hostname)  # which also resets Celery's state
    for notice in revocations:
        shared.orders.heed(notice)
    try:
        with ExitStack() as left_open:
            if shared.pool in _CONCURRENT:
                shard: Shard = _concurrent_shard(app, hostname, settings, spec, shared, left_open)
            else:
                broker = left_open.enter_context(closing(shared.unused_broker))
                shard = make_shard(app, hostname, broker, settings, spec, shared)
            _run(shard, spec)
    finally:
        del inherited  # kept until now, as collecting them would close the supervisor's connections
        _flush_output()


def _run(shard: Shard, spec: ShardSpec) -> None:
    heed_signals(spec.journal, shard.stop)
    set_pdeathsig(signal.SIGTERM)  # the initializer chose KILL, which would cut a running task short
    gc.freeze()  # what the supervisor loaded stays shared between the processes
    try:
        run_as_pool_child(shard.run)
    finally:
        process_destructor(os.getpid(), 0)


def _forget_pools() -> list[Any]:
    """Let this process make pools of its own; return the old ones, whose sockets are not to be closed."""
    inherited = [*kombu.pools.connections.values(), *kombu.pools.producers.values()]
    kombu.pools.connections.clear()
    kombu.pools.producers.clear()
    return inherited


def make_shard(
    app: Any, hostname: str, broker: Broker, settings: Settings, spec: ShardSpec, shared: Shared
) -> Shard:
    """Return a shard that runs the app's tasks in this process, one at a time."""
    await_async_tasks(app, hostname)
    orders, events = _told(shared, spec)
    count = shared.totals.counter(spec.number).add
    executor_class = SoloExecutor if shared.pool == "solo" else CeleryExecutor
    executor = executor_class(app, hostname, orders, count, shared.limits)
    return Shard(spec, broker, executor, settings, events, app.layers, orders.heed)


def _concurrent_shard(
    app: Any, hostname: str, settings: Settings, spec: ShardSpec, shared: Shared, left_open: ExitStack
) -> ConcurrentShard:
    await_async_tasks(app, hostname)
    orders, events = _told(shared, spec)
    count = shared.totals.counter(spec.number).add
    executor = _CONCURRENT[shared.pool](app, hostname, orders, count, shared.limits)
    broker, doorbell = (left_open.enter_context(closing(shared.connect())) for _ in range(2))
    left_open.enter_context(closing(executor))
    return ConcurrentShard(
        spec, broker, executor, settings, events, app.layers, orders.heed, doorbell=doorbell
    )


def _told(shared: Shared, spec: ShardSpec) -> tuple[Orders, Events]:
    """Return what remote control has asked for, and those who hear of what happens here."""
    orders, events = shared.orders.for_shard(), log_events(Events())
    if shared.counting is not None:
        orders.events = CountedEvents(orders.events, shared.counting.listen(spec.name, events))
    return orders, events


def _flush_output() -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
