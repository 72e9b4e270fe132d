"""What Celeriac's backend adds to the contract: attempts, stale messages, transactions, priorities."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from celery import current_app, signals
from celery.app.task import Context
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import TestCase, TransactionTestCase, modify_settings
from django.utils import timezone
from kombu import Queue
from parcels import jobs

from celeriac import Celery
from celeriac.bridge.django.framework_tasks import run_task
from celeriac.bridge.django.priorities import celery_priority
from celeriac.django.models import TaskRecord
from celeriac.django.tasks import CeleriacBackend, task
from celeriac.django.tasks.attempt import Failed, Retrying, run_attempt
from celeriac.django.tasks.framework import InvalidTask, task_backends
from celeriac.django.tasks.next_attempt import seconds_until_next
from celeriac.django.test import TasksMixin


def errors(result: Any) -> list[str]:
    result.refresh()
    return [error.exception_class.__name__ for error in result.errors]


class Attempts(TasksMixin, TestCase):
    def test_a_message_that_a_retry_followed_is_stale(self) -> None:
        result = jobs.sometimes_twice.enqueue()
        assert isinstance(run_attempt(result.id, 0, "one"), Retrying)
        assert run_attempt(result.id, 0, "one, redelivered") is None
        assert isinstance(run_attempt(result.id, 1, "two"), Failed)
        result.refresh()
        assert result.worker_ids == ["one", "two"]
        assert errors(result) == ["ConnectionError"] * 2

    def test_a_message_that_comes_twice_after_the_end_changes_nothing(self) -> None:
        result = jobs.weigh.enqueue(1)
        assert run_attempt(result.id, 0, "one") is None
        assert run_attempt(result.id, 0, "two") is None
        result.refresh()
        assert result.worker_ids == ["one"]

    def test_a_message_without_a_record_is_left_alone(self) -> None:
        with self.assertLogs("celeriac.django.tasks", logging.WARNING) as logs:
            assert run_attempt("gone", 0, "one") is None
        assert "no record of the task gone" in logs.output[0]

    def test_a_function_that_is_gone_fails_its_task(self) -> None:
        result = jobs.weigh.enqueue(1)
        TaskRecord.objects.update(path="parcels.jobs.away")
        assert isinstance(run_attempt(result.id, 0, "one"), Failed)
        record = TaskRecord.objects.get()
        assert (record.status, record.errors[0][0]) == ("FAILED", "builtins.ImportError")

    def test_a_function_that_is_no_task_is_not_run(self) -> None:
        result = jobs.weigh.enqueue(1)
        TaskRecord.objects.update(path="os.getpid", args=[])
        failed = run_attempt(result.id, 0, "one")
        assert isinstance(failed, Failed)
        assert "os.getpid is not a task" in str(failed.error)

    def test_a_backoff_can_end_the_attempts(self) -> None:
        result = jobs.gives_up.enqueue()
        self.drain(raises=False)
        assert errors(result) == ["ConnectionError"] * 2
        assert str(result.status) == "FAILED"

    def test_a_revoked_task_has_failed(self) -> None:
        result = jobs.weigh.enqueue(1)
        signals.task_revoked.send(sender=run_task, request=Context(id=result.id), terminated=False)
        assert errors(result) == ["TaskRevokedError"]
        assert self.drain() != []
        assert errors(result) == ["TaskRevokedError"]

    def test_an_atomic_task_that_fails_leaves_nothing_but_its_error(self) -> None:
        result = jobs.half_done.enqueue("anna")
        self.drain(raises=False)
        assert not User.objects.filter(username="anna").exists()
        assert errors(result) == ["ValueError"]


class Unwritten(TasksMixin, TransactionTestCase):
    def test_a_record_that_cannot_be_written_is_tried_again(self) -> None:
        result = jobs.weigh.enqueue(1)
        refused: list[str] = []

        def refuse_once(execute: Any, sql: str, *rest: Any) -> Any:
            if sql.startswith("UPDATE") and "SUCCESSFUL" in rest[0] and not refused:
                refused.append(sql)
                raise OperationalError("the disk is full")
            return execute(sql, *rest)

        with connection.execute_wrapper(refuse_once):
            assert len(self.drain()) == 2
        assert refused
        result.refresh()
        assert (result.return_value, result.attempts) == (2, 2)


class Old(TasksMixin, TransactionTestCase):
    def setUp(self) -> None:
        # A worker counts its tasks until it looks for old records; here it begins to count anew.
        vars(apps.get_app_config("celeriac")).pop("old_records", None)

    def records(self, number: int, days: float, status: str = "SUCCESSFUL", finished: bool = True) -> None:
        """There are so many more records, of tasks called and finished so many days ago."""
        moment = timezone.now() - timedelta(days=days)
        TaskRecord.objects.bulk_create(
            TaskRecord(
                id=f"{status} {days} {one}",
                backend="default",
                path="parcels.jobs.weigh",
                queue_name="default",
                status=status,
                enqueued_at=moment,
                finished_at=moment if finished else None,
            )
            for one in range(number)
        )

    def purge(self, *options: str) -> str:
        out = StringIO()
        call_command("purge_task_records", *options, stdout=out)
        return out.getvalue().strip()

    def test_the_command_deletes_what_has_finished_long_ago(self) -> None:
        self.records(1500, 31)
        self.records(5, 40, "FAILED")
        self.records(3, 29)
        self.records(2, 90, "READY", finished=False)
        self.records(2, 90, "RUNNING", finished=False)
        assert self.purge() == "1505 records deleted"
        assert TaskRecord.objects.count() == 7
        assert self.purge("--older-than", "86400", "--database", "default") == "3 records deleted"
        assert self.purge("--older-than", "1") == "0 records deleted"

    def test_workers_delete_old_records_by_and_by(self) -> None:
        self.records(20, 31)
        self.records(1, 29)
        for number in range(12):
            jobs.weigh.enqueue(number)
        self.drain()
        assert sorted(TaskRecord.objects.values_list("path", flat=True)) == ["parcels.jobs.weigh"] * 13
        assert TaskRecord.objects.filter(pk__startswith="SUCCESSFUL").count() == 1

    def test_the_setting_says_how_old_they_may_become(self) -> None:
        self.records(20, 2)
        with patched_setting("task_records_retention_seconds", 86400.0):
            assert self.purge() == "20 records deleted"


@contextmanager
def patched_setting(name: str, value: Any) -> Iterator[None]:
    """The project's app has this setting for the time of the block."""
    conf = current_app.conf
    conf[name] = value
    try:
        yield
    finally:
        del conf.changes[name]


