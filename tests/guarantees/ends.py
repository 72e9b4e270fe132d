"""The table of pods that were ended: by kind of end, and what became of their tasks."""

from __future__ import annotations

import msgspec

from tests.guarantees.table import table

__all__ = ["Ends", "ends_tables"]


class Options(msgspec.Struct):
    seed: int
    pods: int


class Setting(msgspec.Struct):
    date: str
    commit: str
    cores: int
    load_at_the_end: float
    options: Options


class Kind(msgspec.Struct):
    """All ends of one kind."""

    ends: int
    drained: int
    killed: int
    seconds_median: float
    seconds_max: float


class Verdict(msgspec.Struct):
    accepted: int
    done: int
    lost: list[str]
    repeated: list[str]
    run_again: list[str]
    buried: list[str]


class Ends(msgspec.Struct):
    """What ``make drain`` wrote down."""

    setting: Setting
    terminations: int
    minutes: float
    versions: dict[str, str]
    kinds: dict[str, Kind]
    verdict: Verdict


_MEANING = {
    "as rendered": "preStop, `SIGTERM`, `SIGKILL` at the end of the grace, as the manifest says",
    "no preStop": "`SIGTERM` at once: a node that shuts down without running hooks",
    "short grace": "preStop, but one second of grace: a node that is given back",
    "killed": "`SIGKILL` at once: a node that is gone",
}


def ends_tables(ends: Ends | None) -> str:
    """Everything in Markdown; what was not run yet is said."""
    if ends is None:
        return "`make drain`: not yet"
    return "\n\n".join([_totals(ends), _kinds(ends)])


def _totals(ends: Ends) -> str:
    setting, verdict = ends.setting, ends.verdict
    headings = (
        *(
            "made",
            "seed",
            "pods ended",
            "side by side",
            "minutes",
            "tasks",
            "lost",
            "repeated beyond the promise",
        ),
        *("cut short, run again", "cut short, dead letters"),
    )
    counted = (
        verdict.accepted,
        *map(len, (verdict.lost, verdict.repeated, verdict.run_again, verdict.buried)),
    )
    machine = f"{setting.cores} cores, load {setting.load_at_the_end:.0f}"
    made = f"{setting.date[:10]}, commit {setting.commit}, {machine}"
    run = [made, str(setting.options.seed), f"{ends.terminations:,}", str(setting.options.pods)]
    return table(headings, [[*run, f"{ends.minutes:g}", *(f"{number:,}" for number in counted)]])


def _kinds(ends: Ends) -> str:
    headings = ("how a pod ended", "pods", "ran dry", "killed", "seconds, median", "most")
    rows = [
        [
            _MEANING[name],
            *(f"{number:,}" for number in (kind.ends, kind.drained, kind.killed)),
            *(f"{seconds:.1f}" for seconds in (kind.seconds_median, kind.seconds_max)),
        ]
        for name, kind in ends.kinds.items()
    ]
    return table(headings, rows)
