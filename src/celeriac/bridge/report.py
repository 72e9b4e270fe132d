"""Turns the engine's events into log lines."""

from __future__ import annotations

import signal

from celery.utils.log import get_logger

from celeriac.core.events import (
    BrokerLost,
    BrokerRegained,
    Events,
    LeaseLost,
    LeasesReturned,
    MessageBuried,
    ShardStarted,
    ShardStopped,
)

__all__ = ["log_events"]

logger = get_logger("celeriac.engine")


def log_events(events: Events) -> Events:
    """Subscribe the log to every event; return the events."""
    events.subscribe(ShardStarted, lambda e: logger.info("%s started, pid %d", e.shard, e.pid))
    events.subscribe(ShardStopped, _shard_stopped)
    events.subscribe(LeasesReturned, _leases_returned)
    events.subscribe(
        MessageBuried, lambda e: logger.error("Message of queue %s buried: %s", e.queue, e.reason)
    )
    events.subscribe(LeaseLost, _lease_lost)
    events.subscribe(BrokerLost, lambda e: logger.error("%s; trying again in %.1f s", e.error, e.retry_in))
    events.subscribe(BrokerRegained, lambda _: logger.info("The broker answers again"))
    return events


def _shard_stopped(event: ShardStopped) -> None:
    if event.expected:
        logger.info("%s stopped, pid %d", event.shard, event.pid)
        return
    how = f"exit code {event.exitcode}"
    if event.exitcode < 0:
        how = f"signal {signal.Signals(-event.exitcode).name}"
    logger.error("%s, pid %d, died of %s; a new one takes over", event.shard, event.pid, how)


def _leases_returned(event: LeasesReturned) -> None:
    whose = event.owner or "nodes that stopped renewing"
    logger.warning("%d leases of %s went back to their queues", event.count, whose)


def _lease_lost(event: LeaseLost) -> None:
    if event.unsure:
        what = "is gone: settled by a call whose answer was lost, or taken back"
    else:
        what = "had been taken back before"
    logger.warning("Lease %s of queue %s %s", event.lease, event.queue, what)