class Waiting(TestCase):
    def seconds(self, attempts: int, **options: Any) -> float | None:
        found = CeleriacBackend("default", {"OPTIONS": options})
        result = jobs.weigh.enqueue(1)
        result.worker_ids.extend(["w"] * attempts)

        class Asked:
            id = result.id

            @staticmethod
            def get_backend() -> CeleriacBackend:
                return found

        return seconds_until_next(Asked(), ValueError(), result)

    def test_the_wait_doubles_up_to_an_hour(self) -> None:
        for attempts, longest in ((1, 1), (2, 2), (5, 16), (20, 3600)):
            seconds = self.seconds(attempts, max_attempts=99)
            assert seconds is not None
            assert longest / 2 <= seconds <= longest

    def test_the_backend_says_what_its_tasks_do_not(self) -> None:
        assert self.seconds(1) is None
        assert self.seconds(1, max_attempts=2, backoff=7) == 7
        assert self.seconds(2, max_attempts=2, backoff=7) is None

    def test_a_backoff_that_fails_ends_the_attempts(self) -> None:
        with self.assertLogs("celeriac.django.tasks", logging.ERROR):
            assert self.seconds(1, max_attempts=9, backoff=lambda error, result: 1 / 0) is None


class Declarations(TasksMixin, TransactionTestCase):
    def test_what_cannot_be_done_is_refused(self) -> None:
        for wrong in ({"max_attempts": 0}, {"max_attempts": 1.5}, {"backoff": -1}, {"backoff": "soon"}):
            with pytest.raises(InvalidTask, match=next(iter(wrong))):
                task(jobs.weigh.func, **wrong)

    def test_a_task_that_workers_would_not_find_is_refused(self) -> None:
        with pytest.raises(InvalidTask, match=r"parcels\.jobs\.plain is not the task"):
            jobs.other_name.enqueue()
        assert TaskRecord.objects.count() == 0

    def test_options_survive_using(self) -> None:
        assert jobs.flaky.using(priority=5).max_attempts == 3

    def test_the_queue_default_is_celerys(self) -> None:
        jobs.weigh.enqueue(1)
        jobs.weigh.using(queue_name="heavy").enqueue(1)
        assert [call.queue for call in self.published()] == ["celery", "heavy"]

    def test_an_unknown_option_of_the_backend_is_an_error(self) -> None:
        backend = CeleriacBackend("default", {"OPTIONS": {"max_attempt": 3}})
        [message] = backend.check()
        assert (message.id, "did you mean 'max_attempts'?" in message.msg) == ("celeriac.E061", True)

    def test_a_backend_without_its_tables_is_an_error(self) -> None:
        assert list(task_backends["default"].check()) == []
        with modify_settings(INSTALLED_APPS={"remove": ["celeriac.django"]}):
            assert [message.id for message in task_backends["default"].check()] == ["celeriac.E060"]


def app(url: str, **settings: Any) -> Celery:
    made = Celery("other", broker=url, set_as_current=False)
    made.conf.update(settings)
    return made


@pytest.mark.parametrize("url", ["redis://queue.example/0", "sqlite:///x.db", "redis://a/0;redis://b/0"])
def test_zero_is_first_on_redis(url: str) -> None:
    made = app(url)
    found = [celery_priority(made, "celery", priority) for priority in (100, 34, 0, -34, -100)]
    assert found == sorted(found)
    assert (found[0], found[-1]) == (0, 9)


def test_the_largest_is_first_in_rabbitmq_where_queues_have_priorities() -> None:
    made = app("amqp://queue.example//", task_queues=[Queue("first", max_priority=10), Queue("plain")])
    assert [celery_priority(made, "first", priority) for priority in (100, 0, -100)] == [10, 5, 0]
    assert celery_priority(made, "plain", 100) is None
    everywhere = app("amqp://queue.example//", task_queue_max_priority=4)
    assert [celery_priority(everywhere, "celery", priority) for priority in (100, -100)] == [4, 0]
