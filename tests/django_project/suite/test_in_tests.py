"""What tests of a Django project are given: nothing leaves the process, and runs when asked for."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery import chain, current_app
from django.db import transaction
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from parcels import jobs
from parcels.tasks import deliver, repeat, send, stubborn

from celeriac.core.errors import ConfigurationError
from celeriac.django.models import OutboxMessage
from celeriac.django.test import PublishedTasks, TasksMixin, keep_published


def sent() -> list[str]:
    ledger = Path(os.environ["FOLDER"]) / "sent"
    return ledger.read_text().splitlines() if ledger.exists() else []


class Shared(TasksMixin):
    """Runs in a transaction that is never committed, and without one."""

    def test_a_call_is_published_and_run(self: Any) -> None:
        result = send.delay(41)
        [call] = self.published()
        assert (call.id, call.task, call.args, call.queue) == (result.id, send.name, (41,), "celery")
        before = len(sent())
        assert [one.args for one in self.drain()] == [(41,)]
        assert sent()[before:] == ["41"]
        assert self.drain() == []
        assert len(self.published(send)) == 1

    def test_nothing_is_in_the_database_or_at_the_broker(self: Any) -> None:
        send.delay(1)
        assert OutboxMessage.objects.count() == 0
        assert not (Path(os.environ["FOLDER"]) / "broker.db").exists()

    def test_what_is_rolled_back_was_not_published(self: Any) -> None:
        with transaction.atomic():
            send.delay(1)
            transaction.set_rollback(True)
        self.assertNothingPublished()
        assert self.drain() == []

    def test_what_waits_for_a_commit_runs(self: Any) -> None:
        with transaction.atomic():
            transaction.on_commit(partial(send.delay, 5))
            send.delay_on_commit(6)
            send.delay(7)
        assert [call.args for call in self.drain()] == [(5,), (6,), (7,)]

    def test_tasks_that_tasks_publish_run_too(self: Any) -> None:
        deliver.delay(3)
        assert [call.task for call in self.drain()] == [deliver.name, send.name]

    def test_chains_run(self: Any) -> None:
        chain(send.s(1), send.s()).apply_async()
        assert [call.args for call in self.drain()] == [(1,), (1,)]

    def test_retries_run_without_waiting(self: Any) -> None:
        stubborn.delay(True)
        assert len(self.drain()) == 3

    def test_a_task_that_fails_for_good_fails_the_test(self: Any) -> None:
        stubborn.delay(False)
        with pytest.raises(TimeoutError, match="the depot is closed"):
            self.drain()

    def test_failures_can_be_let_pass(self: Any) -> None:
        stubborn.delay(False)
        send.delay(8)
        assert len(self.drain(raises=False)) == 4

    def test_delayed_tasks_run_last(self: Any) -> None:
        send.apply_async((1,), countdown=600)
        send.delay(2)
        assert [call.args for call in self.drain()] == [(2,), (1,)]
        assert self.published()[0].due is not None

    def test_tasks_without_end_are_stopped(self: Any) -> None:
        repeat.delay()
        with pytest.raises(
            AssertionError, match=r"1000 tasks have run, and parcels\.tasks\.repeat\(\) is next"
        ):
            self.drain()

    def test_what_was_not_published_is_told_with_what_was(self: Any) -> None:
        send.delay(1)
        assert self.assertPublished(send).args == (1,)
        assert self.assertPublished(send, 1).args == (1,)
        self.assertNothingPublished(deliver)
        with pytest.raises(
            AssertionError, match=r"send\(2\) was not published; published were parcels\.tasks\.send\(1\)"
        ):
            self.assertPublished(send, 2)
        with pytest.raises(AssertionError, match=r"^published were parcels\.tasks\.send\(1\)$"):
            self.assertNothingPublished()

    def test_a_call_that_is_sent_at_once_is_kept_too(self: Any) -> None:
        send.apply_async((9,), outbox=False)
        self.assertPublished(send, 9)

    def test_an_unknown_task_says_what_to_do(self: Any) -> None:
        current_app.send_task("parcels.tasks.lost")
        with pytest.raises(ConfigurationError, match=r"unknown task 'parcels\.tasks\.lost': is its module"):
            self.drain()

    def test_tasks_of_djangos_framework_are_shown_by_their_own_names(self: Any) -> None:
        result = jobs.weigh.enqueue(4)
        self.assertPublished(jobs.weigh, 4)
        assert [call.task for call in self.drain()] == ["parcels.jobs.weigh"]
        result.refresh()
        assert result.return_value == 8


class InATransaction(Shared, TestCase):
    pass


class InNoTransaction(Shared, TransactionTestCase):
    pass


class WithoutDatabases(TasksMixin, SimpleTestCase):
    def test_calls_are_kept_and_run(self) -> None:
        send.delay(1)
        assert [call.args for call in self.drain()] == [(1,)]


def test_the_fixture_keeps_what_is_published(published_tasks: PublishedTasks) -> None:
    send.delay(3)
    published_tasks.assert_published(send, 3)
    assert [call.args for call in published_tasks.drain()] == [(3,)]


class Outside(TestCase):
    def test_a_block_keeps_what_is_published_in_it(self) -> None:
        with keep_published() as tasks:
            send.delay(1)
            assert len(tasks.published()) == 1
        send.delay(2)
        assert len(tasks.published()) == 1
        assert OutboxMessage.objects.count() == 1
