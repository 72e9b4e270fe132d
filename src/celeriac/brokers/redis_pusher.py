"""The shortest way to put messages into a list in Redis: one kept connection, one command."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from typing import Any

from celeriac.brokers.redis_wait import WakefulWait

__all__ = ["Pusher"]


class Pusher:
    """Belongs to one thread. Sends nothing twice: who gets an error knows no more than that it failed."""

    def __init__(self, client: Any) -> None:
        self._pool = client.connection_pool
        self._connection: Any = None
        self._wait: WakefulWait | None = None
        self._pid = 0

    def push(self, key: str, payloads: Sequence[bytes]) -> None:
        """Add the payloads to the list, the first one first."""
        connection = self._connected()
        try:
            connection.send_packed_command([_packed(key.encode(), payloads)])
            if self._wait is not None:
                self._wait.wait()
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
            if self._is_quiet():
                return connection
            self.close()
        self._connection = self._pool.get_connection()
        self._wait = _wait_for(self._connection)
        self._pid = os.getpid()
        return self._connection

    def _is_quiet(self) -> bool:
        """Whether nothing waits to be read, not even the news that the server has closed the connection."""
        if self._wait is not None:
            return self._wait.is_quiet()
        try:
            return not self._connection.can_read(timeout=0)
        except Exception:  # the server has closed it, in whatever way that shows
            return False


def _packed(key: bytes, payloads: Sequence[bytes]) -> bytes:
    """Return the command as it goes over the wire, made four times as fast as redis-py does.

    https://redis.io/docs/latest/develop/reference/protocol-spec/
    """
    parts = [b"*%d\r\n$5\r\nLPUSH\r\n$%d\r\n%b" % (2 + len(payloads), len(key), key)]
    for payload in payloads:
        parts += (b"\r\n$%d\r\n" % len(payload), payload)
    parts.append(b"\r\n")
    return b"".join(parts)


def _wait_for(connection: Any) -> WakefulWait | None:
    """Return what waits awake for the connection's answers; None where that cannot be."""
    sock = getattr(connection, "_sock", None)  # redis-py has no public name for it
    return WakefulWait(sock) if sock is not None and hasattr(select, "poll") else None
