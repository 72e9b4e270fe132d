"""Lets the process that lays traps stop, kill and start the servers, which belong to its parent."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Outages", "Restartable", "offered"]

_LINE = "OUTAGES"


class Restartable(Protocol):
    """A server that runs."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None: ...


@contextmanager
def offered(servers: Mapping[str, Restartable]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield a descriptor for a child to inherit, and what its environment must say of it."""
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=_serve, args=(ours, servers), daemon=True)
    thread.start()
    try:
        yield theirs.fileno(), {_LINE: str(theirs.fileno())}
    finally:
        theirs.close()
        thread.join()  # so that no server is started any more


def _serve(line: socket.socket, servers: Mapping[str, Restartable]) -> None:
    """Do what is asked for until the other end is closed; close this one if it fails."""
    with line, line.makefile("rw") as lines:
        for asked in lines:
            what, _, server = asked.strip().partition(" ")
            {"start": servers[server].start, "stop": servers[server].stop, "kill": servers[server].kill}[
                what
            ]()
            lines.write("done\n")
            lines.flush()


class Outages:
    """The child's end of it."""

    def __init__(self) -> None:
        self._lines = socket.socket(fileno=int(os.environ[_LINE])).makefile("rw")

    def ask(self, what: str, server: str) -> None:
        """Have the server started, stopped or killed; return once it is."""
        self._lines.write(f"{what} {server}\n")
        self._lines.flush()
        if not self._lines.readline():
            raise RuntimeError(f"the {server} could not be brought to {what}")
