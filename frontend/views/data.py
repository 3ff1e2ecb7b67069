"""Records with filters, the history of one, an answer with all that was said about it, the export."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from annotation.actions import tasks
from annotation.actions.people import Author
from annotation.api.files import stream
from annotation.api.records import CHOICES, wanted_from
from annotation.models import Response
from annotation.queries import records
from annotation.queries import spans as marks
from annotation.queries.unread import open_campaign, unread_answers
from frontend.paging import turns
from frontend.queries import data
from redpen.accounts.errors import NotFound
from redpen.accounts.models import User
from redpen.accounts.pages import as_id
from redpen.accounts.rules import may, open_project

FILTERS = ("kind", "label", "author", "agent", "origin", "model", "split", "state", "text", "response", "data")


def only_mine(request: HttpRequest) -> User | None:
    """Whose records somebody sees: None for everybody's."""
    return None if may(request.role, "records.see") else request.user  # type: ignore[attr-defined]


@require_safe
def listing(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "records.see_own")
    mine = only_mine(request)
    wanted = wanted_from(request.GET, mine=mine)
    cursor = request.GET.get("cursor")
    rows, following = records.listed(project=project, wanted=wanted, cursor=as_id(cursor) if cursor else None)
    everybody = mine is None
    context = {
        "project": project,
        "shown": [data.show(row) for row in rows],
        "wanted": wanted,
        "filtered": any(request.GET.get(name) for name in FILTERS),
        "everybody": everybody,
        "kinds": records.KINDS.values(),
        "choices": CHOICES,
        "labels": data.labels_of(project),
        "members": data.members_of(project) if everybody else [],
        "agents": records.speakers(project=project) if everybody else [],
        "models": records.writers(project=project) if everybody else [],
        **turns(request, following, key="cursor"),
    }
    return render(request, "data/list.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def ask(request: HttpRequest, slug: str) -> HttpResponse:
    """How many answers wait for nobody (a fragment: counting may take longer than the list); POST asks people."""
    project = open_project(request, slug, "campaigns.change")
    if request.method != "POST":
        return render(request, "data/_ask.html", {"project": project, "unread": unread_answers(project).count()})
    asked = tasks.ask_about_unread(author=Author.person(request.user), project=project)
    if open_campaign(project) is None:
        messages.warning(request, "No campaign is open, so nobody was asked.")
    else:
        messages.success(request, f"{asked.spans} answers and {asked.pairs} pairs were added to the work.")
    return redirect("data", slug)


@require_safe
def record(request: HttpRequest, slug: str, lineage: UUID) -> HttpResponse:
    project = open_project(request, slug, "records.see_own")
    versions = records.find(project=project, lineage=lineage, mine=only_mine(request))
    if not versions:
        raise NotFound("There is no such record, or it is not yours to see.")
    context = {
        "project": project,
        "versions": [data.show(row) for row in reversed(versions)],
        "latest": data.show(versions[-1]),
        "events": records.trail(project=project, rows=versions),
    }
    return render(request, "data/record.html", context)


@require_safe
def answer(request: HttpRequest, slug: str, pk: UUID) -> HttpResponse:
    project = open_project(request, slug, "records.see_own")
    mine = only_mine(request)
    found = Response.objects.filter(project=project, pk=pk).select_related("prompt", "parent").first()
    if found is None:
        raise NotFound("There is no such answer here.")
    on_text = [mark for mark in marks.of_response(response=found, author=mine) if mark.part == "text"]
    rows, _ = records.listed(
        project=project, wanted=records.Wanted(response=found.pk, mine=mine, test=found.test), limit=100
    )
    context = {
        "project": project,
        "answer": found,
        "everybody": mine is None,
        "pieces": data.pieces(found.text, on_text),
        "notes": [data.show(mark) for mark in on_text],
        "others": [data.show(row) for row in rows if records.BY_MODEL[type(row)].key != "span"],
        "siblings": Response.objects.filter(project=project, prompt=found.prompt).exclude(pk=pk).order_by("id")[:20],
    }
    return render(request, "data/answer.html", context)


@require_safe
def export(request: HttpRequest, slug: str) -> StreamingHttpResponse:
    """All that counts, as a file that streams."""
    return stream(open_project(request, slug, "records.export"))
