"""What all processes of a fleet share: locks of unique calls, and gates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from celeriac.limits.gate import Gate

__all__ = ["LimitStore", "Lock"]


class Lock(NamedTuple):
    """Somebody holds a key for so many seconds from now."""

    key: str
    holder: str
    seconds: float = 0.0


@runtime_checkable
class LimitStore(Protocol):
    """Each verb is one atomic operation. Threads may share an instance; a forked child may go on with it.

    ``now`` arguments are Unix seconds, for tests; None stands for the store's own clock, the only one
    that all nodes share. Every verb raises :class:`~celeriac.core.errors.BrokerUnavailable` when the
    store cannot be reached, and may then have happened or not; all may be repeated.
    """

    def lock(self, locks: Sequence[Lock], now: float | None = None) -> list[str]:
        """Return who holds each key: the holder that is named, unless another one does already.

        One after the other in their order, so that of two for one key the first gets it.
        """
        ...

    def extend(self, locks: Sequence[Lock], now: float | None = None) -> list[bool]:
        """Let each be held for so many seconds from now, if its holder holds it; return whether it did."""
        ...

    def unlock(self, locks: Sequence[Lock]) -> list[bool]:
        """Let nobody hold the keys, each if its holder does; return whether it did."""
        ...

    def enter(
        self, gates: Sequence[Gate], task_id: str, *, chance: float, now: float | None = None
    ) -> float | None:
        """Pass all gates and return None; or pass none, and return the Unix seconds at which to ask again.

        ``chance``, from 0 to 1, spreads out those who are refused. Whoever holds a place already
        passes with it.
        """
        ...

    def renew(self, keys: Sequence[str], task_id: str, seconds: float, now: float | None = None) -> None:
        """The task holds its places for so many seconds from now, also if it had lost them."""
        ...

    def leave(self, keys: Sequence[str], task_id: str, now: float | None = None) -> None:
        """The task holds no place any more."""
        ...

    def close(self) -> None:
        """Let go of connections; a later call opens them again."""
        ...
