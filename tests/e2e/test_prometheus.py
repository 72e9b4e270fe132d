"""A real Prometheus scrapes a worker, an exporter and what beat tells, and is asked for all of it."""

from __future__ import annotations

import time
from pathlib import Path

from celeriac.observe.dashboard import EXPRESSIONS
from celeriac.observe.rules import rules
from tests.prometheus import Prometheus, prometheus
from tests.scraped import beat, exporter, measured
from tests.servers import redis_server, wait_until
from tests.stage import APP, Stage

MEGABYTE = 1024 * 1024
OFTEN = {"often": {"task": f"{APP}.total", "schedule": 0.5, "args": [[1, 2]]}}


def test_what_prometheus_is_told_is_true_and_all_that_is_shipped_finds_it(tmp_path: Path) -> None:
    with redis_server("--maxmemory", "100mb") as redis:
        stage = Stage(tmp_path, redis)
        with (
            measured(stage, "-c", "2", metrics_compatible=True) as (_, worker),
            exporter(stage, "--queues-only") as whole,
            beat(stage, beat_schedule=OFTEN),
            prometheus(tmp_path, [worker.port, whole.port], rules()) as server,
        ):
            began = time.time()
            for number in range(30):
                stage.send("add", number, 1)
            stage.send("fail", "boom")
            wait_for(server, 'sum(celeriac_tasks_finished_total{task=~".*add|.*fail"})', 31)
            # Delivered three times. Only now: what its process had finished and not settled would run again.
            stage.send("suicide", "poison")
            wait_for(server, 'celeriac_dead_letters_buried_total{reason="poison"}', 1)
            wait_for(server, 'celeriac_task_redeliveries_total{queue="celery"}', 2)
            wait_for(server, 'celeriac_worker_child_restarts_total{reason="lost"}', 3)
            wait_for(server, "max by (queue) (celeriac_dead_letters)", 1)
            slots_and_backlog(stage, server)
            beat_and_memory(server, began)
            everything_shipped(server)


def wait_for(server: Prometheus, expression: str, value: float) -> None:
    """Return once every series of the expression has this value, and there is one."""
    wait_until(lambda: set(server.query(expression).values()) == {value}, what=f"{expression} {value}")


def slots_and_backlog(stage: Stage, server: Prometheus) -> None:
    """One slot is taken for long; what waits for the other has a time to drain."""
    stage.send("effect", "long", 600)
    wait_until(lambda: stage.ledger.count("started", "long"), what="the long one")
    wait_for(server, "sum(celeriac_worker_processes)", 2)
    wait_for(server, "sum(celeriac_worker_busy_processes) >= 1", 1)
    for number in range(60):
        stage.send("effect", f"brief{number}", 0.1)
    draining = 'max(celeriac_queue_drain_seconds{queue="celery"} > 0) < Inf'
    wait_until(lambda: server.query(draining), what="a time to drain")
    wait_until(lambda: stage.ledger.count("done", "brief%") == 60, what="the brief ones done")
    wait_for(server, 'celeriac_queue_drain_seconds{queue="celery"}', 0)
    wait_for(server, 'max(celeriac_queue_unacked{queue="celery"}) >= 1', 1)
    # All that was sent, what beat has sent, and never more than has been started or is there.
    came = server.query('max(celeriac_queue_arrivals_total{queue="celery"}) >= 93')
    assert came, server.query("celeriac_queue_arrivals_total")
    assert server.query("sum(rate(celeriac_lease_renewals_total[1m])) > 0")
    assert server.query("sum(celeriac_task_payload_bytes_sum) / sum(celeriac_task_payload_bytes_count) > 300")


def beat_and_memory(server: Prometheus, began: float) -> None:
    """The exporter tells of beat and of Redis."""
    wait_until(lambda: server.query("celeriac_beat_lateness_seconds_count >= 2"), what="beat's lateness")
    [last] = server.query('celeriac_schedule_last_run_timestamp_seconds{schedule="often"}').values()
    assert began - 60 < last <= time.time()
    assert server.query("celeriac_beat_tick_age_seconds < celeriac_beat_max_interval_seconds")
    assert set(server.query("celeriac_broker_memory_max_bytes").values()) == {100 * MEGABYTE}
    used = server.query("celeriac_broker_memory_bytes").values()
    assert all(MEGABYTE / 4 < taken < 100 * MEGABYTE for taken in used)
    assert set(server.query("celeriac_broker_evicted_keys_total").values()) == {0}


def everything_shipped(server: Prometheus) -> None:
    """Targets are healthy, dashboards and rules are understood, and familiar names have values."""
    wait_for(server, "up", 1)
    assert {target["lastError"] for target in server.ask("targets")["activeTargets"]} == {""}
    for expression in EXPRESSIONS:
        server.query(expression.replace("$__rate_interval", "5m").replace("$queue", ".*"))
    for expression in FAMILIAR:
        wait_until(lambda e=expression: server.query(e), what=expression)
    loaded = server.ask("rules")["groups"]
    assert {rule["health"] for group in loaded for rule in group["rules"]} <= {"ok", "unknown"}


#: What the dashboards for celery-exporter and for Flower ask for, cut down to one series each.
FAMILIAR = [
    'count(celery_worker_up{job="celeriac"} == 1)',
    'sum(celery_worker_tasks_active{job="celeriac"})',
    'sum by (name) (celery_task_sent_total{job="celeriac"})',
    *(
        f'sum(round(increase(celery_task_{state}_total{{job="celeriac", queue_name=~"celery"}}[1w])))'
        for state in ("succeeded", "received", "started", "retried", "rejected", "revoked")
    ),
    'sum by (exception) (celery_task_failed_total{queue_name=~"celery", exception="ValueError"}) > 0',
    'sum by (job, queue_name) (celery_queue_length{job="celeriac", queue_name=~"celery"})',
    'histogram_quantile(0.95, sum by (job, le) (celery_task_runtime_bucket{job="celeriac"} > 0))',
    "histogram_quantile(0.95, sum by (le) (celery_task_queue_wait_time_bucket))",
    "sum(celery_task_runtime_sum) / sum(celery_task_runtime_count) > 0",
    "sum by (worker) (flower_worker_online) == 1",
    'sum by (task) (flower_events_total{type="task-succeeded"}) > 0',
    "sum(flower_task_runtime_seconds_sum) / sum(flower_task_runtime_seconds_count) > 0",
    "sum(flower_worker_number_of_currently_executing_tasks)",
]
