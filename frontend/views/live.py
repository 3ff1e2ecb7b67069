"""Reactions as they come in: the list, what is new, an answer in its conversation, asking people about them."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from annotation.actions.asking import MOST, ask_about
from annotation.actions.people import Author
from annotation.models import Campaign, Response
from annotation.queries import live, spans
from frontend.paging import turns
from frontend.queries import data
from frontend.queries.live import PERIOD_WORDS, filters_from, said_of, said_of_whole, turns_of
from redpen.accounts.errors import NotFound
from redpen.accounts.pages import as_id
from redpen.accounts.rules import may, open_project

MOST_NEW = 99


@never_cache
@require_safe
def newest(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "records.see")
    filters = filters_from(project, request.GET)
    cursor = request.GET.get("cursor")
    lines, following = live.newest(project=project, wanted=filters.wanted, after=as_id(cursor) if cursor else None)
    if not lines and not filters.any and not cursor:  # before the first tap: that answers were shown
        lines, following = live.newest(project=project, wanted=replace(filters.wanted, taps=False))
    # what is not there at all is not waited for either: the first lines come with the next look
    seen = live.last_arrived(project=project, test=filters.test) or UUID(int=0)
    context = {
        "project": project,
        "filters": filters,
        "periods": PERIOD_WORDS.items(),
        "lines": lines,
        "data": "&data=test" if filters.test else "",
        "seen": seen,
        "waiting": not cursor,
        "counted_up_to": live.counted_up_to(),
        "here": request.build_absolute_uri("/").rstrip("/"),
        "may_ask": may(request.role, "campaigns.change"),  # type: ignore[attr-defined]
        **turns(request, following, key="cursor"),
    }
    return render(request, "live/page.html", context)


@never_cache
@require_safe
def news(request: HttpRequest, slug: str) -> HttpResponse:
    """How many lines wait to be shown: a fragment that asks for itself again."""
    project = open_project(request, slug, "records.see")
    filters = filters_from(project, request.GET)
    seen = as_id(request.GET.get("seen") or UUID(int=0))
    count = live.arrived(project=project, wanted=filters.wanted, seen=seen)
    if request.GET.get("known") == str(count):
        return HttpResponse(status=204)  # nothing to swap, nothing to announce
    context = {"project": project, "filters": filters, "seen": seen, "count": count, "many": count > MOST_NEW}
    return render(request, "live/_news.html", context)


@never_cache
@require_safe
def answer(request: HttpRequest, slug: str, pk: UUID) -> HttpResponse:
    """An answer with the conversation around it, what users did with it, and what people marked."""
    project = open_project(request, slug, "records.see")
    found = Response.objects.filter(project=project, pk=pk).select_related("prompt", "parent", "project").first()
    if found is None:
        raise NotFound("There is no such answer here.")
    on_text = [mark for mark in spans.of_response(response=found, author=None) if mark.part == "text"]
    said = said_of(found)
    context = {
        "project": project,
        "answer": found,
        "turns": turns_of(found, live.conversation(found)),
        "pieces": data.pieces(found.text, on_text),
        "notes": [data.show(mark) for mark in on_text],
        "others": said_of_whole(found),
        "said": said,
        "shown_to": live.shown_to(found),
    }
    return render(request, "live/answer.html", context)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def send(request: HttpRequest, slug: str) -> HttpResponse:
    """The answers behind the filtered lines go to a campaign: how many, to which; POST asks."""
    project = open_project(request, slug, "campaigns.change")
    filters = filters_from(project, request.POST if request.method == "POST" else request.GET)
    campaigns = list(Campaign.objects.filter(project=project, state=Campaign.State.OPEN).order_by("id"))
    if filters.unknown:  # what would be sent is more than was meant
        messages.error(request, f"Nothing was sent: {' and '.join(filters.unknown)} is not there. Filter again.")
        return redirect(reverse("live", args=[slug]))
    if request.method == "POST":
        chosen = next((one for one in campaigns if str(one.pk) == request.POST.get("campaign")), None)
        if chosen is None:
            messages.error(request, "Choose a campaign that is open.")
            return redirect(f"{reverse('live_send', args=[slug])}?{filters.query}")
        asked = ask_about(author=Author.person(request.user), campaign=chosen, wanted=filters.wanted)
        messages.success(request, asked.words)
        return redirect(f"{reverse('live', args=[slug])}?{filters.query}")
    found = live.answers(project=project, wanted=filters.wanted)
    context = {
        "project": project,
        "filters": filters,
        "campaigns": campaigns,
        "count": len(found.ids),
        "more": found.more,
        "sent": min(len(found.ids), MOST),
        "most": MOST,
    }
    return render(request, "live/send.html", context)
