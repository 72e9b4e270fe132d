"""What becomes of a worker's database connections between tasks, on the engine and on Celery's worker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery
from tests.django.postgres import PostgresServer
from tests.django.process import project_process, sqlite_database
from tests.workers import worker

Run = Callable[..., Any]
ENGINE, THREADS, ASYNCIO = ["-c", "1"], ["-P", "threads", "-c", "1"], ["-P", "asyncio", "-c", "1"]


@contextmanager
def running(folder: Path, database: dict[str, Any], *options: str, **environment: str) -> Iterator[Run]:
    """A worker of the project for the time of the block; gives a function that runs a task there."""
    variables = {
        "DATABASE": json.dumps(database),
        "BROKER": f"sqlite:///{folder}/broker.db",
        "RESULTS": f"sqlite:///{folder}/results.db",
        **environment,
    }
    with project_process("tests.django.bank.scenarios", variables, folder / "migrate.log") as process:
        process.call("migrate")
    producer = Celery("producer", broker=variables["BROKER"], backend=variables["RESULTS"])

    def run(task: str, *args: Any, **options: Any) -> Any:
        sent = producer.send_task(f"tests.django.bank.queries.{task}", args, **options)
        return sent.get(timeout=20, propagate=False)

    with worker("tests.django.bank", *options, environment=variables, log=folder / "worker.log"):
        yield run


@pytest.fixture(params=["engine", "threads", "stock"])
def run(request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer) -> Iterator[Run]:
    """A worker on PostgreSQL that runs one task at a time."""
    environment = {"STOCK": "1"} if request.param == "stock" else {}
    # psycopg's compiled half waits in C, where a thread hears of a time limit only once the query has ended.
    environment["PSYCOPG_IMPL"] = "python"
    options = THREADS if request.param == "threads" else ENGINE
    with running(tmp_path, postgres.database(), *options, **environment) as run:
        yield run


@pytest.mark.shows("beyond", "database connections kept between tasks in Django")
def test_connections_are_kept_after_success_and_closed_after_all_else(
    run: Run, postgres: PostgresServer
) -> None:
    assert run("nothing") is False
    first = run("identify")
    assert run("identify") == first
    assert str(run("identify_and_fail")) == str(first)
    second = run("identify")
    assert second != first
    # Its server ends it between two tasks, and then in the middle of one.
    postgres.execute(f"SELECT pg_terminate_backend({second})")
    third = run("identify")
    assert third not in (first, second)
    assert "terminating connection" in str(run("lose_connection"))
    fourth = run("identify")
    assert fourth != third
    # A limit hits inside of a query, and the task does not tell.
    assert run("sleep_in_query", 3.0) == "interrupted"
    fifth = run("identify")
    assert fifth != fourth
    before, after = run("identify_again")
    assert before == fifth != after
    # A task leaves its transaction open.
    open_one = run("leave_transaction_open")
    assert run("identify") != open_one


def test_the_first_task_with_a_connection_may_be_interrupted(run: Run) -> None:
    assert run("sleep_in_query", 3.0) == "interrupted"
    assert run("identify") == run("identify")


def test_a_connection_that_has_become_too_old_is_closed(tmp_path: Path, postgres: PostgresServer) -> None:
    database = {**postgres.database(), "CONN_MAX_AGE": 0.001}
    with running(tmp_path, database, *ENGINE) as run:
        assert run("identify") != run("identify")


@pytest.mark.parametrize("options", [ENGINE, ASYNCIO], ids=["prefork", "asyncio"])
def test_connections_of_coroutines_are_kept_and_checked(
    tmp_path: Path, postgres: PostgresServer, options: list[str]
) -> None:
    with running(tmp_path, postgres.database(), *options) as run:
        first = run("identify_async")
        assert run("identify_async") == first
        postgres.execute(f"SELECT pg_terminate_backend({first})")
        assert run("identify_async") not in (first, None)


def test_shards_share_no_connection(tmp_path: Path, postgres: PostgresServer) -> None:
    with running(tmp_path, postgres.database(), "-c", "3", "--max-tasks-per-child", "2") as run:
        seen = [run("identify") for _ in range(12)]
    assert all(isinstance(pid, int) for pid in seen)
    assert len(set(seen)) >= 6


@pytest.mark.parametrize("stock", [{}, {"STOCK": "1"}], ids=["engine", "stock"])
def test_celerys_own_choice_is_kept_where_its_user_has_made_it(
    tmp_path: Path, postgres: PostgresServer, stock: dict[str, str]
) -> None:
    with running(tmp_path, postgres.database(), *ENGINE, REUSE="2", **stock) as run:
        seen = [run("identify") for _ in range(6)]
    assert 2 <= len(set(seen)) <= 4


def test_connections_to_sqlite_are_kept_too(tmp_path: Path) -> None:
    with running(tmp_path, sqlite_database(tmp_path / "bank.db"), *ENGINE) as run:
        first = run("identify")
        assert run("identify") == first
        assert str(run("identify_and_fail")) == str(first)
        assert isinstance(run("identify"), int)
