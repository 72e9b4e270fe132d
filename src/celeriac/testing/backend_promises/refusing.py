"""What is no task, and is refused where it is declared."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac.django.tasks.declaring import task
from celeriac.django.tasks.framework import InvalidTask
from celeriac.testing.backend_promises.case import BackendCase

__all__ = ["Refusing"]


def _without_context(x: int) -> int:
    return x


async def _later() -> None: ...


class Refusing(BackendCase):
    """``validate_task``."""

    def test_a_function_inside_another_is_refused(self) -> None:
        def inner() -> None: ...

        with pytest.raises(InvalidTask, match="module"):
            task(inner)

    def test_a_task_that_takes_a_context_must_have_a_place_for_it(self) -> None:
        with pytest.raises(InvalidTask, match="context"):
            task(_without_context, takes_context=True)

    def test_a_coroutine_is_refused_where_it_is_not_supported(self) -> None:
        if self.the_backend.supports_async_task:
            pytest.skip("the backend claims it")
        with pytest.raises(InvalidTask, match="async"):
            task(_later)

    def test_a_queue_that_is_not_the_backends_is_refused(self) -> None:
        if not self.the_backend.queues:
            pytest.skip("the backend takes any queue")
        with pytest.raises(InvalidTask, match=r"[Qq]ueue"):
            task(_without_context, queue_name="nobody's queue")

    def test_options_that_do_not_exist_are_refused(self) -> None:
        wrong: dict[str, Any] = {"colour": "green"}
        with pytest.raises(TypeError, match="colour"):
            task(_without_context, **wrong)
