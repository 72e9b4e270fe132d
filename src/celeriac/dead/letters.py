"""Dead letters of a broker, walked in pages and settled in slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final

from celeriac.core.broker import Broker
from celeriac.dead.selection import Found, Selection

__all__ = ["Page", "Settle", "find_by_id", "page", "select", "settle"]

#: Letters asked for, and settled, in one call.
SLICE: Final = 500

#: A broker's ``retry_dead`` or ``drop_dead``.
Settle = Callable[[Sequence[str]], int]
Page = tuple[Sequence[Found], bool]


def select(broker: Broker, selection: Selection) -> Iterator[Found]:
    """Yield the selected letters, the latest first, each once even if others die meanwhile."""
    seen: set[str] = set()
    offset = 0
    while letters := broker.dead_letters(offset, SLICE):
        offset += len(letters)
        for letter in letters:
            if selection.over(letter):
                return
            if letter.id not in seen and (found := selection.find(letter)):
                seen.add(letter.id)
                yield found


def page(broker: Broker, selection: Selection, offset: int, limit: int) -> Page:
    """Return that many selected letters from the ``offset``-th on, and whether there are more."""
    found = list(islice(select(broker, selection), offset, offset + limit + 1))
    return found[:limit], len(found) > limit


def find_by_id(broker: Broker, letter_id: str) -> Found | None:
    """Return the letter with this id, or None if there is none."""
    return next((found for found in select(broker, Selection()) if found.letter.id == letter_id), None)


def settle(verb: Settle, ids: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Call the verb with all ids, a slice at a time.

    Yields how many were asked for, and how many of them were there.
    """
    for start in range(0, len(ids), SLICE):
        part = ids[start : start + SLICE]
        yield len(part), verb(part)
