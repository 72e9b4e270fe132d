"""A TCP proxy that falls silent: connections stay open, and nothing comes through any more."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Stands before a server on this machine; ``port`` is its own."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._silent = False
        #: One for each connection, set when nothing comes through it any more.
        self._holes: list[threading.Event] = []
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def count(self) -> int:
        """How many connections there have been."""
        return len(self._holes)

    def fall_silent(self) -> None:
        """From now on nothing comes through any connection, old or new, and none is closed."""
        self._silent = True
        for hole in self._holes:
            hole.set()

    def let_through(self) -> None:
        """Serve new connections again; the old ones stay silent."""
        self._silent = False

    def close(self) -> None:
        """Close everything."""
        for one in [self._listener, *self._sockets]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                hole = threading.Event()
                if self._silent:
                    hole.set()
                self._holes.append(hole)
                self._sockets += near, far
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=(source, sink, hole), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, hole: threading.Event) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            if not hole.is_set():
                sink.sendall(chunk)
        if not hole.is_set():
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """A proxy for the time of the block."""
    running = Proxy(target)
    try:
        yield running
    finally:
        running.close()
