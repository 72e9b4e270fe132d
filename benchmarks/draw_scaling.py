"""Draws the Pareto fronts of results/scaling.json, and writes its tables into docs/scaling.md."""

from __future__ import annotations

import json
import math
import re
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

import click

from celeriac.deploy.scaling.shapes import SHAPES

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
COLOURS = {
    "celeriac": "#2e7d32",
    "keda": "#1565c0",
    "keda-redis": "#00acc1",
    "hpa-busy": "#6d4c41",
    "hpa-queue": "#c62828",
    "predictive-hpa": "#6a1b9a",
    "predictive-linear": "#d81b60",
    "crane": "#ef6c00",
    "static-peak": "#607d8b",
    "oracle": "#000000",
}
WIDTH, HEIGHT, COLUMNS = 300, 210, 3
MAIN = (45.0, 2.0)  # the pool that most loads were simulated on
FEWEST = 1e-6  # late tasks; what is fewer is drawn there

Cell = dict[str, Any]


def draw(cells: list[Cell], title: str) -> str:
    """Return a picture with a panel for each cell: pod-hours to the right, late tasks up, both by tens."""
    rows = math.ceil(len(cells) / COLUMNS)
    width, height = COLUMNS * WIDTH + 20, rows * HEIGHT + 80
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
        '<g font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="10" y="18" font-size="14" font-weight="bold">{title}</text>',
    ]
    for index, (name, colour) in enumerate(COLOURS.items()):
        x, y = 16 + index % 7 * 125, 32 + index // 7 * 16
        parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{x + 8}" y="{y + 4}">{name}</text>')
    for index, cell in enumerate(cells):
        left, top = (index % COLUMNS) * WIDTH + 10, (index // COLUMNS) * HEIGHT + 62
        parts += panel(cell, left, top)
    return "\n".join([*parts, "</g></svg>"]) + "\n"


def panel(cell: Cell, left: int, top: int) -> list[str]:
    points = [(p["policy"], p["second_half"]["pod_hours"], late(p["second_half"])) for p in cell["tuned"]]
    front = [(p["pod_hours"], late(p)) for p in cell["front"]]
    costs = [cost for _name, cost, _late in points] + [cost for cost, _late in front]
    low, high = math.log10(min(costs)), math.log10(max(costs) * 1.05)

    def place(cost: float, share: float) -> tuple[float, float]:
        x = left + 34 + (math.log10(cost) - low) / max(high - low, 1e-9) * (WIDTH - 60)
        y = top + 24 + -math.log10(share) / 6 * (HEIGHT - 60)
        return round(x, 1), round(y, 1)

    parts = [f'<text x="{left + 34}" y="{top + 14}" font-weight="bold">{cell["load"]}</text>']
    for power in (0, -2, -4, -6):
        x, y = place(10**low, 10.0**power)
        parts.append(f'<line x1="{x}" y1="{y}" x2="{left + WIDTH - 26}" y2="{y}" stroke="#dddddd"/>')
        parts.append(f'<text x="{left + 2}" y="{y + 4}" fill="#666666">{label(power)}</text>')
    below = top + HEIGHT - 20
    parts.append(f'<text x="{left + 34}" y="{below}" fill="#666666">{10**low:.0f} pod-hours</text>')
    end = left + WIDTH - 26
    parts.append(f'<text x="{end}" y="{below}" fill="#666666" text-anchor="end">{10**high:.0f}</text>')
    line = " ".join(",".join(map(str, place(*point))) for point in front)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#aaaaaa" stroke-dasharray="3 3"/>')
    for name, cost, share in points:
        x, y = place(cost, share)
        parts.append(f'<circle cx="{x}" cy="{y}" r="4.5" fill="{COLOURS[name]}" fill-opacity="0.85"/>')
    return parts


def late(figures: dict[str, float]) -> float:
    return max(1.0 - figures["within_objective"], FEWEST)


def label(power: int) -> str:
    return {0: "all", -2: "1 %", -4: ".01 %", -6: "none"}[power]


def table(cells: list[Cell]) -> str:
    rows = [
        "| load | start | runs | in time | used | pod-hours | rival | in time | pod-hours | | hindsight |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        by_name = {point["policy"]: point["second_half"] for point in cell["tuned"]}
        ours, verdict = by_name["celeriac"], cell["verdict"]
        other = by_name[verdict["against"]]
        short = "" if verdict["rival_reaches_our_share"] else " (no rival reaches our share)"
        rows.append(
            f"| {cell['load']} | {cell['startup']:g} s | {cell['service_time']:g} s "
            f"| {100 * ours['within_objective']:.3f} % | {100 * ours['utilisation']:.0f} % "
            f"| {ours['pod_hours']:.0f} | {verdict['against']}{short} "
            f"| {100 * other['within_objective']:.3f} % | {other['pod_hours']:.0f} "
            f"| {100 * verdict['pod_hours_change']:+.0f} % "
            f"| {100 * verdict['pod_hours_change_in_hindsight']:+.0f} % |"
        )
    main = [cell for cell in cells if (cell["startup"], cell["service_time"]) == MAIN]
    return "\n".join([*rows, "", *map(summary, ("traces", "generated loads"), split(main))])


def split(cells: list[Cell]) -> tuple[list[Cell], list[Cell]]:
    """Return the cells of traces, and those of generated loads."""
    traces = [cell for cell in cells if cell["load"] not in SHAPES]
    return traces, [cell for cell in cells if cell["load"] in SHAPES]


def summary(what: str, cells: list[Cell]) -> str:
    changes = [cell["verdict"]["pod_hours_change"] for cell in cells]
    if len(changes) < 3:  # a median of fewer says nothing
        return ""
    middle, worst = 100 * median(changes), 100 * max(changes)
    pool = f"{MAIN[0]:g} s to start, {MAIN[1]:g} s to run"
    return f"{len(changes)} {what}, {pool}: median {middle:+.0f} %, worst {worst:+.0f} %.\n"


def founding(cells: list[Cell]) -> str:
    rows = [
        "| load | runs | static peak: utilisation | in time | ours: utilisation | in time |",
        "|---|---|---|---|---|---|",
    ]
    for cell in cells:
        by_name = {point["policy"]: point["second_half"] for point in cell["tuned"]}
        figures = [
            f"{100 * by_name[name]['utilisation']:.0f} % | {100 * by_name[name]['within_objective']:.3f} %"
            for name in ("static-peak", "celeriac")
        ]
        if cell["startup"] == 45:
            rows.append(f"| {cell['load']} | {cell['service_time']:g} s | {figures[0]} | {figures[1]} |")
    return "\n".join(rows)


def churn(cells: list[Cell]) -> str:
    rows = ["| load | start-up | service time | KEDA, tuned | ours |", "|---|---|---|---|---|"]
    for cell in cells:
        by_name = {point["policy"]: point["second_half"]["scale_events_per_day"] for point in cell["tuned"]}
        rows.append(
            f"| {cell['load']} | {cell['startup']:g} s | {cell['service_time']:g} s "
            f"| {by_name['keda']:.0f} | {by_name['celeriac']:.0f} |"
        )
    return "\n".join(rows)


def pictures(files: list[Path]) -> str:
    return "\n".join(
        f"![Pod-hours and late tasks of every policy](../benchmarks/results/{file.name})" for file in files
    )


def fill(page: str, name: str, text: str) -> str:
    """Put the text between the comments that name it."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
    return re.sub(pattern, lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page, flags=re.DOTALL)


@click.command()
def main() -> None:
    """Write results/scaling-*.svg and the tables of docs/scaling.md.

    Example: python benchmarks/draw_scaling.py
    """
    cells = json.loads((RESULTS / "scaling.json").read_text())["cells"]
    key = lambda cell: (cell["startup"], cell["service_time"])  # noqa: E731
    cells.sort(key=lambda cell: (*key(cell), cell["load"]))
    drawn = []
    for (startup, service_time), group in groupby(cells, key):
        title = f"Simulation: pods take {startup:g} s to start, tasks run {service_time:g} s"
        file = RESULTS / f"scaling-{startup:g}-{service_time:g}.svg"
        file.write_text(draw(list(group), title))
        drawn.append(file)
        click.echo(f"Drew {file.name}")
    texts = {
        "verdicts": table(cells),
        "pictures": pictures(drawn),
        "founding": founding(cells),
        "churn": churn(cells),
    }
    page = PAGE.read_text()
    for name, text in texts.items():
        page = fill(page, name, text)
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
