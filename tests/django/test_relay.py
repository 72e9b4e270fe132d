"""What the fast path has left, published by relays."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from celeriac.core.errors import BrokerUnavailable
from celeriac.core.outbox import Outgoing
from celeriac.core.settings import Settings
from tests.django.conftest import empty
from tests.django.desk import Post
from tests.servers import wait_until

pytestmark = pytest.mark.shows("beyond", "a relay publishes what a crash has left in the outbox")


class Outlet:
    """Stands for a broker that does what the test says; the real ones are tested in test_outlets.py."""

    def __init__(self) -> None:
        self.arrived: list[str] = []
        self.away = False
        self.refuses: set[str] = set()
        #: Called with each message before it counts as arrived.
        self.on_message: Any = lambda _: None

    def publish(self, outgoing: Sequence[Outgoing]) -> Mapping[int, str]:
        if self.away:
            raise BrokerUnavailable("away")
        refused: dict[int, str] = {}
        stopped: set[str] = set()
        for place, one in enumerate(outgoing):
            if one.ordering_key in stopped:
                continue
            if one.id in self.refuses:
                refused[place] = "too large"
                if one.ordering_key is not None:
                    stopped.add(one.ordering_key)
                continue
            self.on_message(one)
            self.arrived.append(one.id)
        return refused


def write(database: str, ids: Sequence[str], key: str | None = None, **values: Any) -> None:
    """Rows as a process leaves them that dies right after its commit."""
    from django.utils import timezone

    from celeriac.django.models import OutboxMessage

    OutboxMessage.objects.using(database).bulk_create(
        OutboxMessage(
            **{
                "task_id": one,
                "task": "ship",
                "queue": "celery",
                "payload": b"{}",
                "ordering_key": key,
                "created": timezone.now(),
                **values,
            }
        )
        for one in ids
    )


def waiting(database: str) -> list[str]:
    from celeriac.django.models import OutboxMessage

    return list(OutboxMessage.objects.using(database).order_by("id").values_list("task_id", flat=True))


def make_relay(database: str, outlet: Any, **settings: Any) -> Any:
    from celeriac.django.relay import Relay
    from celeriac.django.tables import Tables

    return Relay(database, outlet, Tables(), Settings(**settings))


def run_until(relay: Any, condition: Any) -> None:
    def ticked() -> Any:
        relay.tick()
        return condition()

    wait_until(ticked)


@pytest.fixture
def outlet() -> Outlet:
    return Outlet()


def test_rows_leave_in_their_order_and_batch_by_batch(database: str, outlet: Outlet) -> None:
    write(database, [str(number) for number in range(25)])
    relay = make_relay(database, outlet, outbox_batch_max=10)
    assert [relay.tick() for _ in range(3)] == [0.0, 0.0, 0.0]
    assert outlet.arrived == [str(number) for number in range(25)]
    assert waiting(database) == []
    assert relay.relayed == 25
    relay.close()


def test_a_backlog_is_never_sorted(postgres: Any) -> None:
    """PostgreSQL, which last saw the table empty, would read and sort all of it for each batch."""
    from django.db import connections

    from celeriac.django.claims import Claims
    from celeriac.django.tables import Tables

    write("postgres", [str(number) for number in range(3000)])
    claims = Claims("postgres", Tables().on("postgres"))
    with claims.next(0, 10) as claim, connections["postgres"].cursor() as cursor:
        assert len(claim.rows) == 10
        for statement, values in (
            (claims.statements.next_rows(0), [0, None, 10]),
            (claims.statements.named_rows(2), [[1, 2]]),
            (claims.statements.delete(2), [[1, 2]]),
        ):
            cursor.execute(f"EXPLAIN {statement}", values)
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Index Scan" in plan
            assert "Seq Scan" not in plan
        cursor.execute(f"EXPLAIN {claims.statements.next_rows(0)}", [0, None, 10])
        assert not any("Sort" in line for (line,) in cursor.fetchall())
    empty("postgres")


def test_it_looks_less_and_less_often_into_an_empty_outbox(database: str, outlet: Outlet) -> None:
    relay = make_relay(database, outlet)
    pauses = [relay.tick() for _ in range(6)]
    assert pauses == sorted(pauses)
    assert pauses[0] <= 0.01
    assert pauses[-1] == 0.05
    write(database, ["one"])
    assert relay.tick() == 0.0
    assert relay.tick() == 0.005
    relay.close()


def test_a_broker_that_is_away_burns_no_attempts(database: str, outlet: Outlet) -> None:
    from celeriac.django.models import OutboxMessage

    write(database, ["one", "two"])
    outlet.away = True
    relay = make_relay(database, outlet, outbox_max_attempts=1)
    pauses = [relay.tick() for _ in range(8)]
    assert pauses[:3] == [0.1, 0.2, 0.4]
    assert pauses[-1] == 5.0
    assert set(OutboxMessage.objects.using(database).values_list("attempts", flat=True)) == {0}
    outlet.away = False
    run_until(relay, lambda: outlet.arrived == ["one", "two"])
    relay.close()


def test_a_refused_message_dies_alone(database: str, outlet: Outlet) -> None:
    from celeriac.django.models import DeadOutboxMessage, OutboxMessage

    write(database, ["good", "bad", "fine"])
    outlet.refuses = {"bad"}
    relay = make_relay(database, outlet, outbox_max_attempts=2)
    relay.tick()
    assert outlet.arrived == ["good", "fine"]
    row = OutboxMessage.objects.using(database).get()
    assert (row.attempts, row.error) == (1, "too large")
    relay.tick()
    assert waiting(database) == ["bad"]  # not again before its time
    OutboxMessage.objects.using(database).update(held_until=None)
    run_until(relay, lambda: waiting(database) == [])
    dead = DeadOutboxMessage.objects.using(database).get()
    assert (dead.task_id, dead.attempts, dead.error) == ("bad", 2, "too large")
    assert bytes(dead.payload) == b"{}"
    relay.close()


def test_a_dead_message_can_be_replayed(database: str, outlet: Outlet) -> None:
    from celeriac.django.replay import dead_ids, replay

    write(database, ["bad"], key="one")
    outlet.refuses = {"bad"}
    relay = make_relay(database, outlet, outbox_max_attempts=1)
    relay.tick()
    ids = dead_ids(database, ["ship"])
    assert dead_ids(database, ["other"]) == []
    assert replay(database, [*ids, 99_999_999]) == 1
    assert dead_ids(database) == []
    outlet.refuses = set()
    run_until(relay, lambda: outlet.arrived == ["bad"])
    relay.close()


def test_dead_messages_are_forgotten_in_the_end(database: str, outlet: Outlet) -> None:
    from django.utils import timezone

    from celeriac.django.models import DeadOutboxMessage

    now = timezone.now()
    for age in (1, 40):
        DeadOutboxMessage.objects.using(database).create(
            task_id=str(age), payload=b"", created=now, died=now - timedelta(days=age)
        )
    relay = make_relay(database, outlet)
    relay.tick()
    assert [one.task_id for one in DeadOutboxMessage.objects.using(database).all()] == ["1"]
    relay.close()


def test_after_a_refusal_nothing_overtakes_within_its_key(database: str, outlet: Outlet) -> None:
    from celeriac.django.models import OutboxMessage

    write(database, ["a1", "a2"], key="a")
    write(database, ["b1"], key="b")
    write(database, ["a3"], key="a")
    outlet.refuses = {"a1"}
    relay = make_relay(database, outlet, outbox_max_attempts=3)
    for _ in range(5):
        relay.tick()
    assert outlet.arrived == ["b1"]
    outlet.refuses = set()
    OutboxMessage.objects.using(database).update(held_until=None)
    run_until(relay, lambda: not waiting(database))
    assert outlet.arrived == ["b1", "a1", "a2", "a3"]
    relay.close()


def test_a_row_committed_late_is_found_by_the_next_sweep(postgres: Any, outlet: Outlet) -> None:
    """Its id is below those that have left."""
    from django.db import connections, transaction

    relay = make_relay("postgres", outlet)
    written, commit = threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic("postgres"):
            write("postgres", ["late"])
            written.set()
            commit.wait(20)
        connections.close_all()

    thread = threading.Thread(target=slow)
    thread.start()
    written.wait(20)
    write("postgres", ["early"])
    run_until(relay, lambda: outlet.arrived == ["early"])
    commit.set()
    thread.join()
    run_until(relay, lambda: outlet.arrived == ["early", "late"])
    relay.close()
    empty("postgres")


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_several_relays_share_the_rows(
    request: pytest.FixtureRequest, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every message leaves once, and those of a key in their order."""
    request.getfixturevalue(kind)
    from django.db import connections

    rows = [f"{key}-{number}" for number in range(40) for key in "abcde"]
    for row in rows:
        write(kind, [row], key=row[0])
    write(kind, [f"free-{number}" for number in range(200)])
    outlet = Outlet()
    outlet.on_message = lambda _: time.sleep(0.0002)

    def work() -> None:
        relay = make_relay(kind, outlet, outbox_batch_max=7)
        while waiting(kind):
            relay.tick()
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arrived = list(dict.fromkeys(outlet.arrived))
    assert sorted(arrived) == sorted([*rows, *(f"free-{number}" for number in range(200))])
    # MariaDB may give up a transaction in which a batch was published: then it leaves once more.
    assert len(outlet.arrived) - len(arrived) <= 7 * caplog.text.count("Deadlock found")
    for key in "abcde":
        assert [one for one in arrived if one.startswith(key)] == [f"{key}-{number}" for number in range(40)]


