"""Tasks that are given rows: right before the body, the references in its arguments become instances."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from django.db import transaction

from celeriac.bridge.coroutine import is_async
from celeriac.bridge.django.given_rows import (
    BodyNotCalled,
    instead_of_body,
    option_of,
    rows_for,
    rows_for_async,
)
from celeriac.bridge.django.step import Proceed, TaskCall
from celeriac.django.model_ref import ModelRef
from celeriac.django.references import references_in
from celeriac.django.rows import database_to_lock

__all__ = ["RowStep"]


class RowStep:
    """What follows is called with rows, or not at all; arguments without references cost a look."""

    def run(self, call: TaskCall, proceed: Proceed) -> Any:
        """Return what ``proceed`` returns; None for a task that is skipped."""
        references = list({one: None for part in (call.args, call.kwargs) for one in references_in(part)})
        if not references:
            return proceed(call)
        if is_async(call.task):
            return _run_coroutine(call, references, proceed)
        try:
            with ExitStack() as transactions:
                if option_of(call.task, "lock") == "update":
                    for alias in sorted({database_to_lock(one) for one in references}):
                        transactions.enter_context(transaction.atomic(using=alias))
                return proceed(rows_for(call, call.task.request, references))
        except BodyNotCalled as error:
            not_called = error
        return instead_of_body(call.task, not_called)


async def _run_coroutine(call: TaskCall, references: Sequence[ModelRef], proceed: Proceed) -> Any:
    try:
        with_rows = await rows_for_async(call, call.task.request, references)
    except BodyNotCalled as error:
        not_called = error
    else:
        return await proceed(with_rows)
    return instead_of_body(call.task, not_called)
