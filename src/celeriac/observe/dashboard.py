"""A dashboard for Grafana, made for the metrics of this package."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

__all__ = ["EXPRESSIONS", "dashboard"]

_WIDTH, _PER_ROW, _HEIGHT = 24, 3, 8


class _Panel(msgspec.Struct, frozen=True):
    title: str
    unit: str
    #: What each line shows, by its legend.
    lines: dict[str, str]
    kind: str = "timeseries"


def _quantiles(metric: str, by: str) -> dict[str, str]:
    rate = f"sum by ({by}, le) (rate({metric}_bucket[$__rate_interval]))"
    return {
        f"{{{{ {by} }}}} p{percent}": f"histogram_quantile({percent / 100}, {rate})"
        for percent in (50, 95, 99)
    }


_QUEUE = 'queue=~"$queue"'
_ROWS: Final[dict[str, tuple[_Panel, ...]]] = {
    "Queues": (
        _Panel("Waiting", "short", {"{{ queue }}": f"max by (queue) (celery_queue_length{{{_QUEUE}}})"}),
        _Panel(
            "Age of the oldest message",
            "s",
            {"{{ queue }}": f"max by (queue) (celeriac_queue_oldest_message_age_seconds{{{_QUEUE}}})"},
        ),
        _Panel(
            "Time to empty",
            "s",
            {"{{ queue }}": f"max by (queue) (celeriac_queue_drain_seconds{{{_QUEUE}}})"},
        ),
        _Panel(
            "Coming and going",
            "reqps",
            {
                f"{{{{ queue }}}} {word}": f"max by (queue) (rate({name}_total{{{_QUEUE}}}[5m]))"
                for word, name in (("come", "celeriac_queue_arrivals"), ("go", "celeriac_queue_departures"))
            },
        ),
        _Panel(
            "Leased and scheduled",
            "short",
            {
                "{{ queue }} leased": f"max by (queue) (celeriac_queue_unacked{{{_QUEUE}}})",
                "{{ queue }} scheduled": f"max by (queue) (celeriac_queue_scheduled{{{_QUEUE}}})",
            },
        ),
        _Panel(
            "Dead letters", "short", {"{{ queue }}": f"max by (queue) (celeriac_dead_letters{{{_QUEUE}}})"}
        ),
    ),
    "Tasks": (
        _Panel(
            "Ended, by what became of them",
            "reqps",
            {"{{ outcome }}": "sum by (outcome) (rate(celeriac_tasks_finished_total[$__rate_interval]))"},
        ),
        _Panel(
            "Failing, by task",
            "percentunit",
            {
                "{{ task }}": "sum by (task) (rate(celeriac_tasks_finished_total"
                '{outcome="failed"}[$__rate_interval]))'
                " / sum by (task) (rate(celeriac_tasks_finished_total[$__rate_interval]) > 0)"
            },
        ),
        _Panel(
            "Exceptions of the last hour",
            "short",
            {
                "{{ task }} {{ exception }}": "topk(10, sum by (task, exception)"
                " (increase(celeriac_task_failures_total[1h])))"
            },
        ),
        _Panel("Run time", "s", _quantiles("celeriac_task_duration_seconds", "task")),
        _Panel("Wait in the queue", "s", _quantiles("celeriac_task_queue_wait_seconds", "queue")),
        _Panel("Late after due", "s", _quantiles("celeriac_schedule_lateness_seconds", "queue")),
        _Panel("Size of messages", "bytes", _quantiles("celeriac_task_payload_bytes", "queue")),
    ),
    "Workers": (
        _Panel("Workers", "short", {"workers": "sum(max by (worker) (celeriac_worker_up))"}, "stat"),
        _Panel(
            "Busy",
            "percentunit",
            {"{{ worker }}": "max by (worker) (celeriac_worker_utilisation_ratio)"},
        ),
        _Panel(
            "Leases and processes",
            "short",
            {
                "renewed": "sum(increase(celeriac_lease_renewals_total[$__rate_interval]))",
                "taken from the dead": "sum(increase(celeriac_lease_expirations_total[$__rate_interval]))",
                "delivered again": "sum(increase(celeriac_task_redeliveries_total[$__rate_interval]))",
                "processes lost": "sum(increase(celeriac_worker_child_restarts_total"
                '{reason="lost"}[$__rate_interval]))',
            },
        ),
        _Panel(
            "Outbox",
            "s",
            {"{{ database }}": "max by (database) (celeriac_outbox_oldest_age_seconds)"},
        ),
        _Panel(
            "Beat: late after due",
            "s",
            {
                f"p{percent}": f"histogram_quantile({percent / 100},"
                " sum by (le) (rate(celeriac_beat_lateness_seconds_bucket[$__rate_interval])))"
                for percent in (50, 95, 99)
            },
        ),
        _Panel(
            "Beat: time since its last look",
            "s",
            {
                "{{ beat }}": "celeriac_beat_tick_age_seconds",
                "at most": "max(celeriac_beat_max_interval_seconds)",
            },
        ),
        _Panel(
            "Memory of the broker",
            "bytes",
            {
                "taken": "max(celeriac_broker_memory_bytes)",
                "at most": "max(celeriac_broker_memory_max_bytes)",
            },
        ),
        _Panel("Broker answers in", "s", {"{{ instance }}": "celeriac_broker_ping_seconds"}),
        _Panel("Broker there", "short", {"{{ instance }}": "celeriac_broker_up"}),
    ),
}

#: Every expression of the dashboard, for those who check them.
EXPRESSIONS: Final = [
    expression for panels in _ROWS.values() for panel in panels for expression in panel.lines.values()
]


def dashboard() -> str:
    """Return the dashboard as JSON, to be imported or provisioned."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row, of_row in _ROWS.items():
        place = {"h": 1, "w": _WIDTH, "x": 0, "y": y}
        panels.append({"id": len(panels) + 1, "type": "row", "title": row, "gridPos": place, "panels": []})
        y += 1
        width = _WIDTH // _PER_ROW
        for index, panel in enumerate(of_row):
            at = {
                "h": _HEIGHT,
                "w": width,
                "x": index % _PER_ROW * width,
                "y": y + index // _PER_ROW * _HEIGHT,
            }
            panels.append(_panel(len(panels) + 1, panel, at))
        y += -(-len(of_row) // _PER_ROW) * _HEIGHT
    return json.dumps(_page(panels), indent=2) + "\n"


def _panel(number: int, panel: _Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "gridPos": place,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "expr": expression,
                "legendFormat": legend,
                "datasource": _SOURCE,
            }
            for index, (legend, expression) in enumerate(panel.lines.items())
        ],
    }


_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def _page(panels: list[dict[str, Any]]) -> dict[str, Any]:
    queues = "label_values(celery_queue_length, queue)"
    return {
        "uid": "celeriac",
        "title": "Celeriac",
        "tags": ["celery", "celeriac"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {
                    "name": "queue",
                    "type": "query",
                    "datasource": _SOURCE,
                    "query": {"query": queues, "refId": "queue"},
                    "definition": queues,
                    "refresh": 2,
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": panels,
    }
