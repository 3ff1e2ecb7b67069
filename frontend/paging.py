"""Links from one page of a list to the next, with the list's filters kept."""

from __future__ import annotations

from django.http import HttpRequest


def turns(request: HttpRequest, following: object | None, *, key: str = "after") -> dict[str, str | None]:
    """What `components/pagination.html` needs: back to the first page, and on to the one that begins at `following`."""
    return {
        "first_url": _here(request, key, None) if request.GET.get(key) else None,
        "next_url": _here(request, key, following) if following else None,
    }


def _here(request: HttpRequest, key: str, value: object | None) -> str:
    query = request.GET.copy()
    query.pop(key, None)
    if value:
        query[key] = str(value)
    return f"{request.path}?{query.urlencode()}" if query else request.path
