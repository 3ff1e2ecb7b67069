"""Who is honest: a product's users with the reasons for doubt, and the switch that leaves one out or lets one in."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from annotation.actions.honesty import decide
from annotation.actions.people import Author
from annotation.models import ProductUser
from annotation.queries import honesty, live
from annotation.queries.intake import intake_of
from frontend.paging import turns
from redpen.accounts.errors import NotFound
from redpen.accounts.models import Project
from redpen.accounts.pages import as_id
from redpen.accounts.rules import open_project

SHOWS = [("", "all"), ("doubtful", "doubtful"), ("left_out", "left out"), ("decided", "decided by a person")]
SORTS = [("score", "doubt"), ("shown", "answers shown"), ("latest", "latest")]
DECISIONS = {"out": True, "in": False, "automatic": None}
WIDTH, HEIGHT, STEP = 620, 90, 10  # of the timeline


@never_cache
@require_safe
def users(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "honesty.see")
    params = request.GET
    wanted = honesty.Wanted(
        show=params.get("show", "") if params.get("show") in honesty.SHOWS else "",
        name=params.get("name", "").replace("\0", "")[:200],
        sort=params.get("sort", "") if params.get("sort") in honesty.SORTS else "score",
        test=params.get("data") == "test",
    )
    cursor = params.get("cursor")
    rows, following = honesty.listed(project=project, wanted=wanted, after=as_id(cursor) if cursor else None)
    context = {
        "project": project,
        "wanted": wanted,
        "rows": rows,
        "tally": honesty.tally(project=project, test=wanted.test),
        "shows": SHOWS,
        "sorts": SORTS,
        "on": intake_of(project).leave_out,
        **turns(request, following, key="cursor"),
    }
    return render(request, "live/users.html", context)


@never_cache
@require_safe
def user(request: HttpRequest, slug: str, pk: UUID) -> HttpResponse:
    project = open_project(request, slug, "honesty.see")
    found = _found(project, pk)
    wanted = live.Wanted(user=found.name, test=found.test)
    lines, _ = live.newest(project=project, wanted=wanted)
    days = honesty.days_of(found)
    context = {
        "project": project,
        "user": found,
        "tapped": sorted(found.tapped.items(), key=lambda one: -one[1]),
        "doubtful": honesty.doubtful(found),
        "automatic": honesty.automatic(found),
        "on": intake_of(project).leave_out,
        "bars": _bars(days),
        "days": days,
        "box": {"width": WIDTH, "height": HEIGHT + 20, "bottom": HEIGHT},
        "lines": lines,
    }
    return render(request, "live/users_one.html", context)


@require_POST
def decision(request: HttpRequest, slug: str, pk: UUID) -> HttpResponse:
    """Leave a user out, believe them, or leave it to the judging again."""
    project = open_project(request, slug, "honesty.decide")
    found = _found(project, pk)
    said = request.POST.get("decision", "")
    if said not in DECISIONS:
        messages.error(request, "Choose whether to leave this user out.")
        return redirect("live_user", slug, pk)
    now = decide(author=Author.person(request.user), user=found, left_out=DECISIONS[said])  # type: ignore[arg-type]
    words = "left out" if now.left_out else "believed"
    messages.success(request, f"{now.name} is {words} now{'' if now.decided_at else ', by the judging'}.")
    if request.POST.get("back") == "list":
        return redirect(f"{reverse('live_users', args=[slug])}{'?data=test' if found.test else ''}")
    return redirect("live_user", slug, pk)


def _found(project: Project, pk: UUID) -> ProductUser:
    row = ProductUser.objects.select_related("project", "decided_by").filter(project=project, pk=pk).first()
    if row is None:
        raise NotFound("There is no such user here.")
    return row


def _bars(days: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One bar a day: answers shown, and within it those reacted to."""
    most = max((day["shown"] for day in days), default=1)
    bars = []
    for place, day in enumerate(days):
        shown, reacted = (round(HEIGHT * day[name] / most, 1) for name in ("shown", "reacted"))
        bars.append(
            {
                "x": place * STEP,
                "shown": shown,
                "shown_y": round(HEIGHT - shown, 1),
                "reacted": reacted,
                "reacted_y": round(HEIGHT - reacted, 1),
                "words": f"{day['day']:%-d %b}: {day['shown']} shown, {day['reacted']} reacted to",
            }
        )
    return bars
