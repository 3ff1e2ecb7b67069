"""What a chart of rates says at one time: `{% load live %}`."""

from __future__ import annotations

from django import template

from frontend.queries.live_charts import Point
from frontend.templatetags.figures import percent

register = template.Library()


@register.filter
def reading(point: Point, grain: str) -> str:
    """`12 Nov: 12.3 % of 400 (9.4 to 15.9 %)`"""
    when = f"{point.at:%-d %b}, {point.at:%H}:00" if grain == "hour" else f"{point.at:%-d %b}"
    low, high = point.share.low * 100, point.share.high * 100
    return f"{when}: {percent(point.share.rate)} of {point.share.of:,} ({low:.3g} to {high:.3g} %)"
