"""What beat is about to send: by the app's own schedule, and as beats tell it of theirs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from celeriac.observe.beats import BeatReport, Expected

__all__ = ["Agenda", "Calendar"]

_REMEMBERED = 900.0  # seconds for which is known what was due


class Calendar(Protocol):
    """What is due by the calendar."""

    def between(self, begin: float, end: float) -> Iterator[tuple[float, str]]:
        """Yield the firings after ``begin`` and until ``end`` (Unix seconds): when, and of which entry."""
        ...

    def queue_of(self, entry: str) -> str | None:
        """Return the queue that the entry's own task goes to; None for an entry that is not here."""
        ...


class Agenda:
    """A beat that tells of an entry knows more of it than the calendar. Any thread may ask, one listens."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._told: dict[str, Expected] = {}

    def hear(self, reports: Iterable[BeatReport], now: float) -> None:
        """These are the beats there are now (Unix seconds); what one that is gone has told stays."""
        told = dict(self._told)
        for report in reports:
            for entry, expected in report.expected.items():
                first = expected.times[0] if expected.times else now
                known = told[entry].times if entry in told else []
                past = [at for at in known if now - _REMEMBERED < at < first]
                told[entry] = Expected(expected.queue, past + expected.times)
        self._told = told

    def between(self, begin: float, end: float) -> Iterator[tuple[float, str]]:
        """Yield the firings after ``begin`` and until ``end`` (Unix seconds): when, and of which entry."""
        told = self._told
        for entry, expected in told.items():
            yield from ((at, entry) for at in expected.times if begin < at <= end)
        yield from ((at, entry) for at, entry in self._calendar.between(begin, end) if entry not in told)

    def queue_of(self, entry: str) -> str | None:
        """Return the queue that the entry's own task goes to; None for an entry that is not here."""
        told = self._told.get(entry)
        return self._calendar.queue_of(entry) if told is None else told.queue
