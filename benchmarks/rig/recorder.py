"""Stands between a library and Redis, hands everything on, and keeps what the library has said."""

from __future__ import annotations

import socket
import threading

__all__ = ["Recorder"]

_PIECE = 1 << 16


class Recorder:
    """A port on this machine that leads to Redis; what is sent to it is recorded until it is cut."""

    def __init__(self, redis_port: int) -> None:
        self._redis_port = redis_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._said: list[bytes] = []
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> bytes:
        """Return what was said since the last cut; complete if every call has had its answer."""
        said, self._said = self._said, []
        return b"".join(said)

    def _accept(self) -> None:
        while True:
            library, _ = self._listener.accept()
            redis = socket.create_connection(("127.0.0.1", self._redis_port))
            for end in (library, redis):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._hand_on, args=(library, redis, True), daemon=True).start()
            threading.Thread(target=self._hand_on, args=(redis, library, False), daemon=True).start()

    def _hand_on(self, source: socket.socket, target: socket.socket, record: bool) -> None:
        try:
            while piece := source.recv(_PIECE):
                if record:
                    self._said.append(piece)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:  # either side has gone, and so does its recording
            return
