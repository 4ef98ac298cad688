"""The programs of each shape as bars in an SVG: seconds, in multiples of Backhaul's."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.report import Figure

OURS = "backhaul"
_COLOURS = {OURS: "#0b7285", "rclone": "#adb5bd", "hadoop fs": "#868e96"}
_LEFT, _WIDTH, _BAR, _GAP, _RIGHT = 230, 420, 16, 14, 150
_STYLE = "font-family: sans-serif; font-size: 12px"


def svg(figures: Sequence[Figure]) -> str:
    """Shorter is faster. A shape that only Backhaul ran has one bar."""
    times = [one for one in figures if one.program and one.unit == "s"]
    ours = {one.shape: one.median for one in times if one.program == OURS}
    times = [one for one in times if one.shape in ours]
    longest = max((one.median / ours[one.shape] for one in times), default=1.0)
    parts: list[str] = []
    y = 34
    shape = None
    for one in times:
        if one.shape != shape:
            shape, y = one.shape, y + (_GAP if shape else 0)
            parts.append(_text(8, y + 12, shape, "bold"))
        ratio = one.median / ours[one.shape]
        width = max(1.0, _WIDTH * ratio / longest)
        colour = _COLOURS.get(one.program, "#ced4da")
        parts.append(_text(120, y + 12, one.program))
        parts.append(
            f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>'
        )
        parts.append(_text(_LEFT + width + 6, y + 12, f"{one.median:.1f} s, {ratio:.1f} x"))
        y += _BAR + 3
    wide = _LEFT + _WIDTH + _RIGHT
    title = _text(8, 18, "Whole process, median; x: of Backhaul's time", "bold")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {y + 12}" style="{_STYLE}">'
        f'<rect width="100%" height="100%" fill="white"/>{title}{"".join(parts)}</svg>\n'
    )


def _text(x: float, y: float, text: str, weight: str = "normal") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" font-weight="{weight}">{escape(text)}</text>'
