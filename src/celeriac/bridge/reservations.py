"""Locks of unique calls that are made together: asked for in one go, before the first call is made."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

from celery.canvas import Signature

from celeriac.bridge.batches import MOST_MESSAGES
from celeriac.bridge.template import fresh_id
from celeriac.limits.store import Lock

__all__ = ["Call", "Reservations", "call_of"]

T = TypeVar("T")
_NOTHING: Final[dict[str, Any]] = {}


class Call(NamedTuple):
    """What is known of a call before it is made."""

    name: str
    args: Any
    kwargs: Any
    options: Mapping[str, Any]


class Reserved(NamedTuple):
    """A lock that was asked for, and who has it; None if nobody knows."""

    key: str
    holder: str | None


class Reservations:
    """What was asked for and not been used yet, by the id that its call is to have."""

    def __init__(
        self,
        wish: Callable[[Call, str], Lock | None],
        take: Callable[[Sequence[Lock]], list[str | None]],
        release: Callable[[Sequence[Lock]], None],
    ) -> None:
        """``wish`` says which lock a call with this id will need, if any."""
        self._wish = wish
        self._take = take
        self._release = release
        self._reserved: dict[str, Reserved] = {}

    def ahead(
        self, calls: Iterable[T], foresee: Callable[[T], Call | None]
    ) -> Generator[tuple[T, dict[str, Any]], None, None]:
        """Yield each call with the options to add to its own; reserve for as many as fit into a batch.

        What a call has not used, as it was not made or not as foreseen, is given up after each lot.
        """
        waiting = iter(calls)
        while lot := list(islice(waiting, MOST_MESSAGES)):
            locks = [self._lock_for(foresee(one)) for one in lot]
            self._reserve([lock for lock in locks if lock is not None])
            try:
                for one, lock in zip(lot, locks, strict=True):
                    yield one, _NOTHING if lock is None else {"task_id": lock.holder}
            finally:
                self._give_up([lock for lock in locks if lock is not None])

    def use(self, task_id: str, key: str) -> Reserved | None:
        """Return what was reserved for this call, which is then its own to give up; None if nothing was."""
        reserved = self._reserved.pop(task_id, None) if self._reserved else None
        if reserved is not None and reserved.key != key:
            self._release([Lock(reserved.key, task_id)])
            return None
        return reserved

    def _lock_for(self, call: Call | None) -> Lock | None:
        return None if call is None else self._wish(call, call.options.get("task_id") or fresh_id())

    def _reserve(self, locks: Sequence[Lock]) -> None:
        if locks:
            holders = self._take(locks)
            for lock, holder in zip(locks, holders, strict=True):
                self._reserved[lock.holder] = Reserved(lock.key, holder)

    def _give_up(self, locks: Sequence[Lock]) -> None:
        unused = [lock for lock in locks if self._reserved.pop(lock.holder, None) is not None]
        if unused:
            self._release(unused)


def call_of(signature: Any) -> Call | None:
    """Return the call that a plain signature makes; None for a canvas, whose calls are made elsewhere."""
    if type(signature) is not Signature:
        return None
    return Call(signature.task, signature.args, signature.kwargs, signature.options)
