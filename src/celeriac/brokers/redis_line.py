"""One kept connection to Redis, on which commands cost half of what they cost through redis-py's pool."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from typing import Any

from celeriac.brokers.redis_client import script_unknown
from celeriac.brokers.redis_wait import WakefulWait

__all__ = ["Line", "Script"]


class Line:
    """Used by one thread at a time. Sends nothing twice: who gets an error knows no more than that it failed.

    The connection is one of the client's pool, and a new one after an error and in a forked child.
    """

    def __init__(self, client: Any, *, awake: bool = False) -> None:
        """With ``awake`` an answer that is nearly there is not slept over."""
        self._pool = client.connection_pool
        self._awake = awake
        self._connection: Any = None
        self._wait: WakefulWait | None = None
        self._pid = 0

    def ask(self, command: bytes) -> Any:
        """Send what is packed already; return the answer. Raises redis-py's errors."""
        connection = self._connected()
        try:
            connection.send_packed_command([command])
            if self._awake and self._wait is not None:
                self._wait.wait()
            return connection.read_response()
        except BaseException:  # an answer may still come: nobody must take it for the next one's
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connection; the next command makes a new one."""
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


class Script:
    """A script of the server's, called on a line."""

    def __init__(self, client: Any, line: Line, text: str) -> None:
        self._line = line
        self._whole = client.register_script(text)
        self._name = self._whole.sha.encode()
        self._unknown = script_unknown()

    def __call__(self, arguments: Sequence[Any], keys: Sequence[bytes] = ()) -> Any:
        """Return the script's answer. Raises redis-py's errors."""
        words = (b"EVALSHA", self._name, len(keys), *keys, *arguments)
        try:
            return self._line.ask(_packed(words))
        except self._unknown:  # nothing was done: this loads it, and calls it again
            return self._whole(keys=keys, args=arguments)


def _packed(words: Sequence[Any]) -> bytes:
    """Return the command as it goes over the wire, its numbers as redis-py writes them.

    https://redis.io/docs/latest/develop/reference/protocol-spec/
    """
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        text = word if type(word) is bytes else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(text), text))
    return b"".join(parts)


def _wait_for(connection: Any) -> WakefulWait | None:
    """Return what waits awake for the connection's answers; None where that cannot be."""
    sock = getattr(connection, "_sock", None)  # redis-py has no public name for it
    return WakefulWait(sock) if sock is not None and hasattr(select, "poll") else None
