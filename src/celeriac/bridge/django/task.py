"""The Task class of an app in a Django project."""

from __future__ import annotations

from typing import Any

from celery.contrib.django import task as stock

from celeriac.bridge.django.row_arguments import RowArguments

__all__ = ["DjangoTask"]


class DjangoTask(RowArguments, stock.DjangoTask):
    """Celery's own for Django, whose tasks are given rows for the instances they are called with.

    With the outbox, "on commit" is what every call inside a transaction is.
    """

    abstract = True

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> Any:
        """Call the task once the transaction is committed, at once if there is none; return its result.

        Without the outbox this is Celery's own, which returns None.
        """
        if self._waits_for_commit():
            return self.delay(*args, **kwargs)
        return super().delay_on_commit(*args, **kwargs)

    def apply_async_on_commit(self, *args: Any, **kwargs: Any) -> Any:
        """The same with options of ``apply_async``."""
        if self._waits_for_commit() and kwargs.get("outbox") is not False:
            return self.apply_async(*args, **kwargs)
        return super().apply_async_on_commit(*args, **kwargs)

    def _waits_for_commit(self) -> bool:
        departures = self.app.departures
        return departures is not None and getattr(self, "outbox", None) is not False
