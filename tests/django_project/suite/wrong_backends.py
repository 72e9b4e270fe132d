"""Backends that break one promise each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from celeriac.django.models import TaskRecord
from celeriac.django.tasks import CeleriacBackend


class Early(CeleriacBackend):
    """Does not wait for the time that a task is due at."""

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        return super().enqueue(replace(task, run_after=None), args, kwargs)


class UpsideDown(CeleriacBackend):
    """Runs what is urgent last."""

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        return super().enqueue(task.using(priority=-task.priority), args, kwargs)


class LongIds(CeleriacBackend):
    """Has ids that no column for them takes."""

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        result = super().enqueue(task, args, kwargs)
        object.__setattr__(result, "id", result.id * 2)
        return result


class MakesUpResults(CeleriacBackend):
    """Has an answer for every id."""

    def get_result(self, result_id: str) -> Any:
        known = TaskRecord.objects.filter(pk=result_id).exists()
        return super().get_result(result_id) if known else object()


class Forgetful(CeleriacBackend):
    """Loses arguments by keyword."""

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        return super().enqueue(task, args, {})


class Boastful(CeleriacBackend):
    """Claims no coroutines, and takes them."""

    supports_async_task = False

    def validate_task(self, task: Any) -> None:
        if not task.name.startswith("_later"):
            super().validate_task(task)
