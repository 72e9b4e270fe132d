"""The command ``celeriac scale``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from celeriac.core.errors import ConfigurationError
from celeriac.deploy.scaling.explanation import Moment, Recording, changes
from celeriac.deploy.scaling.lineup import LINEUP, Options, aims_of, make, tune
from celeriac.deploy.scaling.live import told_by
from celeriac.deploy.scaling.load import Load, read_trace
from celeriac.deploy.scaling.picture import draw
from celeriac.deploy.scaling.shapes import SHAPES, generate
from celeriac.deploy.scaling.simulation import Conditions, simulate
from celeriac.deploy.scaling.view import TICK

__all__ = ["scale"]

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group("scale")
def scale() -> None:
    """Say how many pods a pool of workers needs.

    \b
    Example:
      celeriac scale simulate --trace beat --policy celeriac
    """


def _options(_ctx: click.Context, _option: click.Parameter, pairs: tuple[str, ...]) -> dict[str, float]:
    options = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            options[name] = float(value)
        except ValueError:
            raise click.BadParameter(f"{pair!r} is not NAME=NUMBER, such as target=0.8") from None
    return options


_POSITIVE = click.FloatRange(min=0, min_open=True)


def a_pool(command: Command) -> Command:
    """Give the command the options that say which load comes to what pool."""
    for option in reversed(
        (
            click.option(
                "--trace", metavar="FILE", help=f"CSV of time and value (.gz too), or: {', '.join(SHAPES)}."
            ),
            click.option(
                "--startup", type=_POSITIVE, default=45.0, help="Seconds until a new pod takes tasks."
            ),
            click.option(
                "--service-time", type=_POSITIVE, default=2.0, help="Mean seconds that a task runs."
            ),
            click.option(
                "--service-cv", type=click.FloatRange(min=0), default=1.0, help="How much run times vary."
            ),
            click.option(
                "--slots-per-pod", type=click.IntRange(min=1), default=4, help="Tasks a pod runs at a time."
            ),
            click.option(
                "--mean-load", type=_POSITIVE, default=24.0, help="Slots that the load keeps busy on average."
            ),
            click.option("--objective", type=_POSITIVE, default=30.0, help="Seconds that a task may wait."),
            click.option("--min-pods", type=click.IntRange(min=0), default=1),
            click.option("--max-pods", type=click.IntRange(min=1), default=2000),
            click.option(
                "--missing-metrics", type=click.FloatRange(0, 1), default=0.0, help="Share of unread metrics."
            ),
            click.option("--days", type=click.IntRange(min=1), default=8, help="Days of a generated load."),
            click.option("--seed", type=int, default=1, help="The same seed gives the same run."),
        )
    ):
        command = option(command)
    return command


@scale.command("simulate", context_settings={"show_default": True})
@a_pool
@click.option("--policy", default="celeriac", metavar="NAME", help="Which policy; 'list' names them.")
@click.option("--set", "options", multiple=True, callback=_options, metavar="NAME=NUMBER", help="An option.")
@click.option("--tune", "tuned", is_flag=True, help="First find the best options on the first half.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def simulate_command(
    trace: str | None, policy: str, options: Options, tuned: bool, as_json: bool, **settings: Any
) -> None:
    """Run a policy against a load, task by task, and report the second half of it.

    \b
    Example:
      celeriac scale simulate --trace load.csv --policy keda --set target=0.9
    """
    if policy == "list":
        _list(as_json)
        return
    load, conditions = _pool(trace, settings)
    if tuned:
        options = {**tune(policy, load, conditions)[0], **options}
    outcome = simulate(load, make(policy, load, conditions, options), conditions).as_dict()
    _print({"policy": policy, "options": dict(options), "simulation": True, **outcome}, as_json)


@scale.command("explain", context_settings={"show_default": True})
@a_pool
@click.option("--url", metavar="URL", help="Ask a running scale serve, such as http://localhost:8080.")
@click.option("--pool", default="worker", help="The pool that it is asked about.")
@click.option("--hours", type=_POSITIVE, default=24.0, help="The last hours of the load are told.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False),
              help="Draw them into this file, FILE.svg or FILE.png.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print every change as JSON.")
def explain_command(url: str | None, pool: str, trace: str | None, **options: Any) -> None:
    """Say why Celeriac's brain asked for more or fewer pods, in a simulated load or by a running scaler.

    \b
    Example:
      celeriac scale explain --trace beat --hours 3 --picture beat.svg
      celeriac scale explain --url http://localhost:8080 --pool worker --hours 1
    """
    shown = {name: options.pop(name) for name in ("hours", "picture", "as_json")}
    if url is not None:
        told = told_by(url, pool)
        _explain(told.moments, told.slots_per_pod, f"Pool {pool}", **shown)
        return
    load, conditions = _pool(trace, options)
    brain = Recording(aims_of(conditions))
    simulate(load, brain, conditions)
    _explain(brain.moments, conditions.slots_per_pod, "Simulation", **shown)


def _explain(
    moments: Sequence[Moment],
    slots_per_pod: int,
    title: str,
    hours: float,
    picture: Path | None,
    as_json: bool,
) -> None:
    moments = moments[-max(int(hours * 3600 / TICK), 2) :]
    if not moments:
        raise ConfigurationError("nothing was decided yet: ask again in a few seconds")
    if picture is not None:
        draw(moments, slots_per_pod, f"{title}: what was asked for, and why", picture)
    told = [{"now": m.now, "pods_before": m.pods, **asdict(m.decision)} for m in changes(moments)]
    if as_json:
        click.echo(json.dumps(told))
        return
    _print_changes(told, title)


def _print_changes(told: list[dict[str, Any]], title: str) -> None:
    table = Table(title=f"{title}: why pods came and went (forecast and urgent in slots)")
    for heading in ("hour", "pods", "forecast", "urgent", "backlog", "reason"):
        table.add_column(heading)
    for change in told:
        table.add_row(
            f"{change['now'] / 3600:.2f}",
            f"{change['pods_before']} to {change['pods']}",
            f"{change['load']:.1f} + {change['margin']:.1f}",
            f"{change['urgent']:.1f}",
            f"{change['backlog']:.1f} s",
            change["reason"],
        )
    Console().print(table)


def _pool(trace: str | None, settings: dict[str, Any]) -> tuple[Load, Conditions]:
    if trace is None:
        raise click.UsageError("say which load: --trace FILE, or --trace beat for a generated one")
    days, mean_load = settings.pop("days"), settings.pop("mean_load")
    conditions = Conditions(**settings)
    shape, bursts = (
        generate(trace, days=days, seed=conditions.seed) if trace in SHAPES else (read_trace(Path(trace)), ())
    )
    if len(shape) < 240:
        raise ConfigurationError(f"the trace {trace} is shorter than an hour: there is nothing to learn from")
    return Load.scaled(shape, bursts, mean_load=mean_load, service_time=conditions.service_time), conditions


def _list(as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({name: entry.says for name, entry in LINEUP.items()}))
        return
    for name, entry in LINEUP.items():
        click.echo(f"{name:15} {entry.says}")


def _print(figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(figures))
        return
    table = Table(title="Simulation", show_header=False)
    for name, value in figures.items():
        table.add_row(name, f"{value:.6g}" if isinstance(value, float) else str(value))
    Console().print(table)
