"""OpenTelemetry's instrumentation hangs on Celery's signals, and puts the trace into a message's headers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.packages.site import Site
from tests.servers import wait_until

APP = "tests.packages.apps.tracing"


def named(spans: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [span for span in spans if span["name"] == name]


@pytest.mark.shows("package", "opentelemetry-instrumentation-celery")
def test_a_trace_goes_from_the_call_to_the_task_and_on(site: Site) -> None:
    with site.worker("apps.tracing", "-c", "1") as worker:
        trace, (added, _, failed) = site.call("apps.tracing", "scenario")
        wait_until(lambda: worker.text.count(" succeeded in ") == 3, what="three successes")
        worker.stop()
    spans = [span for span in site.lines("spans") if span["trace"] == trace]
    assert Counter(span["name"] for span in spans) == {
        "the producer": 1,
        f"apply_async/{APP}.add": 2,
        f"apply_async/{APP}.again": 2,
        f"apply_async/{APP}.fail": 1,
        f"run/{APP}.add": 2,
        f"run/{APP}.again": 2,
        f"run/{APP}.fail": 1,
    }
    ids = {span["id"]: span for span in spans}
    for run in (span for span in spans if span["kind"] == "CONSUMER"):
        assert ids[run["parent"]]["name"] == run["name"].replace("run/", "apply_async/")

    [published] = [s for s in named(spans, f"apply_async/{APP}.add") if added in s["attributes"].values()]
    assert published["attributes"] == {
        "celery.action": "apply_async",
        "celery.task_name": f"{APP}.add",
        "messaging.destination": "celery",
        "messaging.destination_kind": "queue",
        "messaging.message.id": added,
    }
    [run] = named(spans, f"run/{APP}.fail")
    assert (run["status"], run["events"]) == ("ERROR", ["exception"])
    told = run["attributes"]
    assert (told["celery.state"], told["messaging.message.id"]) == ("FAILURE", failed)
    assert "'routing_key': 'celery', 'priority': 3, 'redelivered': False" in told["celery.delivery_info"]
