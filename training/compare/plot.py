"""The plot of a comparison: what each recipe reaches against what it has cost, as an SVG that needs nothing else.

Three panels on one scale of quality: against label acts, tokens written and CPU-seconds. A recipe is a letter with its
interval over seeds; the legend below says which. Readable without colours, on light and dark pages.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape

from training.compare.report import METRICS, Line, Report

WIDTH, TOP, HIGH, LEFT, WIDE, GAP, ROW = 960, 40, 230, 56, 258, 40, 20
COLOURS = ("#0b6e4f", "#a23b2a", "#2a5d9f", "#8a5a00", "#6b3fa0", "#00707a", "#9c2f6d", "#4d5b00")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmn"
PANELS: tuple[tuple[str, Callable[[Line], float]], ...] = (
    ("label acts", lambda line: line.acts.mean),
    ("tokens written in training", lambda line: line.tokens.mean),
    ("CPU-seconds of training", lambda line: line.cpu_seconds.mean),
)


def svg(report: Report) -> str:
    """The figure; with a sentence where there is nothing to draw yet."""
    lines = report.lines
    rows = math.ceil(len(lines) / 3)
    height = TOP + HIGH + 56 + ROW * rows + 36
    name = METRICS.get(report.metric, report.metric)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#222">',
        f"<title>{escape(name.capitalize() or 'Quality')} of each recipe against what it has cost</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    if not lines:
        return "\n".join([*parts, '<text x="40" y="60">Nothing is measured yet.</text>', "</svg>"]) + "\n"
    low, high = _range(report)
    for number, (title, of) in enumerate(PANELS):
        parts += _panel(LEFT + number * (WIDE + GAP), title, of, report, low, high, name if number == 0 else "")
    for place, line in enumerate(lines):
        x = LEFT + (place % 3) * (WIDE + GAP)
        y = TOP + HIGH + 62 + ROW * (place // 3)
        text = f"{LETTERS[place % len(LETTERS)]}  {line.subject}  {line.worth.mean:.3f}"
        parts.append(f'<text x="{x}" y="{y}" fill="{_colour(place)}">{escape(text)}</text>')
    about = f"Lines: {round(100 * report.level)} % intervals over seeds. Side by side: at (nearly) the same cost."
    parts.append(f'<text x="{LEFT}" y="{height - 12}" fill="#555">{about}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(
    left: int, title: str, of: Callable[[Line], float], report: Report, low: float, high: float, axis: str
) -> list[str]:
    bottom = TOP + HIGH
    most = max((of(line) for line in report.lines), default=0.0) or 1.0
    scale = _nice(most / 3) * 3 if most > 0 else 1.0
    scale = max(scale, most)

    def across(value: float) -> float:
        return left + 10 + (WIDE - 20) * value / scale

    def up(value: float) -> float:
        return bottom - HIGH * (value - low) / (high - low)

    parts = [
        f'<path d="M{left} {TOP}V{bottom}H{left + WIDE}" fill="none" stroke="#888"/>',
        f'<text x="{left + WIDE / 2}" y="{bottom + 36}" text-anchor="middle">{title}</text>',
    ]
    if axis:
        middle = TOP + HIGH / 2
        parts.append(f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{escape(axis)}</text>')
    step = _nice((high - low) / 4)
    tick = math.ceil(low / step) * step
    while tick <= high + 1e-9:
        parts.append(f'<path d="M{left} {up(tick):.1f}h{WIDE}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{up(tick) + 4:.1f}" text-anchor="end" fill="#555">{tick:.3g}</text>')
        tick += step
    for place in range(4):
        value = scale * place / 3
        parts.append(
            f'<text x="{across(value):.1f}" y="{bottom + 17}" text-anchor="middle" fill="#555">{_short(value)}</text>'
        )
    if report.before is not None and low <= report.before <= high:
        y = up(report.before)
        parts.append(f'<path d="M{left} {y:.1f}h{WIDE}" stroke="#555" stroke-dasharray="5 4"/>')
        if axis:
            parts.append(f'<text x="{left + WIDE - 4}" y="{y - 5:.1f}" text-anchor="end" fill="#555">before</text>')
    # recipes with one cost stand side by side
    at: dict[int, int] = {}
    for place, line in enumerate(report.lines):
        column = round(across(of(line)) / 14)
        shift = at.get(column, 0)
        at[column] = shift + 1
        x = across(of(line)) + (1 if shift % 2 else -1) * ((shift + 1) // 2) * 9
        x = min(max(x, left + 8), left + WIDE - 8)
        colour = _colour(place)
        if line.worth.low is not None and line.worth.high is not None:
            ends = up(max(low, line.worth.low)), up(min(high, line.worth.high))
            parts.append(f'<path d="M{x:.1f} {ends[0]:.1f}V{ends[1]:.1f}" stroke="{colour}" stroke-width="1.5"/>')
        y = up(line.worth.mean)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="#fff" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle" font-size="11" fill="{colour}">'
            f"{LETTERS[place % len(LETTERS)]}</text>"
        )
    return parts


def _range(report: Report) -> tuple[float, float]:
    values = [report.before] if report.before is not None else []
    for line in report.lines:
        values += [line.worth.mean]
        # an interval over two seeds may be wider than the page is high
        spread = max(line.worths.values()) - min(line.worths.values())
        values += [max(line.worth.low or line.worth.mean, line.worth.mean - 2 * spread)]
        values += [min(line.worth.high or line.worth.mean, line.worth.mean + 2 * spread)]
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.1
    return low - room, high + room


def _nice(step: float) -> float:
    power = 10 ** math.floor(math.log10(step)) if step > 0 else 1.0
    return next((size * power for size in (1, 2, 2.5, 5, 10) if size * power >= step - 1e-12), 10 * power)


def _short(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:.0f}k"
    return f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.2g}"


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]
