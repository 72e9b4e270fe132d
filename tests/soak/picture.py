"""The measurements as a picture: a panel for each quantity, a line for each part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from tests.soak.trend import LIMITS, Point, warm_up

__all__ = ["draw"]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _GAP = 920, 170, 70, 220, 30, 60
_COLOURS = ("#2e7d32", "#1565c0", "#ef6c00", "#6a1b9a", "#c62828", "#00838f", "#5d4037")
#: Points of a line; more cannot be seen.
_POINTS = 240


def draw(series: Mapping[tuple[str, str], Sequence[Point]]) -> str:
    """Return an SVG of all series; what lies before the warm-up's end is not judged, and shaded."""
    panels = [(quantity, _of(series, quantity)) for quantity in LIMITS]
    panels = [(quantity, lines) for quantity, lines in panels if lines]
    until = max(points[-1][0] for _, lines in panels for points in lines.values())
    height = _TOP + len(panels) * (_HEIGHT + _GAP)
    box, font = f'viewBox="0 0 {_WIDTH} {height}"', 'font-family="sans-serif" font-size="12"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} {font}>',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
    ]
    for number, (quantity, lines) in enumerate(panels):
        parts += _panel(quantity, lines, until, _TOP + number * (_HEIGHT + _GAP))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _of(series: Mapping[tuple[str, str], Sequence[Point]], quantity: str) -> dict[str, Sequence[Point]]:
    return {part: points for (part, what), points in sorted(series.items()) if what == quantity and points}


def _panel(quantity: str, lines: Mapping[str, Sequence[Point]], until: float, top: float) -> Iterator[str]:
    most = 1.1 * max(value for points in lines.values() for _, value in points) or 1.0
    unit = LIMITS[quantity].unit
    scale = 1024 if unit == "KiB" else 1
    wide = _WIDTH - _LEFT - _RIGHT
    warm = wide * warm_up(until) / until
    yield f'<text x="{_LEFT}" y="{top - 10}" font-weight="bold">{quantity}{", MiB" if unit else ""}</text>'
    yield f'<rect x="{_LEFT}" y="{top}" width="{warm:.1f}" height="{_HEIGHT}" fill="#eceff1"/>'
    for share in (0.0, 0.5, 1.0):
        y = top + _HEIGHT * (1 - share)
        yield f'<path d="M{_LEFT} {y:.1f}h{wide}" stroke="#cfd8dc"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{share * most / scale:,.3g}</text>'
    for share in (0.0, 0.5, 1.0):
        place = f'x="{_LEFT + share * wide}" y="{top + _HEIGHT + 18}" text-anchor="middle"'
        yield f"<text {place}>{share * until / 60:,.3g} min</text>"
    for number, (part, points) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        some = points[:: max(1, len(points) // _POINTS)]
        places = [(_LEFT + wide * now / until, top + _HEIGHT * (1 - value / most)) for now, value in some]
        at = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        label = f'x="{_LEFT + wide + 12}" y="{top + 12 + 18 * number}" fill="{colour}"'
        yield f"<text {label}>{escape(part)}</text>"