def test_on_sqlite_one_relay_works_and_the_other_takes_over(project: Any, outlet: Outlet) -> None:
    first, second = make_relay("default", outlet), make_relay("default", outlet)
    write("default", ["one"])
    first.tick()
    second.tick()
    write("default", ["two"])
    assert second.tick() == 0.05
    assert outlet.arrived == ["one"]
    first.close()
    run_until(second, lambda: outlet.arrived == ["one", "two"])
    second.close()


def test_on_sqlite_rows_are_their_own_process_at_first(tmp_path: Path, project: Any, outlet: Outlet) -> None:
    """The relay leaves them alone as long as the committing process may be publishing them."""
    from django.db import transaction

    from celeriac.django.models import OutboxMessage

    post = Post(tmp_path, outbox_fast_seconds=0.2)
    relay = make_relay("default", outlet)
    with transaction.atomic():
        post.ship.delay("one")
        connection = transaction.get_connection()
        connection.run_on_commit = []  # as if it died at the commit
    [row] = OutboxMessage.objects.all()
    assert row.held_until is not None
    relay.tick()
    assert outlet.arrived == []
    run_until(relay, lambda: outlet.arrived == [row.task_id])
    relay.close()


def test_fast_path_and_relay_never_send_the_same(tmp_path: Path, database: str, outlet: Outlet) -> None:
    """A relay polls without a pause beside a process that commits and publishes."""
    from django.db import connections, transaction

    post = Post(tmp_path)
    relay = make_relay(database, outlet)
    stop = threading.Event()

    def commit() -> None:
        for number in range(60):
            with transaction.atomic(database):
                post.ship.apply_async((number,), ordering_key="one")
        connections.close_all()
        stop.set()

    thread = threading.Thread(target=commit)
    thread.start()
    while not stop.is_set():
        relay.tick()
    thread.join()
    run_until(relay, lambda: not waiting(database))
    assert len(post.arrived()) + len(outlet.arrived) == 60
    relay.close()


