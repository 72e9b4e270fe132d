from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.django.servers import mariadb_server, postgres_server, rabbitmq_server

SETTINGS = "tests.django.settings"


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """These variables for the time of the block, and no trace of them afterwards."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def sqlite_settings(path: Path) -> dict[str, Any]:
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Django set up in this process, with two databases in files: ``default`` and ``other``."""
    import django
    import pymysql
    from django.core.management import call_command
    from django.db import connections

    pymysql.install_as_MySQLdb()
    folder = tmp_path_factory.mktemp("databases")
    databases = {name: sqlite_settings(folder / f"{name}.db") for name in ("default", "other")}
    with environment(DJANGO_SETTINGS_MODULE=SETTINGS, DATABASES=json.dumps(databases)):
        django.setup()
    for alias in databases:
        call_command("migrate", database=alias, verbosity=0)
    yield connections
    connections.close_all()


@contextmanager
def database_in(project: Any, alias: str, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One more database, migrated, for the time of the block."""
    from django.core.management import call_command

    project.settings[alias] = dict(options)
    project.configure_settings(project.settings)
    call_command("migrate", database=alias, verbosity=0)
    try:
        yield options
    finally:
        project[alias].close()
        del project[alias]
        del project.settings[alias]


@pytest.fixture(scope="session")
def postgres(project: Any) -> Iterator[dict[str, Any]]:
    with postgres_server() as options, database_in(project, "postgres", options):
        yield options


@pytest.fixture(scope="session")
def mariadb(project: Any) -> Iterator[dict[str, Any]]:
    with mariadb_server() as options, database_in(project, "mariadb", options):
        yield options


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[str]:
    with rabbitmq_server() as url:
        yield url


@pytest.fixture(params=["default", "postgres", "mariadb"])
def database(request: pytest.FixtureRequest, project: Any) -> Iterator[str]:
    """The alias of a database of each kind, with empty tables."""
    if request.param != "default":
        request.getfixturevalue(request.param)
    yield request.param
    empty(request.param)


def empty(alias: str) -> None:
    from celeriac.django.models import DeadOutboxMessage, OutboxMessage
    from tests.django.shop.models import Order

    for model in (OutboxMessage, DeadOutboxMessage, Order):
        model.objects.using(alias).all().delete()
