"""A shard's process: Celery's own set-up of a pool child, then the engine's shard."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from types import FrameType
from typing import Any

import kombu.pools
import msgspec
from billiard.process import current_process
from billiard.util import _run_after_forkers, set_pdeathsig
from celery.concurrency.prefork import process_destructor, process_initializer

from celeriac.bridge.executor import CeleryExecutor
from celeriac.bridge.limits import TimeLimits
from celeriac.bridge.orders import Orders
from celeriac.bridge.pool_child import run_as_pool_child
from celeriac.bridge.report import log_events
from celeriac.bridge.totals import Totals
from celeriac.core.broker import Broker
from celeriac.core.events import Events
from celeriac.core.settings import Settings
from celeriac.engine.shard import Shard, ShardSpec

__all__ = ["Shared", "make_shard", "run_shard"]


class Shared(msgspec.Struct, frozen=True):
    """What a worker's shards have in common, made before they are forked."""

    orders: Orders
    totals: Totals
    limits: TimeLimits


def run_shard(
    app: Any, hostname: str, broker: Broker, settings: Settings, spec: ShardSpec, shared: Shared
) -> None:
    """Run a shard to its end in this process, which has just been forked."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    _run_after_forkers()  # Celery's app and result backend forget what they inherited
    inherited = _forget_pools()
    current_process().index = spec.number - 1  # the %i in the name of a log file
    revocations = shared.orders.revocations()
    process_initializer(app, hostname)  # which also resets Celery's state
    for notice in revocations:
        shared.orders.heed(notice)
    shard = make_shard(app, hostname, broker, settings, spec, shared)

    def stop(_number: int, _frame: FrameType | None) -> None:
        shard.stop()

    signal.signal(signal.SIGTERM, stop)
    set_pdeathsig(signal.SIGTERM)  # the initializer chose KILL, which would cut a running task short
    gc.freeze()  # what the supervisor loaded stays shared between the processes
    try:
        run_as_pool_child(shard.run)
    finally:
        process_destructor(os.getpid(), 0)
        del inherited  # kept until now, as collecting them would close the supervisor's connections
        broker.close()
        _flush_output()


def _forget_pools() -> list[Any]:
    """Let this process make pools of its own; return the old ones, whose sockets are not to be closed."""
    inherited = [*kombu.pools.connections.values(), *kombu.pools.producers.values()]
    kombu.pools.connections.clear()
    kombu.pools.producers.clear()
    return inherited


def make_shard(
    app: Any, hostname: str, broker: Broker, settings: Settings, spec: ShardSpec, shared: Shared
) -> Shard:
    """Return a shard that runs the app's tasks in this process."""
    orders = shared.orders.for_shard()
    count = shared.totals.counter(spec.number).add
    executor = CeleryExecutor(app, hostname, orders, count, shared.limits)
    return Shard(spec, broker, executor, settings, log_events(Events()), app.layers, orders.heed)


def _flush_output() -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