@pytest.fixture
def post(tmp_path: Path, project: Any) -> Iterator[Post]:
    yield Post(tmp_path)
    empty("default")


def test_a_broker_that_is_away_is_no_error_of_the_request(
    tmp_path: Path, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The calls stay for the relay, and the next request does not even try."""
    from django.db import transaction

    from tests.django.desk import make_app

    app = make_app("redis://127.0.0.1:1/0", outbox_fast_seconds=0.3)
    with transaction.atomic(database):
        first = app.tasks["ship"].delay("one")
    assert app.framework.desk.outbox.finish(20)
    with transaction.atomic(database):
        second = app.tasks["ship"].delay("two")
    assert waiting(database) == [first.id, second.id]
    warnings = [one.getMessage() for one in caplog.records if "outbox" in one.getMessage()]
    assert len(warnings) == 1
    assert "wait in the outbox for the relay" in warnings[0]


def test_an_ordering_key_of_a_task(post: Post) -> None:
    from django.db import transaction

    from celeriac.core.errors import ConfigurationError
    from celeriac.django.models import OutboxMessage

    @post.app.task(name="move", shared=False, ordering_key=lambda order, **_: f"order-{order}")
    def move(order: int, **_: Any) -> None:
        pass

    @post.app.task(name="count", shared=False, ordering_key="counting")
    def count() -> None:
        pass

    with transaction.atomic():
        move.delay(7, to="x")
        move.apply_async((8,), ordering_key="mine")
        count.delay_many([(), ()])
        keys = list(OutboxMessage.objects.order_by("id").values_list("ordering_key", flat=True))
        assert keys == ["order-7", "mine", "counting", "counting"]

    def wrong() -> None:
        pass

    with pytest.raises(ConfigurationError, match="ordering_key is 7"):
        post.app.task(name="wrong", shared=False, ordering_key=7)(wrong)


def test_no_request_waits_for_the_broker(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Where the database lets several publish, a thread does; what commits meanwhile leaves together."""
    for alias in ("postgres", "mariadb"):
        request.getfixturevalue(alias)
        from django.db import transaction

        post = Post(tmp_path / alias)
        (tmp_path / alias).mkdir()
        outbox = post.app.framework.desk.outbox
        publish, batches, go_on = outbox._fast_path._outlet.publish, [], threading.Event()

        def slowly(outgoing: Any, publish: Any = publish, batches: Any = batches, go_on: Any = go_on) -> Any:
            go_on.wait(20)
            batches.append(len(outgoing))
            return publish(outgoing)

        outbox._fast_path._outlet.publish = slowly
        for number in range(20):
            with transaction.atomic(alias):
                post.ship.delay(number)
        assert len(waiting(alias)) == 20
        assert not outbox.finish(0.01)
        go_on.set()
        assert post.arrived() == list(range(20))
        assert len(batches) <= 2
        assert waiting(alias) == []
        empty(alias)


def test_a_fork_has_a_thread_of_its_own(tmp_path: Path, postgres: Any) -> None:
    import os

    from django.db import connections, transaction

    post = Post(tmp_path)

    def commit(what: str) -> None:
        with transaction.atomic("postgres"):
            post.ship.delay(what)

    commit("in the parent")
    assert post.arrived() == ["in the parent"]
    connections.close_all()
    child = os.fork()
    if not child:
        try:
            commit("in the child")
            post.app.framework.desk.outbox.finish(20)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert post.arrived() == ["in the child"]
    assert waiting("postgres") == []


def test_a_process_ends_when_its_calls_have_left(tmp_path: Path, postgres: Any) -> None:
    """Without a relay: the end of a script waits for its thread."""
    import json
    import os
    import subprocess
    import sys

    from tests.workers import ROOT

    post = Post(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        cwd=ROOT,
        env={**os.environ, "DATABASES": json.dumps({"default": postgres}), "BROKER": post.url},
        check=False,
    )
    assert done.returncode == 0
    assert post.arrived() == ["one"]
    assert waiting("postgres") == []


_SCRIPT = """
from tests.django.shop.celery import ship

import django

django.setup()

from django.db import transaction

with transaction.atomic():
    ship.delay("one")
"""


def test_whoever_watches_statements_sees_those_of_the_outbox(tmp_path: Path, database: str) -> None:
    from django.db import connections, transaction
    from django.db.transaction import TransactionManagementError

    post, seen = Post(tmp_path), []

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(sql)
        return execute(sql, params, many, context)

    with transaction.atomic(database), connections[database].execute_wrapper(watch):
        post.ship.delay("one")
    assert [sql for sql in seen if sql.startswith("INSERT")]
    with transaction.atomic(database):
        transaction.set_rollback(True, database)
        with pytest.raises(TransactionManagementError):
            post.ship.delay("two")
    assert post.arrived() == ["one"]
