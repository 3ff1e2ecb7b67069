"""/api/docs: the API as the code has it, readable without a script. It holds no secrets, so anybody may read it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from frontend.queries.api_docs import docs


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    return render(request, "api_docs/page.html", {"docs": docs(), "here": request.build_absolute_uri("/").rstrip("/")})
