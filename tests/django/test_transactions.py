"""Calls made in every kind of transaction that Django has."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from celeriac.core.errors import ConfigurationError
from tests.django.conftest import empty
from tests.django.desk import Post, make_app

pytestmark = pytest.mark.shows("beyond", "calls inside a transaction leave with its commit")


@pytest.fixture
def post(tmp_path: Path, project: Any) -> Iterator[Post]:
    yield Post(tmp_path)
    for alias in ("default", "other"):
        empty(alias)


def kept(alias: str = "default") -> int:
    from celeriac.django.models import OutboxMessage

    return OutboxMessage.objects.using(alias).count()


class Rollback(Exception):
    pass


@contextmanager
def rolled_back(database: str = "default") -> Iterator[None]:
    """A transaction that ends with an error."""
    from django.db import transaction

    with suppress(Rollback), transaction.atomic(database):
        yield
        raise Rollback


def test_a_call_leaves_with_the_commit_and_not_before(post: Post, database: str) -> None:
    from django.db import transaction

    with transaction.atomic(database):
        result = post.ship.delay("one")
        assert result.id
        assert kept(database) == 1
        assert post.arrived() == []
    assert post.arrived() == ["one"]
    assert kept(database) == 0


def test_a_rolled_back_call_never_leaves(post: Post, database: str) -> None:

    with rolled_back(database):
        post.ship.delay("one")
    assert post.arrived() == []
    assert kept(database) == 0


def test_savepoints_take_their_calls_with_them(post: Post, database: str) -> None:
    from django.db import transaction

    with transaction.atomic(database):
        post.ship.delay("before")
        with rolled_back(database):
            post.ship.delay("inside")
        with transaction.atomic(database):
            post.ship.delay("nested")
        savepoint = transaction.savepoint(database)
        post.ship.delay("by hand")
        transaction.savepoint_rollback(savepoint, database)
        post.ship.delay("after")
    assert post.arrived() == ["before", "nested", "after"]


def test_many_calls_are_one_insert(post: Post, database: str) -> None:
    from django.db import connections, transaction
    from django.test.utils import CaptureQueriesContext

    with transaction.atomic(database), CaptureQueriesContext(connections[database]) as queries:
        post.ship.delay_many([(number,) for number in range(100)])
    inserts = [query for query in queries.captured_queries if query["sql"].startswith("INSERT")]
    assert len(inserts) <= 2  # the first call is Celery's own, and checks the others
    assert post.arrived() == list(range(100))


def test_a_group_and_a_chain_are_kept_whole(post: Post) -> None:
    from celery import chain, group
    from django.db import transaction

    with transaction.atomic():
        group(post.ship.si(number) for number in range(3)).apply_async()
        chain(post.ship.si("first"), post.ship.si("second")).apply_async()
        post.app.send_task("elsewhere", ("by name",))
        assert post.arrived() == []
    assert post.arrived() == [0, 1, 2, "first", "by name"]


def test_outside_of_a_transaction_a_call_is_sent_at_once(post: Post) -> None:
    post.ship.delay("one")
    assert post.arrived() == ["one"]


def test_durable_transactions(post: Post) -> None:
    from django.db import transaction

    with transaction.atomic(durable=True):
        post.ship.delay("one")
        assert post.arrived() == []
    assert post.arrived() == ["one"]


def test_on_commit_lambdas_still_work(post: Post) -> None:
    from django.db import transaction

    with transaction.atomic():
        transaction.on_commit(lambda: post.ship.delay("by hand"))
        post.ship.delay("kept")
        assert post.arrived() == []
    assert sorted(post.arrived()) == ["by hand", "kept"]


def test_delay_on_commit_is_a_call_with_a_result(post: Post) -> None:
    from django.db import transaction

    with transaction.atomic():
        result = post.ship.delay_on_commit("one")
        assert result.id
        assert kept() == 1
        post.ship.apply_async_on_commit(("two",))
    assert post.arrived() == ["one", "two"]
    assert post.ship.delay_on_commit("three").id
    assert post.arrived() == ["three"]


def test_two_databases_keep_their_own_calls(post: Post) -> None:
    from django.db import transaction

    with transaction.atomic("other"):
        post.ship.delay("of the other")
        assert (kept("default"), kept("other")) == (0, 1)
    assert post.arrived() == ["of the other"]
    with transaction.atomic("default"), transaction.atomic("other"):
        with pytest.raises(ConfigurationError, match="using='default' or using='other'"):
            post.ship.delay("of which")
        post.ship.apply_async(("named",), using="other")
        assert (kept("default"), kept("other")) == (0, 1)
    assert post.arrived() == ["named"]


def test_a_database_named_outside_of_its_transaction_is_no_reason_to_wait(post: Post) -> None:
    from django.db import transaction

    with transaction.atomic("default"):
        post.ship.apply_async(("at once",), using="other")
        assert post.arrived() == ["at once"]


def test_other_threads_are_in_no_transaction(post: Post) -> None:
    from django.db import connections, transaction

    def call() -> None:
        post.ship.delay("from a thread")
        connections.close_all()

    with transaction.atomic():
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert post.arrived() == ["from a thread"]


def test_async_views(post: Post) -> None:
    from asgiref.sync import sync_to_async
    from django.db import connections, transaction

    def in_a_transaction() -> list[Any]:
        with transaction.atomic():
            post.ship.delay("kept")
            before = post.arrived()
        connections.close_all()
        return before

    async def view() -> list[Any]:
        post.ship.delay("from the loop")
        return await sync_to_async(in_a_transaction)()

    assert asyncio.run(view()) == ["from the loop"]
    assert post.arrived() == ["kept"]


def test_a_call_that_says_so_is_sent_at_once(post: Post) -> None:

    with rolled_back():
        post.ship.apply_async(("at once",), outbox=False)
        assert post.arrived() == ["at once"]


def test_a_task_may_say_so_too(post: Post) -> None:

    @post.app.task(name="audit", outbox=False, shared=False)
    def audit(what: str) -> None:
        pass

    with rolled_back():
        audit.delay("at once")
        audit.delay_many([("at",), ("once",)])
        assert post.arrived() == ["at once", "at", "once"]


def test_a_retry_and_a_replacement_survive_the_rollback_they_cause(post: Post) -> None:
    from celery import chain, group
    from celery.exceptions import Ignore, Retry
    from django.db import transaction

    @post.app.task(bind=True, name="flaky", ignore_result=True, shared=False)
    def flaky(self: Any, what: str) -> None:
        with transaction.atomic():
            post.ship.delay("rolled back")
            if what == "retry":
                raise self.retry(countdown=0)
            if what == "group":
                raise self.replace(group(post.ship.si("one"), post.ship.si("two")))
            if what == "chain":
                raise self.replace(chain(post.ship.si("first"), post.ship.si("then")))
            raise self.replace(post.ship.si("instead"))

    for what, error, expected in (
        ("retry", Retry, ["retry"]),
        ("one", Ignore, ["instead"]),
        ("chain", Ignore, ["first"]),
    ):
        flaky.push_request(id="1", args=[what], kwargs={}, called_directly=False, delivery_info={})
        with pytest.raises(error):
            flaky.run(what)
        flaky.pop_request()
        assert post.arrived() == expected


def test_everything_is_off_when_the_setting_says_so(tmp_path: Path, project: Any) -> None:

    post = Post(tmp_path, outbox_enabled=False)
    with rolled_back():
        post.ship.delay("at once")
        assert post.arrived() == ["at once"]
        assert post.ship.delay_on_commit("never") is None
    assert post.arrived() == []


def test_without_a_table_calls_are_sent_at_once_with_one_warning(
    tmp_path: Path, project: Any, caplog: pytest.LogCaptureFixture
) -> None:
    from django.db import transaction

    project.settings["bare"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "bare.db")}
    project.configure_settings(project.settings)
    try:
        post = Post(tmp_path)
        for _ in range(2):
            with transaction.atomic("bare"):
                post.ship.delay("at once")
                assert post.arrived() == ["at once"]
        warnings = [record.getMessage() for record in caplog.records if "migrate" in record.getMessage()]
        assert len(warnings) == 1
        assert "manage.py migrate --database bare" in warnings[0]
    finally:
        project["bare"].close()
        del project["bare"], project.settings["bare"]


def test_the_transactions_of_a_testcase_are_told_from_those_of_the_code(post: Post) -> None:
    from django.test import TestCase

    class Case(TestCase):
        databases = frozenset({"default", "other"})

        def runTest(self) -> None:  # noqa: N802 - unittest's name
            from django.db import transaction

            post.ship.delay("outside")
            with transaction.atomic("other"):
                post.ship.delay("inside")
            assert (kept("default"), kept("other")) == (1, 1)
            assert post.arrived() == []
            with self.captureOnCommitCallbacks(execute=True):
                post.ship.delay("captured")
            assert post.arrived() == ["captured"]

    case = Case()
    case.debug()
    assert (kept("default"), kept("other")) == (0, 0)


def test_atomic_requests(post: Post) -> None:
    from django.test import Client

    from tests.django.shop import views

    views.ship = post.ship
    from django.db import connections

    connections["default"].settings_dict["ATOMIC_REQUESTS"] = True
    connections.settings["default"]["ATOMIC_REQUESTS"] = True
    try:
        assert Client().get("/order/one").status_code == 200
        assert post.arrived() == ["one"]
        with pytest.raises(ZeroDivisionError):
            Client().get("/fail/two")
        assert post.arrived() == []
        assert kept() == 0
    finally:
        connections["default"].settings_dict["ATOMIC_REQUESTS"] = False
        connections.settings["default"]["ATOMIC_REQUESTS"] = False


def test_nothing_is_connected_while_a_call_is_kept(project: Any) -> None:
    """Broker and result store are away; neither is asked before the commit."""
    from django.db import transaction

    app = make_app(
        "redis://127.0.0.1:1/0", result_backend="rpc://", outbox_fast_seconds=0.2, task_publish_retry=True
    )

    @app.task(name="add", shared=False)
    def add(a: int, b: int) -> int:
        return a + b

    with transaction.atomic():
        result = add.delay(1, 2)
    assert result.id
    assert kept() == 1
    empty("default")
