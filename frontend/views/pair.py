"""The pair page: two answers side by side. The sides come shuffled from the API, and no model's name comes at all."""

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
    return render(request, "pair/page.html", {"other_url": reverse("label", args=[slug])})
