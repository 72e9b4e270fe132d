"""Measures task queues side by side on this machine: drain, enqueue, round trip, queue wait, footprint.

    python benchmarks/bench.py --section drain --rounds 3

docs/performance.md says how it is measured, and what the numbers do not say.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from contenders.lineup import CONTENDERS, Contender
from report.files import RESULTS, Run, describe_setting, write
from report.screen import print_tables
from rig.stage import Unavailable
from sections.all import SECTIONS
from sections.section import Effort, Sample, Section

_SECTION_NAMES = [section.name for section in SECTIONS]
_CONTENDER_NAMES = [contender.name for contender in CONTENDERS]
_QUICK = 0.1
#: What a step takes at least in a quick run, as a share of a full one: programs start no faster.
_QUICK_SHARE = 0.2


@dataclass(frozen=True)
class Step:
    """One turn of one contender, or of all at once."""

    section: Section
    round: int
    contenders: Sequence[Contender]

    @property
    def label(self) -> str:
        who = "all" if self.section.measure is None else self.contenders[0].name
        return f"{self.section.name}, {who}, round {self.round}"

    @property
    def seconds(self) -> float:
        alone = self.section.measure is not None or self.section.name == "limits"
        return self.section.seconds if alone else 25 + self.section.seconds * len(self.contenders)

    def samples(self, effort: Effort) -> Iterator[Sample]:
        if self.section.measure is not None:
            return self.section.measure(self.contenders[0], self.round, effort)
        assert self.section.measure_all is not None
        return self.section.measure_all(self.contenders, self.round, effort)


def steps_of(section: Section, contenders: Sequence[Contender], rounds: int) -> Iterator[Step]:
    """Yield all turns of a section; in each round another contender goes first."""
    taking_part = [contender for contender in contenders if section.admits(contender)]
    for number in range(1, min(rounds, section.most_rounds) + 1):
        if section.measure is None:
            yield Step(section, number, taking_part)
        elif taking_part:
            turn = (number - 1) * len(taking_part) // rounds % len(taking_part)
            for contender in (*taking_part[turn:], *taking_part[:turn]):
                yield Step(section, number, [contender])


class Runner:
    """Takes one step after the other; one that fails is noted and does not end the run."""

    def __init__(self, console: Console, progress: Progress, effort: Effort, total: float) -> None:
        self._console = console
        self._progress = progress
        self._effort = effort
        self._bar = progress.add_task("", total=total)
        self._unavailable: set[str] = set()

    def run(self, steps: Sequence[Step]) -> tuple[list[Sample], list[str]]:
        """Return the samples of a section, and what went wrong."""
        samples: list[Sample] = []
        failures: list[str] = []
        for step in steps:
            self._progress.update(self._bar, description=step.label)
            names = {contender.name for contender in step.contenders}
            if not names or not names <= self._unavailable:
                self._take(step, samples, failures)
            self._progress.advance(self._bar, step.seconds)
        return samples, failures

    def _take(self, step: Step, samples: list[Sample], failures: list[str]) -> None:
        try:
            for sample in step.samples(self._effort):
                samples.append(sample)
                self._console.print(f"{step.label}: {_first_value(step.section, sample)}", style="dim")
        except Unavailable as missing:
            self._unavailable.add(str(missing))
            self._console.print(f"{missing}: not in this version of Celeriac, left out", style="yellow")
        except click.ClickException as error:
            failures.append(f"{step.label}: {error.message}")
            self._console.print(failures[-1], style="red", markup=False)


def _first_value(section: Section, sample: Sample) -> str:
    column = section.columns[0]
    value = format(column.factor * sample.values[column.key], column.form)
    return f"{sample.contender}, {sample.variant}: {value} {column.heading}"


@click.command(context_settings={"show_default": True})
@click.option("--section", "sections", multiple=True, type=click.Choice(_SECTION_NAMES), help="Only these.")
@click.option("--only", multiple=True, type=click.Choice(_CONTENDER_NAMES), help="Only these contenders.")
@click.option("--rounds", default=2, type=click.IntRange(min=1), help="How often everything is measured.")
@click.option("--quick", is_flag=True, help="One short round, to see that it works; saves nothing.")
@click.option("--folder", type=click.Path(path_type=Path), default=RESULTS, help="Where raw numbers go.")
def main(sections: tuple[str, ...], only: tuple[str, ...], rounds: int, quick: bool, folder: Path) -> None:
    """Measure stock Celery, Huey, Dramatiq, Taskiq, RQ and Celeriac on this machine.

    Example: python benchmarks/bench.py --section drain --section queue_wait --rounds 3
    """
    console = Console() if sys.stdout.isatty() else Console(width=140)
    if os.getloadavg()[0] > 0.5:
        console.print("Something else runs on this machine: the numbers will be noisy.", style="yellow")
    rounds = 1 if quick else rounds
    effort = Effort(_QUICK if quick else 1.0)
    contenders = [contender for contender in CONTENDERS if contender.name in (only or _CONTENDER_NAMES)]
    chosen = [section for section in SECTIONS if section.name in (sections or _SECTION_NAMES)]
    plan = {section.name: list(steps_of(section, contenders, rounds)) for section in chosen}
    total = sum(step.seconds for step in chain.from_iterable(plan.values()))
    console.print(f"About {total * (_QUICK_SHARE if quick else 1) / 60:.0f} minutes.")
    setting = describe_setting({"rounds": rounds, "quick": quick, "contenders": [c.name for c in contenders]})
    runs: list[tuple[Section, Run]] = []
    # Drawn seldom: the display runs on the cores that are measured.
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, refresh_per_second=1, speed_estimate_period=600) as progress:
        runner = Runner(console, progress, effort, total)
        for section in chosen:
            run = Run(setting, *runner.run(plan[section.name]))
            runs.append((section, run))
            if not quick:
                write(folder, section, run)
    for section, run in runs:
        print_tables(console, section, run.samples)
    console.print(f"Median (min - max) of {rounds} rounds.")
    if not quick:
        console.print(f"Raw numbers and setting: {folder}")
    if failed := [failure for _, run in runs for failure in run.failures]:
        raise click.ClickException(f"{len(failed)} measurements failed; see above")


if __name__ == "__main__":
    main()
