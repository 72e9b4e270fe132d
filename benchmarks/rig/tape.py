"""What a library says to Redis for each task, kept so that it can be said again at any time."""

from __future__ import annotations

import socket
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["Tape", "split_list_pushes"]

#: The shortest sleep: whoever is due within it is sent in one write.
_SHORTEST_SLEEP = 0.0002
_LEAD_SECONDS = 0.05


class Tape:
    """One piece for each task, in order."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces

    def write(self, file: Path) -> None:
        """Write pieces with their lengths before them."""
        with file.open("wb") as out:
            for piece in self.pieces:
                out.write(len(piece).to_bytes(4, "big"))
                out.write(piece)

    @classmethod
    def read(cls, file: Path) -> Tape:
        content, at, pieces = file.read_bytes(), 0, []
        while at < len(content):
            end = at + 4 + int.from_bytes(content[at : at + 4], "big")
            pieces.append(content[at + 4 : end])
            at = end
        return cls(pieces)

    def play(self, port: int, due: Sequence[float]) -> tuple[list[float], float]:
        """Say each piece when it is due, in seconds from a moment to come, whatever becomes of it.

        Return the moments that were due, by the monotonic clock, and the greatest delay of saying one.
        """
        with socket.create_connection(("127.0.0.1", port)) as redis:
            redis.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            redis.sendall(b"CLIENT REPLY OFF\r\n")
            start, said, latest = time.monotonic() + _LEAD_SECONDS, 0, 0.0
            while said < len(due):
                passed = time.monotonic() - start
                now_due = bisect_right(due, passed, said)
                if now_due > said:
                    redis.sendall(b"".join(self.pieces[said:now_due]))
                    latest = max(latest, time.monotonic() - start - due[said])
                    said = now_due
                else:
                    time.sleep(max(due[said] - passed, _SHORTEST_SLEEP))
        return [start + moment for moment in due], latest


def split_list_pushes(said: bytes) -> list[bytes]:
    """Return one ``LPUSH`` for each element of those that were recorded."""
    pieces = []
    for command in _commands(said):
        if command[0].upper() == b"LPUSH":
            head = b"*3\r\n" + _bulk(command[0]) + _bulk(command[1])
            pieces += [head + _bulk(element) for element in command[2:]]
    return pieces


def _bulk(element: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(element), element)


def _commands(said: bytes) -> Iterator[list[bytes]]:
    """Read arrays of bulk strings, the form in which clients send commands."""
    at = 0
    while at < len(said):
        end = said.index(b"\r\n", at)
        words, count, at = [], int(said[at + 1 : end]), end + 2
        for _ in range(count):
            end = said.index(b"\r\n", at)
            stop = end + 2 + int(said[at + 1 : end])
            words.append(said[end + 2 : stop])
            at = stop + 2
        yield words
