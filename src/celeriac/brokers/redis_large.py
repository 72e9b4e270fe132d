"""Claims of large messages in Redis, which cost what it costs to send them and little more.

A script that moves messages sees each of them as a string of Lua's, copied in and copied out again:
0.2 ms for 100 kB, of a server that does one thing at a time. LMOVE hands on what lies in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celeriac.brokers.redis_client import refusal

__all__ = ["LARGE", "MARK", "LargeClaims", "most_at_a_time"]

#: How a message begins that was delivered before.
MARK = b'{"x-celeriac-deliveries":'
#: Mean bytes of a message from which on a claim is cheaper this way than by a script alone.
LARGE = 6_000
#: Bytes that a claim aims at, at most: what fits into a processor's cache is also read faster.
_AT_A_TIME = 1_000_000


def most_at_a_time(size: float) -> int:
    """Return how many messages of this size to claim at once, at least 1."""
    return max(1, int(_AT_A_TIME / max(size, 1.0)))


class LargeClaims:
    """One transaction a claim, from one list: the script begins and ends it, LMOVE moves in between."""

    def __init__(self, client: Any, script: str, ours: str) -> None:
        """``ours`` is the prefix of the broker's own keys."""
        self._client = client
        self._text = script
        self._sha = client.register_script(script).sha
        self._ours = ours

    def claim(
        self, owner: str, lease_for: float, number: str, n: int, rest: Sequence[Any], sources: Sequence[str]
    ) -> tuple[Any, list[Any]]:
        """Return as the script ``claim`` does: lost leases, then the place of each source and its messages.

        A list that has fewer than ``n`` is followed by the next one, in a transaction of its own. ``rest``
        are the script's settlements and doubtful batches.
        """
        parts: list[Any] = []
        lost, place, more, raws = self._move(owner, f"{number}_0", n, [lease_for, number, *rest, *sources])
        while raws:
            parts += (place, raws)
            n -= len(raws)
            if not more or any(raw.startswith(MARK) for raw in raws):
                break
            batch = f"{number}_{len(parts) // 2}"
            _, place, more, raws = self._move(owner, batch, n, [lease_for, number, 0, 0, *sources])
        return lost, parts

    def _move(
        self, owner: str, batch: str, n: int, arguments: Sequence[Any]
    ) -> tuple[Any, int, int, list[bytes]]:
        answers = self._ask(owner, batch, n, arguments)
        if isinstance(answers[0], refusal()):
            self._client.script_load(self._text)  # nothing has been done without it
            answers = self._ask(owner, batch, n, arguments)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return *answers[0], [raw for raw in answers[1:-1] if raw is not None]

    def _ask(self, owner: str, batch: str, n: int, arguments: Sequence[Any]) -> list[Any]:
        """The answers to the transaction's commands; redis-py's pipeline would pack each command anew."""
        pool = self._client.connection_pool
        connection = pool.get_connection()
        try:
            run, claim = ("EVALSHA", self._sha, 0, self._ours), (batch, n, owner)
            move = f"{self._ours}claiming:{owner}", f"{self._ours}lease:{owner}:{batch}", "RIGHT", "RIGHT"
            packed = [
                *connection.pack_command("MULTI"),
                *connection.pack_command(*run, "begin", *claim, *arguments),
                *connection.pack_command("LMOVE", *move) * n,
                *connection.pack_command(*run, "end", *claim),
                *connection.pack_command("EXEC"),
            ]
            connection.send_packed_command([b"".join(packed)])
            for _ in range(n + 3):
                connection.read_response()  # a refusal here lets all of it be refused
            answers: list[Any] = connection.read_response()
            return answers
        except BaseException:  # answers may still come: nobody must take them for the next one's
            connection.disconnect()
            raise
        finally:
            pool.release(connection)
