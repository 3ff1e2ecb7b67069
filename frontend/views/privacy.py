"""What there is of a user of the product; erasing it; and what had learned from it.

The user's name travels in the body of a POST only: an address is logged and remembered by browsers.
"""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from annotation import tasks
from annotation.actions.erasing_users import erase_user, found
from annotation.actions.people import Author
from annotation.models import Erasure
from annotation.queries.records import KINDS
from frontend.forms.accounts import take_problems
from frontend.forms.privacy import EraseForm
from redpen.accounts.errors import NotFound, RedpenError
from redpen.accounts.rules import open_project

TITLES = {kind.key: kind.title for kind in KINDS.values()} | {
    "response": "Answer",
    "prompt": "Prompt that only they used",
    "delivery": "Message to a webhook",
    "user": "What was found out about them",
    "import_file": "Uploaded file",
    "import_report": "Report of an import",
}


@require_http_methods(["GET", "HEAD", "POST"])
def privacy(request: HttpRequest, slug: str) -> HttpResponse:
    project = open_project(request, slug, "privacy.erase")
    form = EraseForm(request.POST if request.method == "POST" else None)
    there, status = None, 422 if request.method == "POST" else 200
    if form.is_valid():
        user = form.cleaned_data["user"]
        try:
            there = found(project=project, user=user)
            if request.POST.get("sure") == "yes":
                row = erase_user(author=Author.person(request.user), project=project, user=user)
                tasks.ring_for_erasure(row.pk)
                return redirect("erasure", slug, row.pk)
            status = 200
        except RedpenError as error:
            take_problems(form, error)
    past = Erasure.objects.filter(project=project).select_related("asked_by").order_by("-id")[:20]
    context = {"project": project, "form": form, "there": there, "counts": named(there or {}), "past": past}
    return render(request, "privacy/page.html", context, status=status)


@require_safe
def erasure(request: HttpRequest, slug: str, pk: UUID) -> HttpResponse:
    """The report; htmx gets the moving part alone."""
    project = open_project(request, slug, "privacy.erase")
    row = Erasure.objects.filter(project=project, pk=pk).select_related("asked_by").first()
    if row is None:
        raise NotFound("There is no such erasure here.")
    fragment = request.htmx and not request.htmx.boosted and not request.htmx.history_restore_request
    template = "privacy/_report.html" if fragment else "privacy/erasure.html"
    response = render(request, template, {"project": project, "erasure": row, "counts": named(row.counts)})
    response["Vary"] = "HX-Request"
    return response


def named(counts: dict[str, int]) -> list[tuple[str, int]]:
    """In the order of the titles."""
    return [(title, counts[key]) for key, title in TITLES.items() if counts.get(key)]
