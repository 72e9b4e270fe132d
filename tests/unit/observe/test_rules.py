"""promtool, Prometheus' own checker, takes the rules, sees them fire and rest, and approves of the names.

The guide's table names every metric, with its labels.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from celeriac.core.broker import QueueStats
from celeriac.core.watch import Memory
from celeriac.observe.beats import BeatReport, Beats, beat_families
from celeriac.observe.dashboard import EXPRESSIONS, dashboard
from celeriac.observe.families import (
    broker_families,
    label_families,
    memory_families,
    outbox_families,
    queue_families,
    task_families,
    worker_families,
)
from celeriac.observe.labels import LabelCaps
from celeriac.observe.prometheus import Family, encode
from celeriac.observe.queues import QueueNow
from celeriac.observe.report import WorkerReport
from celeriac.observe.rules import ALERTS, RECORDS, rules
from celeriac.observe.tally import Histogram, Page, Tally
from tests.prometheus import INSTALL
from tests.servers import require

HOWTO = Path(__file__).resolve().parents[3] / "docs" / "howto" / "metrics.md"

#: For each alert: series at each minute, when it must fire, and its labels but for the severity.
FIRES: dict[str, tuple[dict[str, str], str, dict[str, str]]] = {
    "CeleriacQueueOldestMessage": (
        {'celeriac_queue_oldest_message_age_seconds{queue="q"}': "280+60x10"},
        "5m",
        {"queue": "q"},
    ),
    "CeleriacQueueUnconsumed": (
        {'celeriac_queue_depth{queue="q"}': "5x10", 'celeriac_queue_workers{queue="q"}': "0x10"},
        "6m",
        {"queue": "q"},
    ),
    "CeleriacQueueGrowing": (
        {'celeriac_queue_depth{queue="q"}': "0+50x60", 'celeriac_queue_drain_seconds{queue="q"}': "7200x60"},
        "50m",
        {"queue": "q"},
    ),
    "CeleriacErrorBudgetBurnFast": (
        {
            'celeriac_tasks_finished_total{outcome="failed"}': "0+3x70",
            'celeriac_tasks_finished_total{outcome="succeeded"}': "0+97x70",
        },
        "65m",
        {},
    ),
    "CeleriacErrorBudgetBurnSlow": (
        {
            'celeriac_tasks_finished_total{outcome="lost"}': "0+1x400",
            'celeriac_tasks_finished_total{outcome="succeeded"}': "0+99x400",
        },
        "390m",
        {},
    ),
    "CeleriacRetryStorm": (
        {
            'celeriac_tasks_finished_total{task="t",outcome="retried"}': "0+6x30",
            'celeriac_tasks_started_total{task="t"}': "0+10x30",
        },
        "25m",
        {"task": "t"},
    ),
    "CeleriacRedeliveryLoop": (
        {'celeriac_task_redeliveries_total{queue="q"}': "0+60x30"},
        "25m",
        {"queue": "q"},
    ),
    "CeleriacDeadLetters": ({'celeriac_dead_letters{queue="q"}': "2x10"}, "6m", {"queue": "q"}),
    "CeleriacWorkerLostProcesses": (
        {'celeriac_worker_child_restarts_total{reason="lost"}': "0+1x20"},
        "10m",
        {},
    ),
    "CeleriacWorkersSaturated": (
        {
            'celeriac_worker_busy_processes{worker="w"}': "4x30",
            'celeriac_worker_processes{worker="w"}': "4x30",
            'celeriac_queue_depth{queue="q"}': "9x30",
        },
        "20m",
        {},
    ),
    "CeleriacBrokerAway": ({'celeriac_broker_up{instance="i"}': "0x10"}, "2m", {"instance": "i"}),
    "CeleriacBrokerFlapping": ({"celeriac_worker_broker_reconnects_total": "0+1x20"}, "10m", {}),
    "CeleriacBrokerMemory": (
        {"celeriac_broker_memory_bytes": "90x10", "celeriac_broker_memory_max_bytes": "100x10"},
        "6m",
        {},
    ),
    "CeleriacBrokerEvictions": ({"celeriac_broker_evicted_keys_total": "0+1x10"}, "5m", {}),
    "CeleriacBeatStalled": (
        {
            'celeriac_beat_tick_age_seconds{beat="old"}': "0+60x60",
            'celeriac_beat_tick_age_seconds{beat="other"}': "0+50x60",
            'celeriac_beat_max_interval_seconds{beat="old"}': "300x60",
        },
        "15m",
        {},
    ),
    "CeleriacScheduleMissed": ({"celeriac_beat_missed_total": "0+2x10"}, "5m", {}),
    "CeleriacOutboxLag": (
        {'celeriac_outbox_oldest_age_seconds{database="default"}': "90x10"},
        "3m",
        {"database": "default"},
    ),
    "CeleriacScheduleLate": (
        {
            'celeriac_schedule_lateness_seconds_bucket{queue="q",le="60"}': "0x30",
            'celeriac_schedule_lateness_seconds_bucket{queue="q",le="300"}': "0+9x30",
            'celeriac_schedule_lateness_seconds_bucket{queue="q",le="+Inf"}': "0+9x30",
        },
        "25m",
        {"queue": "q"},
    ),
    "CeleriacLabelOverflow": (
        {'celeriac_label_overflow_total{label="task"}': "3x5"},
        "1m",
        {"label": "task"},
    ),
}
#: A minute of a healthy system in each series above, at which nothing may fire.
HEALTHY = {
    'celeriac_queue_oldest_message_age_seconds{queue="q"}': "3x400",
    'celeriac_queue_depth{queue="q"}': "5x400",
    'celeriac_queue_workers{queue="q"}': "2x400",
    'celeriac_queue_drain_seconds{queue="q"}': "4x400",
    'celeriac_tasks_finished_total{task="t",outcome="succeeded"}': "0+10000x400",
    'celeriac_tasks_finished_total{task="t",outcome="failed"}': "0+2x400",
    'celeriac_tasks_finished_total{task="t",outcome="retried"}': "0+100x400",
    'celeriac_tasks_started_total{task="t"}': "0+10102x400",
    'celeriac_task_redeliveries_total{queue="q"}': "0+1x400",
    'celeriac_dead_letters{queue="q"}': "0x400",
    'celeriac_worker_child_restarts_total{reason="lost"}': "1x400",
    'celeriac_worker_child_restarts_total{reason="expected"}': "0+5x400",
    'celeriac_worker_busy_processes{worker="w"}': "3x400",
    'celeriac_worker_processes{worker="w"}': "4x400",
    'celeriac_broker_up{instance="i"}': "1x400",
    "celeriac_worker_broker_reconnects_total": "1x400",
    "celeriac_broker_memory_bytes": "50x400",
    "celeriac_broker_memory_max_bytes": "100x400",
    "celeriac_broker_evicted_keys_total": "7x400",
    'celeriac_beat_tick_age_seconds{beat="gone"}': "0+60x400",
    'celeriac_beat_tick_age_seconds{beat="there"}': "200x400",
    'celeriac_beat_max_interval_seconds{beat="there"}': "300x400",
    "celeriac_beat_missed_total": "3x400",
    'celeriac_outbox_oldest_age_seconds{database="default"}': "2x400",
    'celeriac_schedule_lateness_seconds_bucket{queue="q",le="60"}': "0+9x400",
    'celeriac_schedule_lateness_seconds_bucket{queue="q",le="+Inf"}': "0+9x400",
    'celeriac_label_overflow_total{label="task"}': "0x400",
}


def promtool(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    program = require("promtool", INSTALL)
    return subprocess.run([program, *arguments], input=given, capture_output=True, text=True, timeout=120)


@pytest.fixture
def rule_file(tmp_path: Path) -> Path:
    file = tmp_path / "rules.yml"
    file.write_text(rules())
    return file


def test_the_rules_are_well_formed(rule_file: Path) -> None:
    checked = promtool("check", "rules", str(rule_file))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(ALERTS) + len(RECORDS)} rules found" in checked.stdout


def test_every_alert_fires_when_it_should_and_rests_when_all_is_well(rule_file: Path) -> None:
    assert FIRES.keys() == {alert.name for alert in ALERTS}
    cases = []
    for alert in ALERTS:
        series, at, labels = FIRES[alert.name]
        quiet = [{"eval_time": "0m", "alertname": alert.name, "exp_alerts": []}]
        loud = [
            {
                "eval_time": at,
                "alertname": alert.name,
                "exp_alerts": [{"exp_labels": labels | {"severity": alert.severity}}],
            }
        ]
        cases.append(case(series, loud))
        late = [
            {"eval_time": f"{minute}m", "alertname": alert.name, "exp_alerts": []} for minute in (0, 30, 390)
        ]
        cases.append(case(HEALTHY, late + quiet))
    assert failures(told_by_promtool(rule_file, cases)) == []


def test_an_alert_that_does_not_do_what_is_expected_is_found(rule_file: Path) -> None:
    alert = ALERTS[0]
    series, at, labels = FIRES[alert.name]
    wrong = [
        case(series, [{"eval_time": at, "alertname": alert.name, "exp_alerts": []}]),
        case(HEALTHY, [{"eval_time": at, "alertname": alert.name, "exp_alerts": [{"exp_labels": labels}]}]),
        case(series, [{"eval_time": at, "alertname": alert.name, "exp_alerts": [{"exp_labels": {}}]}]),
    ]
    assert len(failures(told_by_promtool(rule_file, wrong))) == 3


def told_by_promtool(rule_file: Path, cases: list[dict[str, object]]) -> str:
    """What promtool says of the cases. It compares annotations too, which are not repeated here."""
    test = rule_file.with_name("test.yml")
    test.write_text(json.dumps({"rule_files": [str(rule_file)], "evaluation_interval": "1m", "tests": cases}))
    ran = promtool("test", "rules", str(test))
    assert "Unit Testing" in ran.stdout
    assert "yaml" not in ran.stderr
    return ran.stderr


def case(series: dict[str, str], alerts: list[dict[str, object]]) -> dict[str, object]:
    given = [{"series": name, "values": values} for name, values in series.items()]
    return {"interval": "1m", "input_series": given, "alert_rule_test": alerts}


def failures(output: str) -> list[str]:
    """Alerts that were expected and did not fire, or fired with other labels, or though none was expected."""
    found = []
    for name, expected, got in re.findall(
        r"alertname: (\w+).*?exp:(.*?)got:(.*?)(?=alertname:|\Z)", output, re.S
    ):
        labels = [re.findall(r"Labels:(\{.*?\})", part) for part in (expected, got)]
        if labels[0] != labels[1]:
            found.append(f"{name}: {labels}")
    return found


def test_every_runbook_has_its_place() -> None:
    headings = re.findall(r"^### (\w+)$", HOWTO.read_text(), re.M)
    assert sorted(headings) == sorted(alert.name for alert in ALERTS)


def everything() -> list[Family]:
    """Every family that there is, with samples, but for the familiar names."""
    tally = Tally(page := Page())
    tally.started("q", "t", 700, redelivered=True, waited=1.0, late=1.0)
    tally.ended("q", "t", "succeeded", 1.0)
    for kind in ("failure", "buried", "restart"):
        tally.happened(kind, "x", "y")
    report = WorkerReport(node="n", hostname="h", counts=page.read())
    queue = QueueNow(name="q", stats=QueueStats(ready=1), oldest_seconds=1.0, drain_seconds=1.0)
    late = Histogram()
    late.observe(0.1)
    beats = Beats()
    beats.hear([BeatReport(node="b", hostname="b", late=late, last_runs={"report": 1.0})], 0.0)
    return [
        *queue_families([queue]),
        *task_families(report.counts),
        *worker_families([report]),
        *memory_families(Memory(used_bytes=1, most_bytes=2)),
        *outbox_families([OutboxNow("default", 1, 1.0, 0)]),
        *beat_families(beats, LabelCaps(200), 0.0),
        *broker_families(1.0),
        *label_families(LabelCaps(200)),
    ]


class OutboxNow(NamedTuple):
    database: str
    depth: int
    oldest_seconds: float
    dead: int


def test_promtool_finds_no_fault_with_the_names() -> None:
    checked = promtool("check", "metrics", given=encode(everything())[0].decode())
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_the_table_of_the_guide_has_every_metric_and_its_labels() -> None:
    told = {
        name: labels
        for names, labels in re.findall(r"^\| (`cele[^|]+)\|([^|]*)\|", HOWTO.read_text(), re.M)
        for name in re.findall(r"`(\w+)`", names)
    }
    there = {}
    for family in everything():
        name = f"{family.name}_total" if family.kind == "counter" else family.name
        assert family.samples, name
        there[name] = {label for _, labels, _ in family.samples for label in labels} - {"le"}
    assert told.keys() == there.keys()
    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in told.items()} == there


def test_the_dashboard_asks_for_what_there_is() -> None:
    page = json.loads(dashboard())
    ids = [panel["id"] for panel in page["panels"]]
    assert len(set(ids)) == len(ids)
    assert [e["expr"] for p in page["panels"] for e in p.get("targets", ())] == EXPRESSIONS
    known = HOWTO.read_text()
    asked = {name for expression in EXPRESSIONS for name in re.findall(r"celer[a-z_]+", expression)}
    assert {name for name in asked if f"`{name.removesuffix('_bucket')}`" not in known} == set()
