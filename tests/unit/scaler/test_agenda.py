"""What beats tell of their schedules is known beside the calendar, and for a while after it was due."""

from __future__ import annotations

from collections.abc import Iterator

from celeriac.observe.beats import BeatReport, Expected
from celeriac.scaler.agenda import Agenda

NOW = 1_000_000.0


class Days:
    """A calendar with two entries."""

    def between(self, begin: float, end: float) -> Iterator[tuple[float, str]]:
        yield from ((at, name) for at, name in ((NOW + 50, "dawn"), (NOW + 90, "dusk")) if begin < at <= end)

    def queue_of(self, entry: str) -> str | None:
        return {"dawn": "birds", "dusk": "bats"}.get(entry)


def beat(node: str = "a:1", **entries: tuple[str, list[float]]) -> BeatReport:
    expected = {name: Expected(queue, [NOW + at for at in times]) for name, (queue, times) in entries.items()}
    return BeatReport(node=node, hostname=node, expected=expected)


def between(agenda: Agenda, begin: float, end: float) -> list[tuple[float, str]]:
    return sorted((at - NOW, name) for at, name in agenda.between(NOW + begin, NOW + end))


def test_without_a_beat_there_is_the_calendar() -> None:
    agenda = Agenda(Days())
    assert between(agenda, 0, 60) == [(50, "dawn")]
    assert (agenda.queue_of("dawn"), agenda.queue_of("noon")) == ("birds", None)


def test_what_beats_tell_is_added_and_replaces_what_the_calendar_says() -> None:
    agenda = Agenda(Days())
    agenda.hear([beat(noon=("cats", [10, 20])), beat("b:1", dusk=("owls", [80]))], NOW)
    assert between(agenda, 0, 100) == [(10, "noon"), (20, "noon"), (50, "dawn"), (80, "dusk")]
    assert between(agenda, 10, 20) == [(20, "noon")]
    assert (agenda.queue_of("noon"), agenda.queue_of("dusk")) == ("cats", "owls")


def test_what_was_due_is_remembered_and_what_was_put_off_is_not() -> None:
    agenda = Agenda(Days())
    agenda.hear([beat(noon=("cats", [10, 20, 30]))], NOW)
    agenda.hear([beat(noon=("cats", [25, 35]))], NOW + 22)
    assert between(agenda, 0, 40) == [(10, "noon"), (20, "noon"), (25, "noon"), (35, "noon")]
    agenda.hear([beat(noon=("cats", [2000]))], NOW + 1000)
    assert between(agenda, 0, 3000) == [(50, "dawn"), (90, "dusk"), (2000, "noon")]


def test_a_beat_that_is_gone_has_told_what_it_has_told() -> None:
    agenda = Agenda(Days())
    agenda.hear([beat(noon=("cats", [10]))], NOW)
    agenda.hear([], NOW + 5)
    assert between(agenda, 0, 20) == [(10, "noon")]
