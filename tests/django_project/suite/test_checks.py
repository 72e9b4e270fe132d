"""``manage.py check`` names each mistake, and is quiet about a project without any."""

from __future__ import annotations

from typing import Any

import celery
import pytest
from celery import shared_task
from django.core.checks import run_checks
from django.db import connection
from django.test import TestCase, TransactionTestCase, override_settings

from celeriac import Celery
from celeriac.bridge.django.checks.app import check_app
from celeriac.bridge.django.checks.broker import check_broker_for_deployment, check_broker_url
from celeriac.bridge.django.checks.outbox import check_outbox_for_deployment, check_transactions
from celeriac.bridge.django.checks.results import check_results
from celeriac.bridge.django.checks.safety import check_safety
from celeriac.bridge.django.checks.settings import check_settings
from celeriac.bridge.django.checks.tables import check_tables
from celeriac.bridge.django.project_app import project_app
from celeriac.django.models import InboxEntry


def found(check: Any, **settings: Any) -> dict[str, str]:
    """What a check says of these settings of Django, by its ids."""
    with override_settings(**settings):
        app = Celery("other", set_as_current=False)
        app.config_from_object("django.conf:settings", namespace="CELERY")
        return {message.id: f"{message.msg} {message.hint}" for message in check(app)}


def databases(**changes: Any) -> dict[str, Any]:
    return {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "x", **changes}}


# -- The app


def test_a_sound_project_has_nothing_to_be_told() -> None:
    assert [message for message in run_checks() if message.id.startswith("celeriac")] == []


def test_the_default_app_is_the_projects() -> None:
    app = project_app()
    assert type(app) is Celery
    assert app.main == "shop"
    assert app.conf.broker_url.endswith("broker.db")


def test_a_project_on_celerys_own_app_is_told_what_to_change() -> None:
    [message] = check_app(celery.Celery("stock", set_as_current=False))
    assert (message.id, message.is_serious()) == ("celeriac.E001", True)
    assert "'stock'" in message.msg
    assert "from celeriac import Celery" in message.hint


# -- Settings


def test_a_misspelt_setting_of_celeriacs_is_an_error() -> None:
    told = found(check_settings, CELERY_OUTBOX_ENABLE=True)
    assert "did you mean 'outbox_enabled'?" in told["celeriac.E010"]


def test_a_bad_value_is_an_error() -> None:
    assert "engine_max_deliveries" in found(check_settings, CELERY_ENGINE_MAX_DELIVERIES=0)["celeriac.E010"]


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ("CELERY_TASK_ALWAYS_EAGR", "CELERY_TASK_ALWAYS_EAGER"),
        ("CELERY_BROKER_ULR", "CELERY_BROKER_URL"),
        ("CELERY_ALWAYS_EAGER", "CELERY_TASK_ALWAYS_EAGER"),
        ("CELERY_MAX_TASKS_PER_CHILD", "CELERY_WORKER_MAX_TASKS_PER_CHILD"),
    ],
)
def test_a_misspelt_or_old_name_of_celerys_is_told_with_what_is_meant(setting: str, meant: str) -> None:
    told = found(check_settings, **{setting: 1})
    assert told == {"celeriac.W011": f"{setting} is no setting of Celery's. Did you mean {meant}?"}


def test_a_projects_own_setting_is_left_alone() -> None:
    assert found(check_settings, CELERY_DASHBOARD_TITLE="Parcels", CELERY_DB_REUSE_MAX=10) == {}


# -- The broker


def test_a_missing_broker_is_told() -> None:
    assert list(found(check_broker_url, CELERY_BROKER_URL=None)) == ["celeriac.W021"]


def test_a_broker_url_that_names_none_is_an_error() -> None:
    assert "did you mean 'redis'?" in found(check_broker_url, CELERY_BROKER_URL="redi://h/0")["celeriac.E020"]


@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379/0", "redis://localhost/1", "redis://[::1]/0"])
def test_a_broker_on_this_machine_is_told_before_a_deployment(url: str) -> None:
    assert list(found(check_broker_for_deployment, CELERY_BROKER_URL=url)) == ["celeriac.W022"]
    assert found(check_broker_url, CELERY_BROKER_URL=url) == {}


def test_a_broker_in_memory_is_told_before_a_deployment() -> None:
    assert list(found(check_broker_for_deployment, CELERY_BROKER_URL="memory://")) == ["celeriac.W023"]


@pytest.mark.parametrize("url", ["redis://queue.example:6379/0", "sqlite:////srv/broker.db"])
def test_a_broker_that_can_be_reached_is_fine(url: str) -> None:
    assert found(check_broker_for_deployment, CELERY_BROKER_URL=url) == {}


