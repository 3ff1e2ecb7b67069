"""What came in, and what was turned away and why: for whoever develops the product."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from annotation.queries.arrivals import arrivals
from redpen.accounts.rules import open_project

PERIODS = {"hour": (1, "the last hour"), "day": (24, "the last 24 hours"), "week": (168, "the last 7 days")}


@require_safe
def live_arrivals(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "intake.see")
    period = request.GET.get("period", "day")
    hours, words = PERIODS.get(period, PERIODS["day"])
    test = request.GET.get("data") == "test"
    found = arrivals(project, hours=hours, test=test)
    context = {
        "project": project,
        "found": found,
        "nothing": not any(one.stored or one.repeated or one.problems or one.dropped for one in found),
        "periods": [(key, title, key == period) for key, (_, title) in PERIODS.items()],
        "words": words,
        "test": test,
    }
    return render(request, "live/arrivals.html", context)
