"""A rate over time as an SVG that the server draws: geometry in attributes, looks in live.css; no script."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.utils.safestring import SafeString, mark_safe

from annotation.queries.rates import Group, Rates, Share

WIDTH, HEIGHT = 420, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 24
BOX = f"0 0 {WIDTH} {HEIGHT}"


@dataclass(frozen=True)
class Point:
    """One hour or day: its share with its interval, and where it stands."""

    at: datetime
    share: Share
    x: float
    y: float
    low: float
    high: float
    left: float
    width: float

    def says(self, by_the_hour: bool) -> str:
        """`12 Nov: 12.3 % of 400 (9.4 to 15.9 %)`"""
        when = f"{self.at:%-d %b}, {self.at:%H}:00" if by_the_hour else f"{self.at:%-d %b}"
        rate, low, high = (100 * one for one in (self.share.rate or 0, self.share.low, self.share.high))
        return f"{when}: {rate:.3g} % of {self.share.of:,} ({low:.3g} to {high:.3g} %)"


@dataclass(frozen=True)
class Chart:
    """One line of the chart's group. `lines` and `bands` are pieces, cut where nobody was shown anything."""

    title: str
    group: Group
    kind: str
    points: list[Point]
    lines: list[str]
    bands: list[str]
    levels: list[tuple[float, str]]  # (y, words)
    ticks: list[tuple[float, str]]  # (x, words)
    by_the_hour: bool

    @property
    def share(self) -> Share:
        return self.group.share(self.kind)

    @property
    def drawn(self) -> SafeString:
        """What stands inside the <svg>. Made here and not in a template: there are hundreds of times, and only numbers
        and names of months in them.
        """
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        parts = []
        for y, words in self.levels:
            parts.append(f'<line class="grid-line" x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y}" dy="4" text-anchor="end">{words}</text>')
        parts += [f'<text x="{x}" y="{HEIGHT - 6}">{words}</text>' for x, words in self.ticks]
        parts += [f'<polygon class="band" points="{band}"/>' for band in self.bands]
        parts += [f'<polyline class="line" points="{line}"/>' for line in self.lines]
        parts += [f'<circle class="dot" cx="{dot.x}" cy="{dot.y}" r="2.5"/>' for dot in self.dots]
        for point in self.points:
            parts.append(
                f'<rect class="at" x="{point.left}" y="{TOP}" width="{point.width}" height="{bottom - TOP}" '
                f'data-x="{point.x}" data-y="{point.y}" data-says="{point.says(self.by_the_hour)}"/>'
            )
        return mark_safe("".join(parts))

    @property
    def dots(self) -> list[Point]:
        """Times that stand alone: a line needs two."""
        alone = [place for place, piece in enumerate(self.lines) if " " not in piece]
        wanted = {self.lines[place] for place in alone}
        return [point for point in self.points if f"{point.x},{point.y}" in wanted]


def charts(found: Rates, kind: str, *, most: int = 12) -> list[Chart]:
    """One chart a group, all with the same axes, so that they can be compared."""
    step = timedelta(hours=1) if found.asked.grain == "hour" else timedelta(days=1)
    drawn = found.groups[:most]
    shares = {
        one.value: [
            (at, groups[one.value].share(kind)) for at, groups in found.over_time.items() if one.value in groups
        ]
        for one in drawn
    }
    top = nice(max((share.high for line in shares.values() for _, share in line if share.of >= 5), default=1.0))
    first = found.since.replace(minute=0)
    end = max(found.until, first + step)
    return [chart(one, kind, shares[one.value], first=first, end=end, step=step, top=top) for one in drawn]


def nice(value: float) -> float:
    """The next round share above."""
    return next((one for one in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75) if value <= one), 1.0)


def chart(
    group: Group,
    kind: str,
    line: list[tuple[datetime, Share]],
    *,
    first: datetime,
    end: datetime,
    step: timedelta,
    top: float,
) -> Chart:
    whole = (end - first).total_seconds()

    def across(at: datetime) -> float:
        return round(LEFT + (at - first).total_seconds() / whole * (WIDTH - LEFT - RIGHT), 1)

    def up(share: float) -> float:
        return round(HEIGHT - BOTTOM - min(share, top) / top * (HEIGHT - TOP - BOTTOM), 1)

    points = []
    for at, share in line:
        if share.of == 0:
            continue
        middle = min(at + step / 2, end)
        left, right = max(across(at), LEFT), min(across(at + step), WIDTH - RIGHT)
        points.append(
            Point(
                at,
                share,
                across(middle),
                up(share.rate or 0),
                up(share.low),
                up(share.high),
                left,
                max(1.0, round(right - left, 1)),
            )
        )
    runs: list[list[Point]] = []
    for point in points:
        if runs and point.at - runs[-1][-1].at == step:
            runs[-1].append(point)
        else:
            runs.append([point])
    bands = []
    for run in runs:
        above = [f"{point.x},{point.high}" for point in run]
        below = [f"{point.x},{point.low}" for point in reversed(run)]
        if len(run) == 1:  # a thin column
            x, low, high = run[0].x, run[0].low, run[0].high
            above, below = [f"{x - 2},{high}", f"{x + 2},{high}"], [f"{x + 2},{low}", f"{x - 2},{low}"]
        bands.append(" ".join([*above, *below]))
    return Chart(
        title=group.value,
        group=group,
        kind=kind,
        points=points,
        lines=[" ".join(f"{point.x},{point.y}" for point in run) for run in runs],
        bands=bands,
        levels=[(up(part * top), f"{part * top * 100:.3g} %") for part in (0, 0.5, 1)],
        ticks=times(first, end, step, across),
        by_the_hour=step < timedelta(days=1),
    )


def times(first: datetime, end: datetime, step: timedelta, across) -> list[tuple[float, str]]:
    """Four or five times along the bottom, on whole hours or days (UTC)."""
    whole = end - first
    every = next(
        (
            one
            for one in (*(timedelta(hours=n) for n in (1, 3, 6, 12)), *(timedelta(days=n) for n in (1, 2, 7, 14, 30)))
            if whole / one <= 5
        ),
        timedelta(days=120),
    )
    form = "%H:%M" if every < timedelta(days=1) else "%-d %b"
    at = datetime(first.year, first.month, first.day, tzinfo=UTC)
    found = []
    while at <= end:
        if at >= first and LEFT <= across(at) <= WIDTH - 24:
            found.append((across(at), f"{at:{form}}"))
        at += every
    return found
