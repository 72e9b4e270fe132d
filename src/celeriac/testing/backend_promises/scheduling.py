"""When and in which order tasks run."""

# ruff: noqa: S101 - these are tests
from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from celeriac.django.tasks.framework import InvalidTask, TaskResultStatus
from celeriac.testing.backend_promises.case import BackendCase

__all__ = ["Scheduling"]


class Scheduling(BackendCase):
    """``run_after`` and ``priority``."""

    def test_a_task_that_is_due_later_waits(self) -> None:
        self.needs("defer")
        self.needs("get_result")
        result = self.sample.add.using(run_after=timezone.now() + timedelta(hours=1)).enqueue(1)
        now = self.sample.add.enqueue(2)
        self.run_queued()
        result.refresh()
        assert (result.status, result.attempts) == (TaskResultStatus.READY, 0)
        now.refresh()
        assert now.return_value == 3

    def test_a_task_that_is_overdue_runs(self) -> None:
        self.needs("defer")
        result = self.sample.add.using(run_after=timezone.now() - timedelta(hours=1)).enqueue(1)
        assert self.finish(result).return_value == 2

    def test_a_later_time_is_part_of_the_result(self) -> None:
        self.needs("defer")
        self.needs("get_result")
        due = timezone.now() + timedelta(hours=1)
        result = self.sample.add.using(run_after=due).enqueue(1)
        assert self.sample.add.get_result(result.id).task.run_after == due

    def test_a_time_without_a_zone_is_refused(self) -> None:
        self.needs("defer")
        with pytest.raises(InvalidTask, match="aware"):
            self.sample.add.using(run_after=timezone.now().replace(tzinfo=None))

    def test_a_later_time_is_refused_where_it_is_not_supported(self) -> None:
        if self.the_backend.supports_defer:
            pytest.skip("the backend claims it")
        with pytest.raises(InvalidTask, match="run_after"):
            self.sample.add.using(run_after=timezone.now())

    def test_larger_priorities_run_first(self) -> None:
        self.needs("priority")
        self.needs("get_result")
        if self.immediate:
            pytest.skip("nothing waits")
        task = self.sample.add
        results = [task.using(priority=priority).enqueue(1) for priority in (-100, 0, 100)]
        self.run_queued()
        for result in results:
            result.refresh()
        low, middle, high = (result.started_at for result in results)
        assert high < middle < low

    @staticmethod
    def _impossible() -> tuple[float, ...]:
        return (-101, 101, 1.5)

    def test_priorities_that_do_not_exist_are_refused(self) -> None:
        self.needs("priority")
        for priority in self._impossible():
            with pytest.raises(InvalidTask, match="priority"):
                self.sample.add.using(priority=priority)

    def test_priorities_are_refused_where_they_are_not_supported(self) -> None:
        if self.the_backend.supports_priority:
            pytest.skip("the backend claims them")
        with pytest.raises(InvalidTask, match="priority"):
            self.sample.add.using(priority=1)
