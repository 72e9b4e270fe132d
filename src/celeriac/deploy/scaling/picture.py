"""The brain's decisions over some hours as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from celeriac.core.errors import ConfigurationError, MissingExtra
from celeriac.deploy.scaling.explanation import Moment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw"]

_KINDS = (".png", ".svg")
_SIZE = (9.6, 3.4)  # inches
_LOAD, _FORECAST, _SLOTS, _URGENT = "#455a64", "#90caf9", "#2e7d32", "#c62828"


def draw(moments: Sequence[Moment], slots_per_pod: int, title: str, file: Path) -> None:
    """The file holds the load, the forecast from median to quantile, and the slots asked for, by the hour.

    It is a PNG or an SVG picture, as its name says. Raises ConfigurationError for a name that says neither,
    and MissingExtra without matplotlib.
    """
    if file.suffix.lower() not in _KINDS:
        raise ConfigurationError(f"{file.name!r} says no kind of picture: end it in .png or .svg")
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtra("matplotlib", "pictures") from None
    figure = Figure(figsize=_SIZE, layout="constrained")
    _plot(figure, moments, slots_per_pod, title)
    with rc_context({"svg.fonttype": "none"}):  # words stay words
        figure.savefig(file, dpi=150)


def _plot(figure: Figure, moments: Sequence[Moment], slots_per_pod: int, title: str) -> None:
    axes = figure.subplots()
    hours = [moment.now / 3600 for moment in moments]
    decisions = [moment.decision for moment in moments]
    axes.fill_between(
        hours,
        [decision.median for decision in decisions],
        [decision.load for decision in decisions],
        color=_FORECAST,
        label="forecast, median to quantile",
    )
    axes.plot(hours, [moment.load for moment in moments], color=_LOAD, linewidth=0.8, label="load")
    asked_for = [decision.pods * slots_per_pod for decision in decisions]
    axes.step(hours, asked_for, where="post", color=_SLOTS, linewidth=1.5, label="slots asked for")
    urgent = [
        hour
        for hour, decision in zip(hours, decisions, strict=True)
        if decision.urgent > decision.load + decision.margin
    ]
    axes.plot(urgent, [0.0] * len(urgent), ".", color=_URGENT, markersize=3, label="backlog or bursts decide")
    axes.set(title=title, xlabel="hour", ylabel="slots", ylim=(0, None))
    axes.margins(x=0)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize="small")
