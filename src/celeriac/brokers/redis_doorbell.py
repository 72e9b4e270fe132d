"""How an idle shard hears of messages from producers that know nothing of Celeriac."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

__all__ = ["Doorbell"]


class Doorbell:
    """Rings when one of some keys changes: Redis tells it by client-side caching's invalidations.

    https://redis.io/docs/latest/develop/reference/client-side-caching/ : a key that was read, even
    one that does not exist, is remembered once for this connection; its next change is pushed. A
    server that cannot do this is asked every ``POLL`` seconds instead.
    """

    POLL = 0.02

    def __init__(self, client: Any, refusal: type[Exception]) -> None:
        """``refusal`` is what the client raises when the server knows no such command."""
        self.pid = os.getpid()
        options = {**client.connection_pool.connection_kwargs, "protocol": 3}
        options.pop("maint_notifications_config", None)
        self._connection = client.connection_pool.connection_class(**options)
        self._refusal = refusal
        self._tracking: bool | None = None

    def wait(self, keys: Sequence[str], timeout: float) -> None:
        """Return when one of the keys exists or comes to exist, at latest after ``timeout`` seconds."""
        if self._tracking is None:
            self._tracking = self._start_tracking()
        if self._ask("EXISTS", *keys):
            return
        if not self._tracking:
            time.sleep(min(timeout, self.POLL))
        elif self._connection.can_read(timeout):
            self._connection.read_response(push_request=True)

    def close(self) -> None:
        """Drop the connection; it holds nothing."""
        if self.pid == os.getpid():
            self._connection.disconnect()

    def _start_tracking(self) -> bool:
        self._connection.connect()
        try:
            self._ask("CLIENT", "TRACKING", "ON")
        except self._refusal:
            return False
        return True

    def _ask(self, *command: str) -> Any:
        self._connection.send_command(*command)
        return self._connection.read_response()
