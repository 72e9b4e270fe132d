"""What the web framework that an app runs in adds to it."""

from __future__ import annotations

from typing import Protocol

from celeriac.bridge.outgoing import Departures

__all__ = ["Framework"]


class Framework(Protocol):
    """Found by a fix-up, as Celery calls it, when the app is made."""

    @property
    def departures(self) -> Departures | None:
        """What keeps messages for the commit of a transaction; None if nothing does."""
        ...
