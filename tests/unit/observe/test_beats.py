"""What beats tell is added up, and a beat that is silent is told of until it is forgotten."""

from __future__ import annotations

from msgspec.structs import replace

from celeriac.observe.beats import BeatReport, Beats, beat_families, read_beats, write_beat
from celeriac.observe.labels import LabelCaps
from celeriac.observe.report import WorkerReport, posted_reports, write_report
from celeriac.observe.tally import Histogram


def told(node: str = "a:1", **more: object) -> BeatReport:
    late = Histogram()
    late.observe(0.2)
    report = BeatReport(node=node, hostname=node.partition(":")[0], max_interval=300.0, late=late, missed=1)
    return replace(report, **more)


def values(beats: Beats, now: float) -> dict[tuple[str, ...], float]:
    return {
        (family.name + suffix, *labels.values()): value
        for family in beat_families(beats, LabelCaps(200), now)
        for suffix, labels, value in family.samples
        if "le" not in labels
    }


def test_each_reads_its_own_posts() -> None:
    worker = WorkerReport(node="w", hostname="w@host")
    texts = [write_report(worker), write_beat(told()), b"of another version"]
    assert list(read_beats(texts)) == [told()]
    assert posted_reports(texts) == {"w": worker}


def test_a_silent_beat_grows_old_and_its_successor_does_not() -> None:
    beats = Beats()
    beats.hear([told(tick_age=2.0)], 100.0)
    beats.hear([told(tick_age=2.0)], 110.0)  # the same report once more
    assert values(beats, 110.0)["celeriac_beat_tick_age_seconds", "a"] == 12.0
    beats.hear([], 700.0)
    assert values(beats, 700.0)["celeriac_beat_tick_age_seconds", "a"] == 602.0
    beats.hear([told("a:2", number=1, tick_age=1.0)], 710.0)
    assert values(beats, 710.0)["celeriac_beat_tick_age_seconds", "a"] == 1.0


def test_what_beats_have_counted_never_goes_down() -> None:
    beats = Beats()
    assert values(beats, 0.0) == {}
    beats.hear([told(failed=2, last_runs={"report": 50.0, "bill": 60.0})], 100.0)
    beats.hear([told("a:2", last_runs={"report": 4000.0})], 4000.0)
    found = values(beats, 4000.0)
    assert found["celeriac_beat_lateness_seconds_count",] == 2
    assert found["celeriac_beat_failures_total",] == 2
    assert found["celeriac_beat_missed_total",] == 2
    assert found["celeriac_schedule_last_run_timestamp_seconds", "report"] == 4000.0
    assert found["celeriac_schedule_last_run_timestamp_seconds", "bill"] == 60.0
