"""Rates of reactions: a table, and one kind over time with intervals."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from annotation.queries.live import PERIODS
from annotation.queries.rates import Asked, rates
from frontend.queries.live import PERIOD_WORDS, SLICE_WORDS, filters_from
from frontend.queries.live_charts import BOX, charts
from redpen.accounts.rules import open_project

CHARTS = 12


@never_cache
@require_safe
def live_rates(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "records.see")
    filters = filters_from(project, request.GET)
    period = filters.period if filters.period not in ("", "hour") else "month"
    names = [name for name, _ in filters.names]
    split = request.GET.get("split", "")
    split = split if split in ("model", *names) else ""
    if filters.wanted.name and split not in ("", "model", filters.wanted.name):
        split = ""
    until = timezone.now()
    shown = [kind for kind in filters.kinds if kind.key != "shown"]
    by_key = {one.key: one for one in shown}
    kind = by_key.get(filters.kind) or by_key.get("like") or next(iter(shown), None)
    believed = request.GET.get("users", "")
    asked = Asked(
        since=until - PERIODS[period],
        until=until,
        grain="hour" if period == "day" else "day",
        split=split,
        model=filters.wanted.model or None,
        slice=filters.wanted.name,
        value=filters.wanted.value,
        left_out=believed if believed in ("with", "without", "only") else "",
        test=filters.test,
        kinds=(kind.key,) if kind else (),
    )
    found = rates(project, asked, filters.ways)
    rows = [(group, [(one, group.share(one.key)) for one in found.kinds]) for group in found.groups]
    context = {
        "project": project,
        "filters": filters,
        "found": found,
        "rows": rows,
        "all": [(one, found.total.share(one.key)) for one in found.kinds],
        "kind": kind,
        "charts": charts(found, kind.key, most=CHARTS) if kind and found.total.exposures else [],
        "most_charts": CHARTS,
        "box": BOX,
        "period": period,
        "periods": [(key, words) for key, words in PERIOD_WORDS.items() if key != "hour"],
        "split": split,
        "split_words": SLICE_WORDS.get(split, split),
        "splits": [("", "nothing"), ("model", "model"), *filters.names],
        "users": asked.left_out,
    }
    return render(request, "live/rates.html", context)
