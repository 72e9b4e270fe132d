"""What Django's side asks of Celery's, which it must not import."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

import msgspec

from celeriac.core.outbox import Outbox, Outgoing
from celeriac.core.settings import Settings

__all__ = ["CelerySide", "Letter", "Published", "TaskCall"]


class TaskCall(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a task of Django's Tasks framework, to be made by a worker."""

    #: The record's id.
    id: str
    #: The path of its function.
    name: str
    #: As Django has it: "default" is Celery's default queue.
    queue: str
    #: From -100 to 100, which is the first.
    priority: int
    run_after: datetime | None
    #: The database that the record is in.
    database: str
    #: How many attempts there have been.
    attempts: int


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a task, read from its message."""

    id: str
    #: The name of Celery's task, or the path of one of Django's framework.
    task: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    queue: str = ""
    #: Unix seconds before which no worker starts it.
    due: float | None = None


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter of the broker; what its message does not say is None."""

    id: str
    task: str | None
    task_id: str | None
    #: As the producer chose to show them.
    args: str | None
    kwargs: str | None
    queue: str
    reason: str
    deliveries: int
    #: Unix seconds.
    died: float


class CelerySide(Protocol):
    """Made once, when Django has imported all models."""

    def join(self) -> None:
        """The process has a Celery app, and ``manage.py check`` looks at it."""
        ...

    def run_later(self, call: TaskCall) -> None:
        """A worker runs the task once the open transaction of its database is committed."""
        ...

    def settings(self) -> Settings:
        """Return Celeriac's settings."""
        ...

    def tell(self, payload: bytes) -> tuple[str | None, str | None]:
        """Return what a message says of its arguments, as its producer chose to show them."""
        ...

    def dead_letters(self, offset: int, limit: int) -> list[Letter]:
        """Return so many of the broker's dead letters, the latest first, without the first ``offset``.

        Raises :class:`~celeriac.core.errors.CeleriacError`, as the next two do, if that cannot be done.
        """
        ...

    def retry_dead(self, ids: Sequence[str]) -> int:
        """Put dead letters back into their queues; return how many were there."""
        ...

    def drop_dead(self, ids: Sequence[str]) -> int:
        """Drop dead letters; return how many were there."""
        ...

    def keeping(self, outbox: Outbox) -> AbstractContextManager[None]:
        """For the time of the block every message goes into this outbox, and none to a broker."""
        ...

    def read(self, outgoing: Outgoing) -> Published:
        """Return what the message asks for."""
        ...

    def run(self, outgoing: Outgoing) -> BaseException | None:
        """Run the task in this process as a worker would; return what it has failed with for good."""
        ...
