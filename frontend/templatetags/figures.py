"""Times and numbers as people read them: `{% load figures %}`.

`{{ run.started_at|ago }}`, `{{ seconds|duration }}`, `{{ count|many:"record" }}`, `{{ share|percent }}`,
`{{ n|compact }}`, `{{ x|figure:3 }}`
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from training.durations import duration as in_units

register = template.Library()

MINUTE, HOUR, DAY = 60, 3600, 86400


@register.filter
def ago(when: datetime | None) -> str | SafeString:
    """A relative time, with the exact one on hover: `3 minutes ago`, `in 2 days`; an em dash for none."""
    if when is None:
        return "—"
    seconds = (timezone.now() - when).total_seconds()
    words = "just now" if abs(seconds) < 10 else in_words(abs(seconds))
    if words != "just now":
        words = f"{words} ago" if seconds > 0 else f"in {words}"
    exactly = f"{timezone.localtime(when):%-d %B %Y, %H:%M:%S %Z}"
    return format_html('<time datetime="{}" title="{}">{}</time>', when.isoformat(), exactly, words)


def in_words(seconds: float) -> str:
    """The one unit that matters, rounded down: 89 seconds are "1 minute"."""
    for size, unit in ((365 * DAY, "year"), (30 * DAY, "month"), (DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")):
        if seconds >= size:
            return many(int(seconds // size), unit)
    return many(int(seconds), "second")


@register.filter
def duration(seconds: float | None) -> str:
    """How long something took or will take: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    return "—" if seconds is None else in_units(seconds)


@register.filter
def many(count: int, noun: str) -> str:
    """`{{ 1|many:"record" }}` is "1 record", `{{ 1200|many:"reply,replies" }}` is "1,200 replies"."""
    one, _, more = noun.partition(",")
    return f"{count:,} {one if count == 1 else more or one + 's'}"


@register.filter
def compact(number: float | None) -> str:
    """`1,234` as it is, `12.3k`, `4.56M`."""
    if number is None:
        return "—"
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            return f"{number / (1e3 if unit == 'k' else size):.3g}{unit}"
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:,.3g}"


@register.filter
def percent(share: float | None) -> str:
    """0.123 is "12.3 %"."""
    return "—" if share is None else f"{share * 100:.3g} %"


@register.filter
def figure(number: Any, digits: int = 3) -> str:
    """A measured number with that many significant digits, whatever its size; other values as they are."""
    if number is None:
        return "—"
    if isinstance(number, bool) or not isinstance(number, int | float):
        return str(number)
    if isinstance(number, int) or (float(number).is_integer() and abs(number) >= 10**digits):
        return f"{number:,.0f}"
    return f"{number:.{digits}g}" if 1e-4 <= abs(number) < 10**digits or number == 0 else f"{number:.{digits - 1}e}"
