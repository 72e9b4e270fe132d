"""What the web framework that an app runs in adds to it."""

from __future__ import annotations

from typing import Any, Protocol

from celeriac.bridge.outgoing import Departures

__all__ = ["Framework"]


class Framework(Protocol):
    """Found by a fix-up, as Celery calls it, when the app is made."""

    @property
    def departures(self) -> Departures | None:
        """What keeps messages for the commit of a transaction; None if nothing does."""
        ...

    def outgoing(self, value: Any) -> Any:
        """Return arguments of a call with what travels in place of the framework's own objects.

        Raises :class:`~celeriac.core.errors.UnreferableObject` for one that cannot travel.
        """
        ...

    def task_class(self, base: type[Any]) -> type[Any]:
        """Return the Task class with what a task of the framework has."""
        ...
