"""Alert rules for Prometheus, made for the metrics of this package and tested with ``promtool``."""

from __future__ import annotations

import json
from typing import Final

import msgspec

__all__ = ["ALERTS", "RECORDS", "Alert", "rules"]

_RUNBOOK = "docs/howto/metrics.md"


class Alert(msgspec.Struct, frozen=True):
    """One alert: when, for how long, how bad, and what to say."""

    name: str
    expression: str
    wait: str
    severity: str
    summary: str
    #: What somebody who is woken by it should look at.
    todo: str


#: Each queue once, though every worker's port shows it.
_BY_QUEUE = "max by (queue)"

#: Series that are kept ready: what is asked for often. Names as Prometheus' guide has them.
RECORDS: Final[dict[str, str]] = {
    "queue:celeriac_queue_depth:max": f"{_BY_QUEUE} (celeriac_queue_depth)",
    "queue:celeriac_arrivals:rate5m": f"{_BY_QUEUE} (rate(celeriac_queue_arrivals_total[5m]))",
    "queue:celeriac_departures:rate5m": f"{_BY_QUEUE} (rate(celeriac_queue_departures_total[5m]))",
    "task:celeriac_failures:ratio5m": (
        'sum by (task) (rate(celeriac_tasks_finished_total{outcome="failed"}[5m]))'
        " / sum by (task) (rate(celeriac_tasks_finished_total[5m]) > 0)"
    ),
}

