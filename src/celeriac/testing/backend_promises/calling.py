"""Calls: what a result says before its task runs, and what arguments become."""

# ruff: noqa: S101 - these are tests
from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils import timezone

from celeriac.django.tasks.framework import TaskResultDoesNotExist, TaskResultStatus
from celeriac.testing.backend_promises.case import BackendCase

__all__ = ["Calling"]


class Calling(BackendCase):
    """``enqueue``, ``aenqueue`` and their results."""

    def test_a_call_is_ready_at_once(self) -> None:
        before = timezone.now()
        result = self.sample.add.enqueue(1, y=2)
        assert isinstance(result.id, str)
        assert 0 < len(result.id) <= 64
        assert result.task is self.sample.add or result.task.func is self.sample.add.func
        assert (result.args, result.kwargs, result.backend) == ([1], {"y": 2}, "default")
        assert before <= result.enqueued_at <= timezone.now()
        if not self.immediate:
            assert result.status == TaskResultStatus.READY
            assert not result.is_finished
            assert (result.started_at, result.last_attempted_at, result.finished_at) == (None, None, None)
            assert (result.attempts, result.errors, result.worker_ids) == (0, [], [])
            with pytest.raises(ValueError, match="not finished"):
                _ = result.return_value

    def test_every_call_has_an_id_of_its_own(self) -> None:
        assert len({self.sample.add.enqueue(1).id for _ in range(20)}) == 20

    def test_arguments_are_what_json_makes_of_them(self) -> None:
        result = self.sample.give.enqueue((1, 2), b"text", {"deep": (3,)}, none=None, yes=True)
        assert result.args == [[1, 2], "text", {"deep": [3]}]
        assert result.kwargs == {"none": None, "yes": True}
        assert self.finish(result).return_value == [result.args, result.kwargs]

    def test_text_of_any_kind_arrives(self) -> None:
        text = "a'b\"c\\d\n\t\u00e9\u4e2d\U0001f33f{}%s"
        assert self.finish(self.sample.give.enqueue(text)).return_value == [[text], {}]

    def test_large_arguments_arrive(self) -> None:
        numbers = list(range(20_000))
        assert self.finish(self.sample.give.enqueue(numbers)).return_value == [[numbers], {}]

    def test_arguments_that_are_changed_afterwards_stay_as_they_were(self) -> None:
        if self.immediate:
            pytest.skip("the task has run by then")
        numbers = [1]
        result = self.sample.give.enqueue(numbers)
        numbers.append(2)
        assert self.finish(result).return_value == [[[1]], {}]

    def test_arguments_that_json_has_no_word_for_are_refused(self) -> None:
        with self.signals() as told, pytest.raises(TypeError, match="Unsupported type"):
            self.sample.give.enqueue(object())
        assert told == []

    def test_a_call_can_be_awaited(self) -> None:
        result = async_to_sync(self.sample.add.aenqueue)(1, y=2)
        assert self.finish(result).return_value == 3

    def test_a_call_tells_that_it_is_queued(self) -> None:
        with self.signals() as told:
            result = self.sample.add.enqueue(1)
        assert told[0] == ("enqueued", type(self.the_backend), result.id, "READY")

    def test_a_call_in_a_transaction_that_is_rolled_back_was_never_made(self) -> None:
        result = self._rolled_back()
        self.run_queued()
        with pytest.raises(TaskResultDoesNotExist):
            self.the_backend.get_result(result.id)

    def test_a_call_in_a_transaction_runs_after_its_commit(self) -> None:
        with transaction.atomic():
            result = self.sample.add.enqueue(1)
        assert self.finish(result).return_value == 2

    def _rolled_back(self) -> Any:
        self.needs("get_result")
        if not self.transactional:
            pytest.skip("the backend does not claim to be transactional")
        with transaction.atomic():
            result = self.sample.add.enqueue(1)
            transaction.set_rollback(True)
        return result