def test_a_visibility_timeout_below_the_time_limit_is_told() -> None:
    redis = {"CELERY_BROKER_URL": "redis://queue.example/0", "CELERY_TASK_TIME_LIMIT": 4000}
    assert "4000 s, but after 3600 s" in found(check_broker_for_deployment, **redis)["celeriac.W024"]
    redis["CELERY_BROKER_TRANSPORT_OPTIONS"] = {"visibility_timeout": 5000}
    assert found(check_broker_for_deployment, **redis) == {}
    rabbit = {"CELERY_BROKER_URL": "amqp://queue.example//", "CELERY_TASK_TIME_LIMIT": 4000}
    assert "celeriac.W024" not in found(check_broker_for_deployment, **rabbit)


@pytest.mark.parametrize(
    "url", ["amqp://queue.example//", "pyamqp://queue.example//", "amqps://queue.example//"]
)
def test_rabbitmq_that_is_not_asked_to_confirm_is_told_before_a_deployment(url: str) -> None:
    rabbit: dict[str, Any] = {"CELERY_BROKER_URL": url}
    assert "confirm_publish" in found(check_broker_for_deployment, **rabbit)["celeriac.W025"]
    for decided in (True, False):
        rabbit["CELERY_BROKER_TRANSPORT_OPTIONS"] = {"confirm_publish": decided}
        assert found(check_broker_for_deployment, **rabbit) == {}


# -- The outbox


def test_sqlite_without_immediate_transactions_is_told() -> None:
    assert list(found(check_transactions, DATABASES=databases())) == ["celeriac.W031"]
    immediate = databases(OPTIONS={"transaction_mode": "immediate"})
    assert found(check_transactions, DATABASES=immediate) == {}
    assert found(check_transactions, DATABASES=databases(), CELERY_OUTBOX_ENABLED=False) == {}
    other = databases(ENGINE="django.db.backends.postgresql")
    assert found(check_transactions, DATABASES=other) == {}


def test_views_with_two_transactions_are_an_error() -> None:
    atomic = databases(ENGINE="django.db.backends.postgresql", ATOMIC_REQUESTS=True)["default"]
    told = found(check_transactions, DATABASES={"default": atomic, "ledger": atomic})
    assert "default, ledger" in told["celeriac.E032"]


def test_an_outbox_that_is_off_is_told_before_a_deployment() -> None:
    assert list(found(check_outbox_for_deployment, CELERY_OUTBOX_ENABLED=False)) == ["celeriac.W033"]


def test_views_without_a_transaction_are_told_of_before_a_deployment() -> None:
    assert list(found(check_outbox_for_deployment)) == ["celeriac.I034"]
    assert found(check_outbox_for_deployment, DATABASES=databases(ATOMIC_REQUESTS=True)) == {}


class WithTables(TestCase):
    def test_tables_that_are_there_are_not_told_of(self) -> None:
        assert check_tables(["default"]) == check_tables() == []


class WithoutATable(TransactionTestCase):
    def test_a_table_that_is_missing_is_an_error(self) -> None:
        with connection.schema_editor() as editor:
            editor.delete_model(InboxEntry)
        try:
            [message] = check_tables(["default"])
        finally:
            with connection.schema_editor() as editor:
                editor.create_model(InboxEntry)
        assert message.id == "celeriac.E030"
        assert "no table celeriac_inboxentry." in message.msg
        assert "migrate celeriac --database default" in message.hint


# -- Results, and what is unsafe


def test_results_that_are_asked_for_and_stored_nowhere_are_told_of() -> None:
    told = found(check_results, CELERY_TASK_TRACK_STARTED=True)
    assert "CELERY_TASK_TRACK_STARTED" in told["celeriac.W040"]
    kept = {"CELERY_TASK_TRACK_STARTED": True, "CELERY_RESULT_BACKEND": "redis://queue.example/1"}
    assert found(check_results, **kept) == {}
    assert found(check_results) == {}


def test_a_task_that_wants_a_result_though_others_do_not_is_told_of() -> None:
    @shared_task(name="suite.wants_a_result", ignore_result=False)
    def wants_a_result() -> None: ...

    assert "the task suite.wants_a_result" in found(check_results)["celeriac.W040"]
    assert found(check_results, CELERY_TASK_IGNORE_RESULT=False) == {}


def test_eager_tasks_are_told_of_before_a_deployment() -> None:
    assert list(found(check_safety, CELERY_TASK_ALWAYS_EAGER=True)) == ["celeriac.W050"]


@pytest.mark.parametrize("name", ["pickle", "application/x-python-serialize"])
def test_pickled_messages_are_told_of_before_a_deployment(name: str) -> None:
    assert list(found(check_safety, CELERY_ACCEPT_CONTENT=["json", name])) == ["celeriac.W051"]


def test_sound_settings_are_safe() -> None:
    assert found(check_safety) == {}
