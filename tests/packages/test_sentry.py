"""Sentry's integration wraps Celery's tracer, its publishing and the loop of its pool's children."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.packages.sentry_server import SentryServer, sentry_server
from tests.packages.site import Site
from tests.servers import wait_until

APP = "tests.packages.apps.sentry"


@pytest.fixture
def server() -> Iterator[SentryServer]:
    with sentry_server() as running:
        yield running


def count(server: SentryServer, trace: str) -> Counter[str]:
    """How many transactions of each name there are in the trace."""
    return Counter({name: len(found) for name, found in server.transactions(trace).items()})


@pytest.mark.shows("package", "sentry-sdk")
def test_errors_and_traces_of_tasks_arrive(site: Site, server: SentryServer) -> None:
    # Every fourth task ends its process, which has to send what it still holds.
    with site.worker("apps.sentry", "-c", "1", "--max-tasks-per-child", "4", SENTRY=server.url) as worker:
        trace = site.call("apps.sentry", "scenario", SENTRY=server.url)
        expected = Counter({"the producer": 1, f"{APP}.add": 4, f"{APP}.fail": 1, f"{APP}.again": 2})
        wait_until(lambda: count(server, trace) == expected, what=f"{count(server, trace)}")
        worker.stop()
    [error] = server.errors()
    [exception] = error["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("ValueError", "boom")
    assert exception["mechanism"] == {"type": "celery", "handled": False}
    assert error["extra"]["celery-job"]["task_name"] == f"{APP}.fail"
    assert error["contexts"]["trace"]["trace_id"] == trace

    transactions = server.transactions(trace)
    [producer] = transactions["the producer"]
    published = Counter(span["op"] for span in producer["spans"])
    assert published == {"queue.submit.celery": 9, "queue.publish": 5}
    [failed] = transactions[f"{APP}.fail"]
    assert failed["contexts"]["trace"]["status"] == "internal_error"
    [process] = [span for span in failed["spans"] if span["op"] == "queue.process"]
    assert process["data"]["messaging.destination.name"] == "celery"
    assert process["data"]["messaging.system"] == "redis"
    assert process["data"]["messaging.message.receive.latency"] > 0


@pytest.mark.shows("package", "sentry-sdk")
def test_sentry_may_be_set_up_in_the_worker_only(site: Site, server: SentryServer) -> None:
    with site.worker("apps.sentry", "-P", "solo", SENTRY=server.url, INIT="celeryd_init") as worker:
        site.call("apps.sentry", "scenario", SENTRY=server.url, INIT="celeryd_init")
        wait_until(lambda: len(server.transactions().get(f"{APP}.add", ())) == 4, what="four transactions")
        wait_until(server.errors, what="the error")
        worker.stop()
    assert server.errors()[0]["exception"]["values"][0]["value"] == "boom"


@pytest.mark.parametrize("site", ["celeriac"], indirect=True)
def test_calls_in_bulk_are_in_the_trace(site: Site, server: SentryServer) -> None:
    trace = site.call("apps.sentry", "many", SENTRY=server.url)
    with site.worker("apps.sentry", "-c", "1", SENTRY=server.url):
        wait_until(lambda: count(server, trace)[f"{APP}.add"] == 3, what="three transactions")
