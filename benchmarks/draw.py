"""Draws the drain and the queue wait from the raw numbers."""

from __future__ import annotations

from pathlib import Path

import click

from report.files import RESULTS, read
from report.pictures import draw_drain, draw_queue_wait

_PICTURES = {"drain": draw_drain, "queue_wait": draw_queue_wait}


@click.command(context_settings={"show_default": True})
@click.option("--folder", type=click.Path(path_type=Path), default=RESULTS, help="Where raw numbers lie.")
@click.option("--kind", type=click.Choice(["svg", "png"]), default="svg", help="Format of the pictures.")
def main(folder: Path, kind: str) -> None:
    """Draw one picture for each section that has one and has been measured.

    Example: python benchmarks/draw.py --kind png
    """
    for name, draw in _PICTURES.items():
        run = read(folder, name)
        if run is None or not run.samples:
            click.echo(f"{name}: not measured yet")
            continue
        file = folder / f"{name}.{kind}"
        draw(run.samples, file)
        click.echo(f"Drew {file.name}")


if __name__ == "__main__":
    main()
