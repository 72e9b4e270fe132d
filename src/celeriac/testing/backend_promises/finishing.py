"""What a result says once its task has run, and who can ask for it."""

# ruff: noqa: S101 - these are tests
from __future__ import annotations

from threading import Thread
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connections

from celeriac.django.tasks.framework import TaskResultDoesNotExist, TaskResultMismatch, TaskResultStatus
from celeriac.testing.backend_promises.case import BackendCase

__all__ = ["Finishing"]


class Finishing(BackendCase):
    """Success, failure, signals and ``get_result``."""

    def test_a_task_that_succeeds_has_its_return_value_and_times(self) -> None:
        result = self.finish(self.sample.add.enqueue(1, y=2))
        assert result.status == TaskResultStatus.SUCCESSFUL
        assert (result.is_finished, result.return_value, result.errors) == (True, 3, [])
        assert result.enqueued_at <= result.started_at <= result.finished_at
        assert result.started_at <= result.last_attempted_at <= result.finished_at
        assert result.attempts == len(result.worker_ids) == 1
        assert all(isinstance(worker, str) and worker for worker in result.worker_ids)

    def test_a_task_that_fails_has_its_error(self) -> None:
        result = self.finish(self.sample.broken.enqueue("boom"))
        self._check_failed(result, ValueError)
        assert "ValueError: boom" in result.errors[0].traceback
        assert "in broken" in result.errors[0].traceback

    def test_a_task_whose_return_value_json_has_no_word_for_fails(self) -> None:
        self._check_failed(self.finish(self.sample.strange.enqueue()), TypeError)

    def test_a_task_that_wants_to_leave_fails_and_its_worker_goes_on(self) -> None:
        self._check_failed(self.finish(self.sample.leave.enqueue()), SystemExit)
        assert self.finish(self.sample.add.enqueue(1)).return_value == 2

    def test_a_task_with_wrong_arguments_fails(self) -> None:
        self._check_failed(self.finish(self.sample.add.enqueue(1, 2, 3)), TypeError)

    def test_a_task_is_told_which_attempt_it_is_and_of_which_call(self) -> None:
        result = self.finish(self.sample.attempt.enqueue("a"))
        assert result.return_value == [1, result.id, ["a"]]

    def test_a_coroutine_is_awaited(self) -> None:
        self.needs("async_task")
        assert self.finish(self.sample.double_later.enqueue(4)).return_value == 8

    def test_start_and_end_are_told(self) -> None:
        with self.signals() as told:
            done = self.finish(self.sample.add.enqueue(1))
        if not any(name == "started" for name, *_ in told):
            pytest.skip("the tasks run in another process")
        sender = type(self.the_backend)
        assert told == [
            ("enqueued", sender, done.id, "READY"),
            ("started", sender, done.id, "RUNNING"),
            ("finished", sender, done.id, "SUCCESSFUL"),
        ]

    def test_a_failure_is_told_as_one(self) -> None:
        with self.signals() as told:
            done = self.finish(self.sample.broken.enqueue("boom"))
        ends = [one for one in told if one[0] == "finished"]
        if not ends:
            pytest.skip("the tasks run in another process")
        assert ends == [("finished", type(self.the_backend), done.id, "FAILED")]

    def test_a_result_is_found_by_its_id(self) -> None:
        self.needs("get_result")
        result = self.finish(self.sample.add.enqueue(1, y=2))
        for found in (
            self.sample.add.get_result(result.id),
            self.the_backend.get_result(result.id),
            async_to_sync(self.sample.add.aget_result)(result.id),
        ):
            assert found == result
            assert found.return_value == 3

    def test_a_result_is_found_by_another_thread(self) -> None:
        self.needs("get_result")
        result = self.finish(self.sample.add.enqueue(1))
        found: list[Any] = []

        def find() -> None:
            try:
                found.append(self.sample.add.get_result(result.id).return_value)
            finally:
                connections.close_all()

        thread = Thread(target=find)
        thread.start()
        thread.join()
        assert found == [2]

    def test_a_result_can_be_refreshed_and_awaited(self) -> None:
        self.needs("get_result")
        result = self.sample.add.enqueue(1)
        self.run_queued()
        async_to_sync(result.arefresh)()
        assert result.return_value == 2

    def test_what_was_never_called_is_not_found(self) -> None:
        self.needs("get_result")
        with pytest.raises(TaskResultDoesNotExist):
            self.the_backend.get_result("no such id")

    def test_a_result_of_another_task_is_told_apart(self) -> None:
        self.needs("get_result")
        result = self.sample.add.enqueue(1)
        with pytest.raises(TaskResultMismatch):
            self.sample.give.get_result(result.id)

    def _check_failed(self, result: Any, kind: type[BaseException]) -> None:
        assert result.status == TaskResultStatus.FAILED
        assert result.is_finished
        assert [error.exception_class for error in result.errors] == [kind]
        assert result.attempts == 1
        with pytest.raises(ValueError, match="failed"):
            _ = result.return_value
