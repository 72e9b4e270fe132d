"""What is scraped: names, labels, caps, and what Prometheus' own parser makes of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse

from celeriac.brokers.sqlite import SqliteBroker
from celeriac.core.errors import MissingExtra
from celeriac.core.message import Message
from celeriac.observe.event_counts import EventCounts
from celeriac.observe.health import LIVE_WITHIN, Health, Pulse
from celeriac.observe.metrics import Exposition, Sources, health_pages
from celeriac.observe.prometheus import encode
from celeriac.observe.report import KEEP_FOR, WorkerReport, write_report
from celeriac.observe.tally import Page, Tally


class Outbox(NamedTuple):
    database: str
    depth: int
    oldest_seconds: float
    dead: int


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[SqliteBroker]:
    broker = SqliteBroker(tmp_path / "queue.db")
    yield broker
    broker.close()


def sources(broker: SqliteBroker, **more: object) -> Sources:
    return Sources(broker=broker, queues=lambda: ["q", "empty"], sent_at=lambda _: None, **more)


def told(hostname: str, tasks: int = 1) -> WorkerReport:
    tally = Tally(page := Page())
    for number in range(tasks):
        tally.started("q", f"task{number}", 700, redelivered=False, waited=0.2, late=0.3)
        tally.ended("q", f"task{number}", "succeeded", 0.02)
        tally.ended("q", f"task{number}", "failed", 2.0)
        tally.happened("failure", f"task{number}", "ValueError")
    tally.happened("renewed", count=4)
    return WorkerReport(
        node=f"{hostname}:1", hostname=hostname, queues=("q",), slots=4, busy=1, at=1.0, counts=page.read()
    )


def samples(exposition: Exposition) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = parse(exposition.page("")[2].decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(exposition: Exposition, name: str, **labels: str) -> float:
    return samples(exposition)[name, tuple(sorted(labels.items()))]


def test_every_priority_counts_and_leases_do_not(broker: SqliteBroker) -> None:
    broker.send([Message(queue="q", payload=b"%d" % n, priority=n) for n in range(10)])
    broker.claim(["q"], 3, owner="one", lease_for=60)
    exposition = Exposition(sources(broker))
    assert value(exposition, "celery_queue_length", queue="q") == 7
    assert value(exposition, "celery_queue_length", queue="empty") == 0
    assert value(exposition, "celeriac_queue_unacked", queue="q") == 3
    assert value(exposition, "celeriac_queue_oldest_message_age_seconds", queue="empty") == 0


def test_workers_are_those_that_told_the_broker(broker: SqliteBroker) -> None:
    for name in ("a@one", "b@two"):
        report = told(name)
        broker.post(report.node, write_report(report), KEEP_FOR)
    outboxes = [Outbox("default", 3, 12.5, 1)]
    exposition = Exposition(sources(broker, backlogs=lambda: outboxes))
    found = samples(exposition)
    by_task = {"queue": "q", "task": "task0"}
    assert value(exposition, "celeriac_tasks_finished_total", **by_task, outcome="succeeded") == 2
    assert (
        value(exposition, "celeriac_task_duration_seconds_bucket", **by_task, outcome="failed", le="2.5") == 2
    )
    assert value(exposition, "celeriac_task_failures_total", task="task0", exception="ValueError") == 2
    assert value(exposition, "celeriac_schedule_lateness_seconds_sum", queue="q") == pytest.approx(0.6)
    assert value(exposition, "celeriac_lease_renewals_total") == 8
    assert value(exposition, "celeriac_queue_processes", queue="q") == 8
    assert value(exposition, "celeriac_worker_utilisation_ratio", worker="a@one") == 0.25
    assert value(exposition, "celeriac_outbox_oldest_age_seconds", database="default") == 12.5
    assert all(
        "worker" not in dict(labels) for name, labels in found if not name.startswith("celeriac_worker_")
    )


def test_beside_the_workers_own_ports_only_queues_are_told(broker: SqliteBroker) -> None:
    report = told("a@one")
    broker.post(report.node, write_report(report), KEEP_FOR)
    exposition = Exposition(sources(broker), queues_only=True, compatible=True)
    assert value(exposition, "celeriac_queue_processes", queue="q") == 4
    names = {name for name, _ in samples(exposition)}
    assert not [name for name in names if re.search("task|worker_|flower", name)]


def test_names_follow_the_rules_and_openmetrics_takes_them(broker: SqliteBroker) -> None:
    report = told("a@one")
    exposition = Exposition(sources(broker, worker=lambda: report), compatible=True)
    status, content_type, body = exposition.page("application/openmetrics-text; version=1.0.0")
    assert (status, content_type.partition(";")[0]) == (200, "application/openmetrics-text")
    families = list(parse_open(body.decode()))
    assert len({family.name for family in families}) == len(families) > 30
    ours = [family for family in families if family.name.startswith("celeriac_")]
    for family in ours:
        assert family.documentation
        assert re.fullmatch(r"[a-z_]+", family.name)
        if family.type == "histogram":
            assert family.name.endswith(("_seconds", "_bytes"))


def test_too_many_tasks_are_shown_together_and_never_move(broker: SqliteBroker) -> None:
    now = [0.0]
    report = [told("a@one", 3)]
    exposition = Exposition(sources(broker, worker=lambda: report[0]), max_tasks=2, clock=lambda: now[0])

    def started() -> dict[str, float]:
        return {
            dict(labels)["task"]: count
            for (name, labels), count in samples(exposition).items()
            if name == "celeriac_tasks_started_total"
        }

    assert started() == {"task0": 1, "task1": 1, "_other": 1}
    now[0], report[0] = 5.0, told("a@one", 40)
    assert started() == {"task0": 1, "task1": 1, "_other": 38}
    assert value(exposition, "celeriac_label_overflow_total", label="task") == 38


def test_without_its_broker_a_worker_tells_of_itself(tmp_path: Path) -> None:
    away = SqliteBroker(tmp_path / "no such folder" / "queue.db")
    exposition = Exposition(sources(away, worker=lambda: told("a@one")))
    assert value(exposition, "celeriac_broker_up") == 0
    assert value(exposition, "celeriac_tasks_started_total", queue="q", task="task0") == 1
    assert not [name for name, _ in samples(exposition) if "queue_length" in name]


def test_events_count_for_workers_that_tell_nothing_else(broker: SqliteBroker) -> None:
    heard = EventCounts()
    for hostname in ("stock@one", "ours@two"):
        for event in (
            {"type": "worker-heartbeat", "active": 2},
            {"type": "task-sent", "uuid": hostname, "name": "t", "queue": "q"},
            {"type": "task-received", "uuid": hostname, "name": "t"},
            {"type": "task-started", "uuid": hostname},
            {"type": "task-succeeded", "uuid": hostname, "runtime": 0.4},
            {"type": "task-failed", "uuid": hostname, "exception": "KeyError('x')"},
            {"type": "task-started", "uuid": "of which nothing was heard before"},
            {"type": None},
        ):
            heard.hear({"hostname": hostname, **event}, 10.0)
    ours = told("ours@two")
    broker.post(ours.node, write_report(ours), KEEP_FOR)
    now = [20.0]
    exposition = Exposition(sources(broker, heard=lambda: heard.reports(now[0])), clock=lambda: now[0])
    assert value(exposition, "celeriac_tasks_started_total", queue="q", task="t") == 1
    assert (
        value(exposition, "celeriac_task_duration_seconds_sum", queue="q", task="t", outcome="succeeded")
        == 0.4
    )
    assert value(exposition, "celeriac_task_failures_total", task="t", exception="KeyError") == 1
    assert value(exposition, "celeriac_worker_busy_processes", worker="stock@one") == 2
    now[0] = 40.0 + KEEP_FOR
    heard.hear({"type": "worker-heartbeat", "hostname": "ours@two"}, now[0])
    broker.post(ours.node, b"", 0.0)
    assert "ours@two" in heard.reports(now[0])
    assert "ours@two" not in str(samples(exposition).keys())  # nothing is counted twice
    heard.hear({"type": "worker-offline", "hostname": "ours@two"}, now[0])
    assert "ours@two" not in heard.reports(now[0])
    assert not heard.reports(1000.0)


def test_a_missing_library_names_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtra, match=re.escape("pip install 'celeriac[metrics]'")):
        encode([])


def pulse(at: float, alive: int = 2) -> Pulse:
    return Pulse(at=at, slots=2, busy=2, wanted=2, alive=alive)


def test_a_worker_lives_while_its_supervisor_goes_on_and_is_ready_while_it_takes_work() -> None:
    health, now = Health(), [0.0]
    pages = health_pages(health, lambda: now[0])

    def asked() -> list[str]:
        return [pages[path]("")[2].decode().strip() for path in ("/live", "/ready")]

    assert asked() == ["ok", "the worker is starting"]
    health.beat(pulse(0.0))
    assert asked() == ["ok", "ok"]
    health.broker_lost("connection refused")
    assert asked() == ["ok", "the broker cannot be reached: connection refused"]
    health.broker_found()
    health.beat(pulse(1.0, alive=0))
    assert asked() == ["ok", "no process that runs tasks is alive"]
    health.beat(pulse(1.0))
    now[0] = 2 + LIVE_WITHIN
    assert asked() == ["the supervisor has been silent for 31 s"] * 2
    assert pages["/live"]("")[0] == 503
    health.beat(pulse(now[0]))
    health.stop()
    assert asked() == ["ok", "the worker is stopping"]


def test_one_that_runs_tasks_in_its_supervisor_may_be_silent() -> None:
    health = Health(beats=False)
    health.beat(pulse(0.0))
    assert health.why_not_live(10 * LIVE_WITHIN) is None
