"""The label page. It is one desk: the assignments come and go through the API (docs/api-label.md), the page stays."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

from redpen.accounts.rules import open_project


@require_safe
@ensure_csrf_cookie
def page(request: HttpRequest, slug: str) -> HttpResponse:
    open_project(request, slug, "label")
    return render(request, "label/page.html", {"other_url": reverse("pair", args=[slug])})
