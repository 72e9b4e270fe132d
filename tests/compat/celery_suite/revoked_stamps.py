"""Which stamps are revoked, as tests of the suite change it in their own process.

Celery's worker in a thread looks there before it starts a task; shards look in their own processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.worker import request, state

from celeriac.engine.notices import AnyNotice, StampsRevoked

__all__ = ["RevokedStamps"]


class RevokedStamps(dict[str, list[Any]]):
    """What is cleared by hand is cleared in the shards too, before the next message is sent."""

    def __init__(self, tell: Callable[[AnyNotice], None]) -> None:
        super().__init__(state.revoked_stamps)
        self._tell = tell

    def stand_in(self) -> None:
        """Celery's worker and the tests find it in the place of their own."""
        state.revoked_stamps = request.revoked_stamps = self

    def clear(self) -> None:
        super().clear()
        self._tell(StampsRevoked({}))
