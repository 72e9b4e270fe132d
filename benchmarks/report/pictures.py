"""Two pictures: bars of the drain, and for the queue wait points on a scale of tenfold steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sections.section import Sample

__all__ = ["draw_drain", "draw_queue_wait"]

_OURS = "celeriac"
_OURS_COLOUR = "#2e7d32"
_OTHERS_COLOUR = "#90a4ae"
_QUANTILES = (("p50", "P50", "o"), ("p99", "P99", "s"), ("p999", "P99.9", "D"))
mpl.rcParams |= {
    "font.size": 10,
    "svg.hashsalt": "celeriac",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw_drain(samples: Sequence[Sample], file: Path) -> None:
    """Draw tasks per second of each contender, without and with results."""
    variants = list(dict.fromkeys(sample.variant for sample in samples))
    figure, axes = plt.subplots(1, len(variants), figsize=(9, 3.6), sharex=True, sharey=True, squeeze=False)
    for axis, variant in zip(axes[0], variants, strict=True):
        rates = _medians(_of(samples, variant), "per_second")
        names = _by_value(_of(samples, variants[0]), "per_second")
        bars = axis.barh(names, [rates[name] for name in names], color=[_colour(name) for name in names])
        axis.bar_label(bars, [f"{rates[name]:,.0f}" for name in names], padding=3)
        axis.set_title(variant, loc="left")
        axis.set_xlabel("tasks per second")
        axis.margins(x=0.25)
    figure.suptitle("Draining a full queue of tasks that do nothing", x=0.01, ha="left", weight="bold")
    _save(figure, file)


def draw_queue_wait(samples: Sequence[Sample], file: Path) -> None:
    """Draw the median, P99 and P99.9 of each contender's queue wait, a panel for each load."""
    variants = list(dict.fromkeys(sample.variant for sample in samples))
    figure, axes = plt.subplots(1, len(variants), figsize=(9, 3.8), sharex=True, sharey=True, squeeze=False)
    names = _by_value(_of(samples, variants[0]), "p99")[::-1]
    for axis, variant in zip(axes[0], variants, strict=True):
        _draw_waits(axis, _of(samples, variant), names)
        axis.set_title(variant, loc="left")
        axis.set_xlabel("milliseconds (log scale)")
    axes[0][0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False)
    figure.suptitle(
        "Queue wait: from the moment a task is due to the start of its body", x=0.01, ha="left", weight="bold"
    )
    _save(figure, file)


def _draw_waits(axis: Axes, samples: Sequence[Sample], names: Sequence[str]) -> None:
    waits = {key: _medians(samples, key) for key, _, _ in _QUANTILES}
    for row, name in enumerate(names):
        ends = [1e3 * waits[key][name] for key in ("p50", "p999")]
        axis.plot(ends, [row, row], color=_colour(name), linewidth=2, zorder=1)
    for key, label, marker in _QUANTILES:
        points = [1e3 * waits[key][name] for name in names]
        colours = [_colour(name) for name in names]
        axis.scatter(points, range(len(names)), c=colours, marker=marker, s=36, label=label, zorder=2)
    axis.set_yticks(range(len(names)), names)
    axis.set_xscale("log")
    axis.grid(axis="x", alpha=0.3)


def _of(samples: Sequence[Sample], variant: str) -> list[Sample]:
    return [sample for sample in samples if sample.variant == variant]


def _by_value(samples: Sequence[Sample], key: str) -> list[str]:
    """The contenders' names, the smallest value first; panels side by side keep one order."""
    values = _medians(samples, key)
    return sorted(values, key=values.__getitem__)


def _medians(samples: Sequence[Sample], key: str) -> dict[str, float]:
    names = dict.fromkeys(sample.contender for sample in samples)
    return {
        name: median(sample.values[key] for sample in samples if sample.contender == name) for name in names
    }


def _colour(name: str) -> str:
    return _OURS_COLOUR if name.startswith(_OURS) else _OTHERS_COLOUR


def _save(figure: Figure, file: Path) -> None:
    figure.tight_layout()
    metadata = {"Date": None} if file.suffix == ".svg" else None
    figure.savefig(file, dpi=130, bbox_inches="tight", metadata=metadata)
    plt.close(figure)
