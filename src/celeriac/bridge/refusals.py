"""What became of a batch so far: which messages were refused, and which must not overtake them."""

from __future__ import annotations

from typing import NamedTuple

from celeriac.core.outbox import Outgoing

__all__ = ["Item", "Refusals"]


class Item(NamedTuple):
    """A message and its place in the batch."""

    place: int
    outgoing: Outgoing


class Refusals:
    """Filled in while a batch is published."""

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}
        self._stopped: set[str] = set()

    def add(self, item: Item, reason: str) -> None:
        """The message was refused; later ones with its ordering key stay."""
        self.reasons[item.place] = reason
        if item.outgoing.ordering_key is not None:
            self._stopped.add(item.outgoing.ordering_key)

    def may_leave(self, item: Item) -> bool:
        """Return whether no earlier message with the same ordering key was refused."""
        return item.outgoing.ordering_key not in self._stopped
