"""Rows that go to PostgreSQL past psycopg's cursor are those that go through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from celeriac.core.message import Message
from celeriac.core.outbox import Outgoing
from tests.django.conftest import empty
from tests.django.desk import Post

pytestmark = pytest.mark.shows("beyond", "calls inside a transaction leave with its commit")

DUE = 4_102_444_800.5


@pytest.fixture(params=[None, 5], ids=["", "prepared"])
def connection(request: pytest.FixtureRequest, postgres: Any, project: Any) -> Iterator[Any]:
    connection = project["postgres"]
    connection.close()
    connection.ensure_connection()
    assert connection.connection.prepare_threshold is None  # Django's default
    connection.connection.prepare_threshold = request.param
    yield connection
    connection.close()
    empty("postgres")


@pytest.fixture
def past_the_cursor(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many messages each statement past the cursor was for."""
    from celeriac.django.postgres_insert import PostgresInsert

    insert: Callable[..., Any] = PostgresInsert.insert
    seen: list[int] = []

    def noted(itself: Any, connection: Any, statements: Any, outgoing: Any) -> Any:
        seen.append(len(outgoing))
        return insert(itself, connection, statements, outgoing)

    monkeypatch.setattr(PostgresInsert, "insert", noted)
    return seen


def begin(connection: Any) -> None:
    """Nothing has begun on the server before the first statement of a transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def message(task: str = "shop.schön", key: str | None = "Ordnung ✓", due: float | None = DUE) -> Outgoing:
    rendered = Message(queue="größe", payload=bytes(range(256)), priority=9, due=due)
    return Outgoing(id="one", task=task, message=rendered, exchange="mail", ordering_key=key)


def test_a_row_is_the_same_either_way(connection: Any, tmp_path: Path, past_the_cursor: list[int]) -> None:
    from django.db import transaction

    from celeriac.django.models import OutboxMessage

    outbox = Post(tmp_path).app.framework.desk.outbox
    for one in (message(), message(key=None, due=None)):
        past_the_cursor.clear()
        with transaction.atomic("postgres"):
            outbox.add("postgres", [one])
            assert past_the_cursor == []
            outbox.add("postgres", [one])
            assert past_the_cursor == [1]
            first, second = OutboxMessage.objects.using("postgres").order_by("id").values()
            transaction.set_rollback(True, "postgres")
        assert bytes(first.pop("payload")) == bytes(second.pop("payload")) == one.message.payload
        assert second.pop("id") > first.pop("id")
        assert timedelta(0) <= second.pop("created") - first.pop("created") < timedelta(minutes=1)
        assert first == second


def test_calls_leave_in_the_order_of_their_rows(
    connection: Any, tmp_path: Path, past_the_cursor: list[int]
) -> None:
    from django.db import transaction

    post = Post(tmp_path)
    with transaction.atomic("postgres"):
        begin(connection)
        post.ship.delay(0)
        with transaction.atomic("postgres"):
            post.ship.delay_many([(number,) for number in range(1, 700)])
        with transaction.atomic("postgres"):
            post.ship.delay("rolled back")
            transaction.set_rollback(True, "postgres")
        post.ship.delay(700)
    assert past_the_cursor == [1, 500, 199, 1, 1]
    assert post.arrived() == list(range(701))


def test_what_the_server_refuses_is_an_error_of_the_call(
    connection: Any, tmp_path: Path, past_the_cursor: list[int]
) -> None:
    from django.db import DataError, transaction
    from django.db.transaction import TransactionManagementError

    post = Post(tmp_path)
    outbox = post.app.framework.desk.outbox
    with transaction.atomic("postgres"):
        begin(connection)
        for task in ("a\0b", "x" * 256):
            with pytest.raises(DataError), transaction.atomic("postgres"):
                outbox.add("postgres", [message(task)])
        post.ship.delay("after them")
    assert past_the_cursor == [1, 1, 1]
    assert post.arrived() == ["after them"]

    with transaction.atomic("postgres"):
        begin(connection)
        transaction.set_rollback(True, "postgres")
        with pytest.raises(TransactionManagementError):
            post.ship.delay("too late")
        assert connection.connection.info.transaction_status.name == "INTRANS"


def test_only_a_project_that_says_so_has_statements_prepared(
    connection: Any, tmp_path: Path, past_the_cursor: list[int]
) -> None:
    from django.db import ProgrammingError, transaction

    post = Post(tmp_path)
    known = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'celeriac_outbox_%'"
    with transaction.atomic("postgres"):
        begin(connection)
        post.ship.delay("rolled back")
        transaction.set_rollback(True, "postgres")
    with connection.cursor() as cursor:
        is_prepared = cursor.execute(known).fetchone() == (1,)
    assert is_prepared == (connection.connection.prepare_threshold is not None)
    for what in ("kept", "discarded", "again"):
        if what == "discarded":
            with connection.cursor() as cursor:
                cursor.execute("DEALLOCATE ALL")
        expected = pytest.raises(ProgrammingError) if is_prepared and what == "discarded" else nullcontext()
        with expected, transaction.atomic("postgres"):
            begin(connection)
            post.ship.delay(what)
    assert post.arrived() == (["kept", "again"] if is_prepared else ["kept", "discarded", "again"])


def test_two_apps_share_a_connection(connection: Any, tmp_path: Path, past_the_cursor: list[int]) -> None:
    from django.db import transaction

    one, other = Post(tmp_path), Post(tmp_path)
    with transaction.atomic("postgres"):
        begin(connection)
        for number, post in enumerate((one, other, one, other)):
            post.ship.delay(number)
    assert past_the_cursor == [1, 1, 1, 1]
    assert one.arrived() == [0, 1, 2, 3]


def test_whoever_wants_to_know_of_each_statement_is_told(
    connection: Any, tmp_path: Path, past_the_cursor: list[int]
) -> None:
    from django.db import transaction
    from django.test.utils import CaptureQueriesContext

    post = Post(tmp_path)
    told: list[str] = []

    def tell(execute: Any, sql: str, *rest: Any) -> Any:
        told.append(sql)
        return execute(sql, *rest)

    with transaction.atomic("postgres"):
        begin(connection)
        with connection.execute_wrapper(tell):
            post.ship.delay("a wrapper")
        with CaptureQueriesContext(connection) as queries:
            post.ship.delay("a log")
        post.ship.delay("nobody")
    for statements in (told, [query["sql"] for query in queries]):
        assert sum(sql.startswith('INSERT INTO "celeriac_outboxmessage"') for sql in statements) == 1
    assert past_the_cursor == [1]
    assert post.arrived() == ["a wrapper", "a log", "nobody"]


def test_a_connection_with_another_encoding(
    connection: Any, tmp_path: Path, past_the_cursor: list[int]
) -> None:
    from django.db import transaction

    from celeriac.django.models import OutboxMessage

    outbox = Post(tmp_path).app.framework.desk.outbox
    with transaction.atomic("postgres"):
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL client_encoding TO 'LATIN1'")
        outbox.add("postgres", [message(key="groß")])
        assert OutboxMessage.objects.using("postgres").get().ordering_key == "groß"
        transaction.set_rollback(True, "postgres")
    assert past_the_cursor == []


def test_a_lost_connection_is_an_error_of_the_call(
    connection: Any, postgres: Any, tmp_path: Path, past_the_cursor: list[int]
) -> None:
    from django.db import OperationalError, transaction

    post = Post(tmp_path)
    with pytest.raises(OperationalError), transaction.atomic("postgres"):
        _lose_connection(connection, postgres, post)
    assert past_the_cursor == [1, 1]
    connection.close_if_unusable_or_obsolete()
    with transaction.atomic("postgres"):
        begin(connection)
        post.ship.delay("found")
    assert past_the_cursor == [1, 1, 1]
    assert post.arrived() == ["found"]


def _lose_connection(connection: Any, server: Any, post: Post) -> None:
    """Make two calls, between which the server ends the connection."""
    begin(connection)
    post.ship.delay("before")
    place = f"host={server['HOST']} port={server['PORT']} user={server['USER']} dbname={server['NAME']}"
    with psycopg.connect(place, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [connection.connection.info.backend_pid])
    post.ship.delay("lost")
