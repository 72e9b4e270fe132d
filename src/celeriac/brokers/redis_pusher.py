"""The shortest way to put messages into a list in Redis: one kept connection, one command."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

__all__ = ["Pusher"]


class Pusher:
    """Belongs to one thread. Sends nothing twice: who gets an error knows no more than that it failed."""

    def __init__(self, client: Any) -> None:
        self._pool = client.connection_pool
        self._connection: Any = None
        self._pid = 0

    def push(self, key: str, payloads: Sequence[bytes]) -> None:
        """Add the payloads to the list, the first one first."""
        connection = self._connected()
        try:
            connection.send_packed_command(connection.pack_command("LPUSH", key, *payloads))
            connection.read_response()
        except BaseException:  # an answer may still come: nobody must take it for the next one's
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connection; the next push makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            connection.disconnect()
            self._pool.release(connection)

    def _connected(self) -> Any:
        connection = self._connection
        if connection is not None and self._pid == os.getpid():
            try:
                if not connection.can_read(timeout=0):
                    return connection
            except Exception:  # noqa: S110 - the server has closed it, in whatever way that shows
                pass
            self.close()
        self._connection = self._pool.get_connection()
        self._pid = os.getpid()
        return self._connection
