"""The broker's dead letters, for pages of Django's admin; each call has a broker connection of its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from celeriac.bridge.find_app import broker_of
from celeriac.bridge.letters import tell
from celeriac.django.celery_side import Letter

__all__ = ["drop", "read", "retry"]


def read(app: Any, offset: int, limit: int) -> list[Letter]:
    """Return so many letters from the ``offset``-th on, the latest first.

    Raises a :class:`~celeriac.core.errors.CeleriacError` if the broker is none of Celeriac's, or away.
    """
    with closing(broker_of(app)) as broker:
        return [_letter(one) for one in broker.dead_letters(offset, limit)]


def retry(app: Any, ids: Sequence[str]) -> int:
    """Put the letters back into their queues; return how many were there."""
    with closing(broker_of(app)) as broker:
        return broker.retry_dead(ids)


def drop(app: Any, ids: Sequence[str]) -> int:
    """The letters are gone; return how many were there."""
    with closing(broker_of(app)) as broker:
        return broker.drop_dead(ids)


def _letter(found: Any) -> Letter:
    told = tell(found.message.payload)
    return Letter(
        id=found.id,
        task=told.task,
        task_id=told.task_id,
        args=told.args,
        kwargs=told.kwargs,
        queue=found.message.queue,
        reason=found.reason,
        deliveries=found.deliveries,
        died=found.died_at,
    )
