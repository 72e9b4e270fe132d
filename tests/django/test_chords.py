"""Chords called inside a transaction: neither broker nor result backend hears of them before the commit."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group
from redis import Redis

from celeriac.bridge.django.in_process import run
from celeriac.brokers.connect import open_broker
from celeriac.core.outbox import Outgoing
from tests.django.conftest import empty
from tests.django.desk import Post
from tests.django.test_outbox_commands import NOWHERE, Site
from tests.django.test_transactions import kept, rolled_back
from tests.servers import RedisServer, wait_until
from tests.workers import ROOT

pytestmark = [
    pytest.mark.shows("beyond", "calls inside a transaction leave with its commit"),
    pytest.mark.shows("canvas", "chord"),
]


class Office(Post):
    """A post whose tasks are run here, with a result backend of its own."""

    def __init__(self, folder: Path, results: str, stored: Callable[[], int]) -> None:
        super().__init__(folder, result_backend=results)
        #: How many rows or keys the result backend has.
        self.stored = stored
        self.totals: list[Any] = []

        @self.app.task(name="number", shared=False)
        def number(value: int) -> int:
            return value

        @self.app.task(name="total", shared=False)
        def total(numbers: Any) -> int:
            self.totals.append(numbers)
            return sum(numbers)

        self.number, self.total = number, total

    def work(self) -> None:
        """Run what is at the broker, and what that publishes."""
        broker = open_broker(self.url)
        try:
            while leases := broker.claim(["celery"], 100, owner="worker", lease_for=60).leases:
                for lease in leases:
                    error = run(self.app, Outgoing(id="", task="", message=lease.message))
                    assert error is None
                broker.ack(leases)
        finally:
            broker.close()


@pytest.fixture(params=["sqlite", "redis"])
def office(request: pytest.FixtureRequest, tmp_path: Path, project: Any) -> Iterator[Office]:
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis")
        client = Redis(port=server.port, db=11)
        client.flushdb()
        yield Office(tmp_path, f"{server.url.rsplit('/', 1)[0]}/11", client.dbsize)
        client.flushdb()
    else:
        path = tmp_path / "results.db"

        def rows() -> int:
            if not path.exists():
                return 0
            with sqlite3.connect(path) as results:
                return int(results.execute("SELECT count(*) FROM celery_results").fetchone()[0])

        yield Office(tmp_path, f"sqlite:///{path}", rows)
    empty("default")
    empty("other")


def nested(office: Office) -> Any:
    inner = chord([office.number.s(1), office.number.s(2)], office.total.s())
    return chord([office.number.s(4), inner], office.total.s())


def generated(office: Office) -> Any:
    return chord((office.number.s(value) for value in (1, 2, 4)), office.total.s())


def in_a_chain(office: Office) -> Any:
    return chain(group(office.number.s(3), office.number.s(4)), office.total.s())


def with_a_chain(office: Office) -> Any:
    return chord([office.number.s(3), office.number.si(0) | office.number.si(4)], office.total.s())


SHAPES = [nested, generated, in_a_chain, with_a_chain]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_chord_waits_for_the_commit_and_ends(office: Office, shape: Callable[[Office], Any]) -> None:
    from django.db import transaction

    with transaction.atomic():
        result = shape(office).apply_async()
        assert office.stored() == 0
        assert office.arrived() == []
        assert kept() > 0
    assert kept() == 0
    office.work()
    assert sum(office.totals[-1]) == 7
    assert result.get(timeout=10) == 7


@pytest.mark.parametrize("shape", SHAPES)
def test_a_rolled_back_chord_leaves_nothing(office: Office, shape: Callable[[Office], Any]) -> None:
    from django.db import transaction

    with rolled_back():
        shape(office).apply_async()
    with transaction.atomic():
        with rolled_back():
            shape(office).apply_async()
        office.ship.delay("after")
    assert office.arrived() == ["after"]
    assert office.stored() == 0
    assert kept() == 0


def test_a_chord_says_which_database_it_waits_for(office: Office) -> None:
    from django.db import transaction

    with transaction.atomic("default"), transaction.atomic("other"):
        in_a_chain(office).apply_async(using="other")
        assert (kept("default"), kept("other")) == (0, 2)
        assert office.stored() == 0
    office.work()
    assert office.totals == [[3, 4]]


def test_a_chord_that_says_so_is_sent_at_once(office: Office) -> None:
    with rolled_back():
        generated(office).apply_async(outbox=False)
        assert kept() == 0
        office.work()
    assert office.totals == [[1, 2, 4]]


def test_parts_that_never_wait_wait_with_their_chord(office: Office) -> None:
    from django.db import transaction

    @office.app.task(name="audit", outbox=False, shared=False)
    def audit(value: int) -> int:
        return value

    with transaction.atomic():
        chord([office.number.s(3), audit.s(4)], office.total.s()).apply_async()
        assert office.stored() == 0
        assert office.arrived() == []
    office.work()
    assert office.totals == [[3, 4]]


def test_a_chord_in_the_place_of_a_running_task_survives_its_rollback(office: Office) -> None:
    from celery.exceptions import Ignore

    @office.app.task(bind=True, name="fan_out", shared=False)
    def fan_out(self: Any) -> None:
        self.replace(generated(office))

    with rolled_back():
        fan_out.push_request(id="1", args=[], kwargs={}, called_directly=False, delivery_info={})
        with pytest.raises(Ignore):
            fan_out.run()
        fan_out.pop_request()
    office.work()
    assert office.totals == [[1, 2, 4]]


def test_messages_of_a_chord_keep_their_order_and_carry_no_note_to_the_broker(office: Office) -> None:
    from django.db import transaction

    from celeriac.django.models import OutboxMessage

    with transaction.atomic():
        nested(office).apply_async()
        rows = list(OutboxMessage.objects.order_by("id"))
        assert len({row.ordering_key for row in rows}) == 1
        assert rows[0].ordering_key is not None
        assert b"celeriac-chords" in bytes(rows[0].payload)
    broker = open_broker(office.url)
    leases = broker.claim(["celery"], 100, owner="reader", lease_for=60).leases
    assert len(leases) == len(rows)
    assert not any(b"celeriac-chords" in lease.message.payload for lease in leases)
    broker.close()


def test_a_backend_that_is_away_holds_a_chord_back_and_burns_no_attempt(tmp_path: Path, project: Any) -> None:
    from django.db import transaction

    from celeriac.django.models import OutboxMessage

    office = Office(tmp_path, "redis://127.0.0.1:1/0", lambda: 0)
    with transaction.atomic():
        generated(office).apply_async()
    assert office.arrived() == []
    assert list(OutboxMessage.objects.values_list("attempts", flat=True)) == [0] * 3
    empty("default")


CALL_A_CHORD = """
from tests.django.shop.celery import app, number, total
import django
django.setup()
from celery import chord
from django.db import transaction
with transaction.atomic():
    chord([number.s(value) for value in range(5)], total.s("key")).apply_async()
"""


def test_a_relay_tells_the_backend_what_its_producer_could_not(tmp_path: Path, project: Any) -> None:
    """The producer reaches neither broker nor result backend; a worker's relay does, later."""
    site = Site(tmp_path, project)
    site.environment["RESULTS"] = f"sqlite:///{tmp_path}/results.db"
    subprocess.run(
        [sys.executable, "-c", CALL_A_CHORD],
        cwd=ROOT,
        env={**os.environ, **site.environment, "BROKER": NOWHERE, "RESULTS": NOWHERE},
        check=True,
        timeout=60,
    )
    assert kept() == 5
    with site.worker("-c", "2"):
        wait_until(lambda: site.ledger.count("total 10", "key") == 1)
    empty("default")
