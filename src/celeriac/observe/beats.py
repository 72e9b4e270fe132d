"""What beat tells of itself: how late it sends what is due, what it missed, and when it last looked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from celeriac.observe.families import add_histogram
from celeriac.observe.labels import LabelCaps
from celeriac.observe.prometheus import Family
from celeriac.observe.tally import Histogram

__all__ = ["BeatReport", "Beats", "Expected", "beat_families", "read_beats", "write_beat"]

#: Seconds for which a beat that is silent is told of: that it has stalled is what somebody wants to hear.
_REMEMBERED = 3600.0


class Expected(msgspec.Struct, array_like=True):
    """When an entry will be sent next, in Unix seconds, and the queue that its own task goes to."""

    queue: str
    times: list[float]


class BeatReport(msgspec.Struct, kw_only=True, tag="beat"):
    """One beat at one moment, and what it has done since it was started."""

    #: Unique for each life of a beat; and the name that people know it by.
    node: str
    hostname: str
    #: Counts its reports.
    number: int = 0
    #: Seconds since it last looked at its schedule, and between two looks at most.
    tick_age: float = 0.0
    max_interval: float = 0.0
    #: From due to published, of what it has sent.
    late: Histogram = msgspec.field(default_factory=Histogram)
    #: What could not be published, and what was due once more before it was sent once.
    failed: int = 0
    missed: int = 0
    #: By entry of the schedule, Unix seconds.
    last_runs: dict[str, float] = {}
    #: By entry, what of the coming half hour is known, but for entries without number.
    expected: dict[str, Expected] = {}


write_beat = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(BeatReport).decode


def read_beats(texts: Iterable[bytes]) -> Iterator[BeatReport]:
    """Yield the reports of beats among these; those of others are left out."""
    for text in texts:
        try:
            yield _decode(text)
        except msgspec.DecodeError:
            continue


class Beats:
    """All beats that were heard of: what they count never goes down when one of them goes."""

    def __init__(self) -> None:
        #: Each with the time at which it was first heard, by this process's own clock.
        self._latest: dict[str, tuple[BeatReport, float]] = {}
        self._gone = BeatReport(node="", hostname="")

    def hear(self, reports: Iterable[BeatReport], now: float) -> None:
        """These are the reports there are now (Unix seconds)."""
        for report in reports:
            known = self._latest.get(report.node)
            if known is None or known[0].number != report.number:
                self._latest[report.node] = report, now
        for node in [node for node, (_, at) in self._latest.items() if now - at > _REMEMBERED]:
            _add(self._gone, self._latest.pop(node)[0])

    def ages(self, now: float) -> Mapping[str, tuple[BeatReport, float]]:
        """Return the latest report of each beat by name, and how long ago it has looked at its schedule."""
        found: dict[str, tuple[BeatReport, float]] = {}
        for report, at in self._latest.values():
            age = report.tick_age + now - at
            if report.hostname not in found or age < found[report.hostname][1]:
                found[report.hostname] = report, age
        return found

    def total(self) -> BeatReport:
        """Return what all of them have done, those included that are gone."""
        total = BeatReport(node="", hostname="")
        _add(total, self._gone)
        for report, _ in self._latest.values():
            _add(total, report)
        return total


def _add(total: BeatReport, one: BeatReport) -> None:
    total.late.add(one.late)
    total.failed += one.failed
    total.missed += one.missed
    for entry, at in one.last_runs.items():
        total.last_runs[entry] = max(at, total.last_runs.get(entry, 0.0))


def beat_families(beats: Beats, caps: LabelCaps, now: float) -> Iterator[Family]:
    """Yield how beats are and what they have done; nothing where none was heard of."""
    age = Family("celeriac_beat_tick_age_seconds", "Time since it last looked at its schedule.", "gauge")
    most = Family("celeriac_beat_max_interval_seconds", "Longest time between two such looks.", "gauge")
    heard = beats.ages(now)
    for hostname, (report, seconds) in sorted(heard.items()):
        age.add(seconds, beat=hostname)
        most.add(report.max_interval, beat=hostname)
    late = Family("celeriac_beat_lateness_seconds", "From due by the schedule to published.", "histogram")
    last = Family("celeriac_schedule_last_run_timestamp_seconds", "When it was last published.", "gauge")
    failed = Family("celeriac_beat_failures", "Due entries that could not be published.", "counter")
    missed = Family("celeriac_beat_missed", "Due times that passed before beat came to them.", "counter")
    total = beats.total()
    add_histogram(late, total.late)
    for entry, at in _capped(total.last_runs, caps).items():
        last.add(at, schedule=entry)
    if heard:
        failed.add(total.failed)
        missed.add(total.missed)
    yield from (age, most, late, last, failed, missed)


def _capped(last_runs: Mapping[str, float], caps: LabelCaps) -> dict[str, float]:
    shown: dict[str, float] = {}
    for entry, at in sorted(last_runs.items()):
        name = caps.name("schedule", entry)
        shown[name] = max(at, shown.get(name, 0.0))
    return shown