ALERTS: Final[tuple[Alert, ...]] = (
    Alert(
        "CeleriacQueueOldestMessage",
        f"{_BY_QUEUE} (celeriac_queue_oldest_message_age_seconds) > 300",
        "2m",
        "warning",
        "The oldest message of queue {{ $labels.queue }} has waited for {{ $value | humanizeDuration }}.",
        "Are there workers for this queue, and are they busy? Look at what they run.",
    ),
    Alert(
        "CeleriacQueueUnconsumed",
        f"{_BY_QUEUE} (celeriac_queue_depth) > 0 and {_BY_QUEUE} (celeriac_queue_workers) == 0",
        "5m",
        "critical",
        "Queue {{ $labels.queue }} has messages, and no worker that tells of itself consumes from it.",
        "Start a worker with -Q {{ $labels.queue }}; workers without metrics are not seen.",
    ),
    Alert(
        "CeleriacQueueGrowing",
        f"{_BY_QUEUE} (celeriac_queue_drain_seconds) > 3600"
        f" and {_BY_QUEUE} (deriv(celeriac_queue_depth[15m])) > 0",
        "30m",
        "warning",
        "Queue {{ $labels.queue }} grows, and would take more than an hour to empty.",
        "More messages come than are run: add workers, or find what has become slow.",
    ),
    Alert(
        "CeleriacErrorBudgetBurnFast",
        'sum(rate(celeriac_tasks_finished_total{outcome=~"failed|lost"}[1h]))'
        " / sum(rate(celeriac_tasks_finished_total[1h])) > 14.4 * 0.001"
        ' and sum(rate(celeriac_tasks_finished_total{outcome=~"failed|lost"}[5m]))'
        " / sum(rate(celeriac_tasks_finished_total[5m])) > 14.4 * 0.001",
        "2m",
        "critical",
        "{{ $value | humanizePercentage }} of all tasks fail: a month's budget of 0.1 % lasts two days.",
        "celeriac_task_failures_total says which task and which exception.",
    ),
    Alert(
        "CeleriacErrorBudgetBurnSlow",
        'sum(rate(celeriac_tasks_finished_total{outcome=~"failed|lost"}[6h]))'
        " / sum(rate(celeriac_tasks_finished_total[6h])) > 6 * 0.001"
        ' and sum(rate(celeriac_tasks_finished_total{outcome=~"failed|lost"}[30m]))'
        " / sum(rate(celeriac_tasks_finished_total[30m])) > 6 * 0.001",
        "15m",
        "warning",
        "{{ $value | humanizePercentage }} of all tasks fail: a month's budget of 0.1 % lasts five days.",
        "celeriac_task_failures_total says which task and which exception.",
    ),
    Alert(
        "CeleriacRetryStorm",
        'sum by (task) (rate(celeriac_tasks_finished_total{outcome="retried"}[10m]))'
        " / sum by (task) (rate(celeriac_tasks_started_total[10m]) > 0) > 0.5",
        "10m",
        "warning",
        "More than half of the runs of {{ $labels.task }} end in a retry.",
        "Something that the task needs is away; more workers make it worse.",
    ),
    Alert(
        "CeleriacRedeliveryLoop",
        "sum by (queue) (rate(celeriac_task_redeliveries_total[10m])) > 0.1",
        "10m",
        "warning",
        "Messages of queue {{ $labels.queue }} are delivered again and again.",
        "Processes die while they run them: look at memory, and at celeriac_worker_child_restarts_total.",
    ),
    Alert(
        "CeleriacDeadLetters",
        f"{_BY_QUEUE} (celeriac_dead_letters) > 0",
        "5m",
        "warning",
        "Queue {{ $labels.queue }} has {{ $value }} dead letters.",
        "celeriac -A proj dead list says why; retry or drop them.",
    ),
    Alert(
        "CeleriacWorkerLostProcesses",
        'sum(increase(celeriac_worker_child_restarts_total{reason="lost"}[10m])) > 3',
        "0m",
        "warning",
        "Processes of workers die.",
        "The workers' logs say of which signal; KILL mostly means that memory ran out.",
    ),
    Alert(
        "CeleriacWorkersSaturated",
        "sum(celeriac_worker_busy_processes) / sum(celeriac_worker_processes) > 0.9"
        f" and on() sum({_BY_QUEUE} (celeriac_queue_depth)) > 0",
        "15m",
        "warning",
        "All workers are busy, and messages wait.",
        "Add workers, or processes to them.",
    ),
    Alert(
        "CeleriacBrokerAway",
        "celeriac_broker_up == 0",
        "1m",
        "critical",
        "{{ $labels.instance }} cannot reach its broker.",
        "Nothing is lost that was accepted; nothing is run either.",
    ),
    Alert(
        "CeleriacBrokerFlapping",
        "sum(increase(celeriac_worker_broker_reconnects_total[15m])) > 3",
        "0m",
        "warning",
        "Connections to the broker break again and again.",
        "Look at the network, and at the broker's memory.",
    ),
    Alert(
        "CeleriacBrokerMemory",
        "max(celeriac_broker_memory_bytes) / max(celeriac_broker_memory_max_bytes) > 0.8",
        "5m",
        "critical",
        "The broker has taken {{ $value | humanizePercentage }} of the memory that it may take.",
        "When it is full nothing more is accepted: find the queue that grows, or give it more.",
    ),
    Alert(
        "CeleriacBrokerEvictions",
        "max(increase(celeriac_broker_evicted_keys_total[15m])) > 0",
        "0m",
        "critical",
        "The broker throws keys away for want of memory; messages may be among them.",
        "Set maxmemory-policy to noeviction, and keep caches elsewhere.",
    ),
    Alert(
        "CeleriacOutboxLag",
        "max by (database) (celeriac_outbox_oldest_age_seconds) > 60",
        "2m",
        "critical",
        "A message has been in the outbox of {{ $labels.database }} for {{ $value | humanizeDuration }}.",
        "Does a relay run, and does it reach the broker?",
    ),
    Alert(
        "CeleriacScheduleLate",
        "histogram_quantile(0.95,"
        " sum by (queue, le) (rate(celeriac_schedule_lateness_seconds_bucket[10m]))) > 60",
        "10m",
        "warning",
        "Tasks of queue {{ $labels.queue }} start more than a minute after they are due.",
        "They wait behind others: give what has a due time a queue of its own.",
    ),
    Alert(
        "CeleriacBeatStalled",
        "min(celeriac_beat_tick_age_seconds) > 2 * max(celeriac_beat_max_interval_seconds)",
        "1m",
        "critical",
        "No beat has looked at its schedule for {{ $value | humanizeDuration }}.",
        "Does celery beat run, and does it reach the broker?",
    ),
    Alert(
        "CeleriacScheduleMissed",
        "max(increase(celeriac_beat_missed_total[15m])) > 0",
        "0m",
        "warning",
        "Beat has come too late for some of what was due, and skipped it.",
        "Was it away, or does it send more than it can? See celeriac_beat_lateness_seconds.",
    ),
    Alert(
        "CeleriacLabelOverflow",
        "max by (label) (celeriac_label_overflow_total) > 0",
        "0m",
        "info",
        "{{ $value }} values of label {{ $labels.label }} are shown together as _other.",
        "Raise metrics_max_tasks, or leave it.",
    ),
)


def rules() -> str:
    """Return the rules as YAML for ``rule_files``."""
    lines = ["groups:", "  - name: celeriac-records", "    rules:"]
    for name, expression in RECORDS.items():
        lines += [f"      - record: {name}", f"        expr: {json.dumps(expression)}"]
    lines += ["  - name: celeriac-alerts", "    rules:"]
    for alert in ALERTS:
        lines += [
            f"      - alert: {alert.name}",
            f"        expr: {json.dumps(alert.expression)}",
            f"        for: {alert.wait}",
            "        labels:",
            f"          severity: {alert.severity}",
            "        annotations:",
            f"          summary: {json.dumps(alert.summary)}",
            f"          description: {json.dumps(alert.todo)}",
            f"          runbook: {_RUNBOOK}#{alert.name.lower()}",
        ]
    return "\n".join(lines) + "\n"
